"""From whole networks to the scales of a table: one for all entries, or one for each family.

Entries are measured in chains; what a network adds to that (caches that are fuller, memory that
lies elsewhere) is proportional to time, so it is a factor and not a constant. One factor is the
mean of the middle half of the ratios. Factors of families are ridge regression towards that common
one: with few networks they hardly move, with many they take what the chains cannot show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.statistics import midmean

ESTIMATORS = ("scale", "families")
# How far a family's factor may be expected from the common one, and what the sum of a network's
# entries is off for other reasons.
PRIOR_SHARE = 0.03
NOISE_SHARE = 0.006


@dataclass(frozen=True, slots=True)
class Reference:
    """A whole network: what its entries sum to by family, and what it takes beyond the overhead,
    in ns; `noise_share` is how uncertain the latter is, as a standard deviation."""

    parts_ns: Mapping[str, float]
    measured_ns: float
    noise_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Scales:
    """A common factor, factors of families relative to it, and the covariance of the latter."""

    common: float
    families: Mapping[str, float]
    covariance: tuple[tuple[float, ...], ...] = ()


def scale(references: Sequence[Reference]) -> float:
    """The midmean of the ratios of measured to summed latency; 1 without references."""
    ratios = [r.measured_ns / sum(r.parts_ns.values()) for r in references]
    return midmean(ratios) if ratios else 1.0


def family_scales(references: Sequence[Reference]) -> Scales:
    """Ridge regression of relative errors on the families' shares.

    The prior is the common factor with a standard deviation of 3 %; the noise of a network is
    0.6 % and its own. `covariance` is the posterior's, rows and columns in the order of `families`.
    """
    import numpy

    common = scale(references)
    names = sorted({f for r in references for f in r.parts_ns})
    if not references or not names:
        return Scales(common, {})
    shares: Any = numpy.array(
        [[common * r.parts_ns.get(f, 0.0) / r.measured_ns for f in names] for r in references]
    )
    missing = 1 - shares.sum(axis=1)
    weights = numpy.array([1 / (NOISE_SHARE**2 + r.noise_share**2) for r in references])
    weighted = shares.T * weights
    covariance = numpy.linalg.inv(weighted @ shares + numpy.eye(len(names)) / PRIOR_SHARE**2)
    moved = covariance @ (weighted @ missing)
    factors = {f: float(1 + d) for f, d in zip(names, moved, strict=True)}
    return Scales(common, factors, tuple(tuple(map(float, row)) for row in covariance))
