"""Pure functions over raw samples: medians, intervals, verdicts and rank correlations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


def median(values: Sequence[float]) -> float:
    """The middle value. Raises ValueError when there is none."""
    if not values:
        raise ValueError("no values")
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, linear between neighbours."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The order-statistic interval of the median: no assumption about the distribution.

    The narrowest pair of symmetric order statistics whose binomial coverage is at least
    `confidence`. With fewer than six values no pair covers 95 %: then the whole range is
    returned, and `covers` tells so.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    depth = _depth(len(ordered), confidence)
    return ordered[depth - 1], ordered[-depth]


def covers(count: int, confidence: float = CONFIDENCE) -> bool:
    """Whether so many values can give an interval of that confidence at all."""
    return count > 0 and 1.0 - 2.0 * 0.5**count >= confidence


def _depth(count: int, confidence: float) -> int:
    """How many values to leave out at each end, plus one."""
    tail = 0.0
    depth = 1
    for k in range(count // 2):
        tail += math.comb(count, k) / 2**count
        if 1.0 - 2.0 * tail < confidence:
            break
        depth = k + 1
    return depth


def half_width(values: Sequence[float]) -> float:
    """Half of the interval's width as a share of the median; infinite with too few values."""
    if not covers(len(values)):
        return math.inf
    low, high = interval(values)
    return (high - low) / 2 / median(values)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much longer a candidate takes than a baseline: ratio, interval and verdict."""

    ratio: float
    low: float
    high: float
    pairs: int
    verdict: str
    reason: str = ""


def compare(
    baseline: Mapping[str, float], candidate: Mapping[str, float], margin: float = 0.01
) -> Comparison:
    """Compare two workloads by their round medians, paired by the process that took both.

    FASTER or SLOWER when the interval of the ratio lies outside 1 +- margin, SAME when it lies
    inside, AMBIGUOUS otherwise, UNUSABLE when too few processes timed both.
    """
    shared = sorted(set(baseline) & set(candidate))
    if not covers(len(shared)):
        reason = f"{len(shared)} shared rounds; an interval needs 6"
        return Comparison(math.nan, math.nan, math.nan, len(shared), "UNUSABLE", reason)
    logs = [math.log(candidate[p] / baseline[p]) for p in shared]
    low, high = (math.exp(v) for v in interval(logs))
    ratio = math.exp(median(logs))
    if high < 1 - margin:
        return Comparison(ratio, low, high, len(shared), "FASTER")
    if low > 1 + margin:
        return Comparison(ratio, low, high, len(shared), "SLOWER")
    if low >= 1 - margin and high <= 1 + margin:
        return Comparison(ratio, low, high, len(shared), "SAME")
    edge = 1 + margin if high > 1 + margin else 1 - margin
    reason = f"the interval crosses {edge:.2f}; more rounds would narrow it"
    return Comparison(ratio, low, high, len(shared), "AMBIGUOUS", reason)


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, ties sharing their mean."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    result = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            result[order[place]] = (start + end) / 2 + 1
        start = end + 1
    return result


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Rank correlation; NaN when one side is constant or there are fewer than two pairs."""
    if len(left) != len(right):
        raise ValueError("two lists of different length")
    if len(left) < 2 or len(set(left)) < 2 or len(set(right)) < 2:
        return math.nan
    return statistics.correlation(ranks(left), ranks(right))


def kendall(left: Sequence[float], right: Sequence[float]) -> float:
    """Kendall's tau-b: the share of pairs in the same order less those in the other."""
    if len(left) != len(right):
        raise ValueError("two lists of different length")
    score = ties_left = ties_right = 0
    total = len(left) * (len(left) - 1) // 2
    for i in range(len(left)):
        for j in range(i):
            a = (left[i] > left[j]) - (left[i] < left[j])
            b = (right[i] > right[j]) - (right[i] < right[j])
            score += a * b
            ties_left += a == 0
            ties_right += b == 0
    scale = math.sqrt((total - ties_left) * (total - ties_right))
    return score / scale if scale else math.nan


@dataclass(frozen=True, slots=True)
class Errors:
    """How far predictions lie from measurements, in percent of the measured."""

    networks: int
    mape_percent: float
    p95_percent: float
    max_percent: float
    bias_percent: float
    spearman: float | None
    kendall: float | None


def errors(predicted: Sequence[float], measured: Sequence[float]) -> Errors:
    """Closure figures of paired predictions and measurements. Raises ValueError on none."""
    percents = [(p / m - 1) * 100 for p, m in zip(predicted, measured, strict=True)]
    if not percents:
        raise ValueError("no networks")
    sizes = [abs(v) for v in percents]
    rho, tau = spearman(predicted, measured), kendall(predicted, measured)
    return Errors(
        networks=len(percents),
        mape_percent=statistics.fmean(sizes),
        p95_percent=quantile(sizes, 0.95),
        max_percent=max(sizes),
        bias_percent=statistics.fmean(percents),
        spearman=None if math.isnan(rho) else rho,
        kendall=None if math.isnan(tau) else tau,
    )
