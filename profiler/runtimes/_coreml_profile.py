"""Core ML's compute plan as a breakdown: shares of the latency that Apple estimates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from profiler.errors import BadProfile
from profiler.lineage import Compiled, trace
from profiler.types import Executed, OperatorTimes, Source


def times_of(
    weighed: Sequence[tuple[Any, float]], sources: Sequence[Source], latency_ns: int
) -> OperatorTimes:
    """Operators of a plan with their weights, as shares of the latency.

    Raises BadProfile when the plan has no weights.
    """
    whole = sum(weight for _, weight in weighed)
    if whole <= 0:
        raise BadProfile("Core ML's compute plan gives no operator a weight")
    names = [_outputs(operator) or (f"operator {i}",) for i, (operator, _) in enumerate(weighed)]
    compiled = [
        Compiled(made[0], _kind(operator), made, _inputs(operator))
        for made, (operator, _) in zip(names, weighed, strict=True)
    ]
    traced = trace(compiled, sources)
    found = tuple(
        Executed(
            one.name,
            one.operator,
            latency_ns * weight / whole,
            traced[one.name].sources,
            traced[one.name].beside,
            "plan-estimate",
        )
        for one, (_, weight) in zip(compiled, weighed, strict=True)
    )
    return OperatorTimes(found, latency_ns, 0.0, level="median")


def _outputs(operator: Any) -> tuple[str, ...]:
    return tuple(str(o.name) for o in getattr(operator, "outputs", None) or ())


def _inputs(operator: Any) -> tuple[str, ...]:
    """The names of the values that an operator takes; constants are among them."""
    taken = (getattr(operator, "inputs", None) or {}).values()
    bound = [b for argument in taken for b in getattr(argument, "bindings", None) or ()]
    return tuple(str(b.name) for b in bound if getattr(b, "name", None))


def _kind(operator: Any) -> str:
    """`conv` of `ios17.conv`."""
    return str(operator.operator_name).rpartition(".")[2]
