"""What a search for small and fast networks maximises.

The score is that of EfficientFormerV2's joint search of size and speed (Li et al. 2023,
arXiv 2212.08059, section 4): a mobile efficiency score, MES = score * prod (M_i / U_i) ** -a_i
over the size and the latency of a network. Sizes and latencies of the same rows come from
`profiler.tables.predictor.Predictor`:

    predictor = Predictor(table, space)
    scores = mes(predictor.sizes(found).parameters, predictor.predict(found).latency_ns)
"""

from __future__ import annotations

from typing import Any

from profiler.errors import UsageError


def mes(
    size_parameters: Any,
    latency_ns: Any,
    size_unit: float = 3e6,
    latency_unit_ns: float = 1e6,
    size_exponent: float = 0.5,
    latency_exponent: float = 1.0,
    score: float = 100.0,
) -> Any:
    """The mobile efficiency score of networks: higher is better, no unit, float64.

    Sizes and latencies are numbers or arrays of the same shape, or of shapes that broadcast. Raises
    UsageError where one of them, or a unit, is not above zero.

    None of the constants is verified: they come from reviews of the paper. The two exponents agree
    with the one ratio of published scores that reviews quote (1.8 between EfficientFormerV2-L and
    Mobile-Former-508M); the units of 3 million parameters and 1 ms, and the 100, cancel in every
    ratio, so no order of networks depends on them. Give the units when a score is compared with
    one of another source, and the exponents when it matters how size weighs against speed.
    """
    import numpy

    size, latency = numpy.asarray(size_parameters, float), numpy.asarray(latency_ns, float)
    for name, value in (("size", size), ("latency", latency)):
        if not (value > 0).all():
            raise UsageError(f"a {name} is not above zero")
    if size_unit <= 0 or latency_unit_ns <= 0:
        raise UsageError("a unit is not above zero")
    found = (size / size_unit) ** -size_exponent * (latency / latency_unit_ns) ** -latency_exponent
    return score * found
