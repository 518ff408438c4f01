"""Pure functions over raw samples: medians, intervals, verdicts and rank correlations."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
# The chance that at most so many of the ratios lie on one side of the true one.
Tail = Callable[[int], float]


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


def midmean(values: Sequence[float]) -> float:
    """The mean of the middle half: robust, and finer than readings in whole units are."""
    if not values:
        raise ValueError("no values")
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def quiet(values: Sequence[float]) -> list[int]:
    """The places of the smaller half of the values: what disturbs a run only makes it longer."""
    ranked = sorted(range(len(values)), key=lambda i: values[i])
    return sorted(ranked[: (len(values) + 1) // 2])


def quiet_mean(values: Sequence[float]) -> float:
    """The mean of the middle of the smaller half of the values. Raises ValueError on none."""
    return midmean([values[i] for i in quiet(values)])


def difference(
    left: Sequence[float], right: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """How much larger `right` is than `left`: estimate, low, high; nothing is paired.

    The median of all pairwise differences and its interval, as in `compare_apart`. Where so few
    values cannot give that confidence, the interval is infinite.
    """
    pairs = sorted(b - a for a in left for b in right)
    if not pairs:
        raise ValueError("no values")
    middle, depth = statistics.median(pairs), 0
    tail = functools.partial(_rank_tail, len(left), len(right))
    while depth < len(pairs) // 2 and 2 * tail(depth) <= 1 - confidence:
        depth += 1
    return (middle, pairs[depth - 1], pairs[-depth]) if depth else (middle, -math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much longer a candidate takes than a baseline: ratio, interval and verdict.

    `p_value` is the smallest error level at which the verdict would still be given.
    """

    ratio: float
    low: float
    high: float
    pairs: int
    verdict: str
    reason: str = ""
    p_value: float = 1.0


def compare(
    baseline: Mapping[str, float], candidate: Mapping[str, float], margin: float = 0.01
) -> Comparison:
    """Compare two workloads by their round medians, paired by the process, or the lap, of both."""
    shared = sorted(set(baseline) & set(candidate))
    return judge([candidate[p] / baseline[p] for p in shared], margin)


def judge(ratios: Sequence[float], margin: float = 0.01) -> Comparison:
    """A verdict on what a candidate took in each round as a multiple of a baseline.

    FASTER or SLOWER when the interval of the ratio lies outside 1 +- margin, SAME when it lies
    inside, AMBIGUOUS otherwise, UNUSABLE when too few rounds timed both.
    """
    if not covers(len(ratios)):
        return unusable(f"{len(ratios)} shared rounds; an interval needs 6", len(ratios))
    ratios = sorted(ratios)
    depth = _depth(len(ratios), CONFIDENCE)
    return _judged(ratios, depth, functools.partial(_sign_tail, len(ratios)), len(ratios), margin)


def compare_apart(
    earlier: Sequence[float], later: Sequence[float], margin: float = 0.01
) -> Comparison:
    """Compare two sets of round medians that no process took both of: of two days, say.

    The ratio is Hodges and Lehmann's, the median over all pairs; its interval comes from the exact
    distribution of Mann and Whitney's count (both as in Hollander, Wolfe and Chicken,
    Nonparametric Statistical Methods, section 4.2-4.3). Verdicts are those of `compare`.
    """
    pairs = min(len(earlier), len(later))
    tail = functools.partial(_rank_tail, len(earlier), len(later))
    if not pairs or 2 * tail(0) > 1 - CONFIDENCE:
        return unusable(f"{len(earlier)} rounds against {len(later)} are too few", pairs)
    ratios = sorted(b / a for a in earlier for b in later)
    depth = 1
    while 2 * tail(depth) <= 1 - CONFIDENCE:
        depth += 1
    return _judged(ratios, depth, tail, pairs, margin)


def unusable(reason: str, pairs: int = 0) -> Comparison:
    """No comparison, and why."""
    return Comparison(math.nan, math.nan, math.nan, pairs, "UNUSABLE", reason)


def _judged(
    ratios: Sequence[float], depth: int, tail: Tail, pairs: int, margin: float
) -> Comparison:
    """The verdict on sorted ratios whose interval leaves out `depth` - 1 at each end."""
    low, high = ratios[depth - 1], ratios[-depth]
    ratio = math.exp(median([math.log(r) for r in ratios]))
    if high < 1 - margin:
        verdict, contrary = "FASTER", sum(r >= 1 - margin for r in ratios)
    elif low > 1 + margin:
        verdict, contrary = "SLOWER", sum(r <= 1 + margin for r in ratios)
    elif low >= 1 - margin and high <= 1 + margin:
        below, above = sum(r < 1 - margin for r in ratios), sum(r > 1 + margin for r in ratios)
        verdict, contrary = "SAME", max(below, above)
    else:
        edge = 1 + margin if high > 1 + margin else 1 - margin
        reason = f"the interval crosses {edge:.2f}; more rounds would narrow it"
        return Comparison(ratio, low, high, pairs, "AMBIGUOUS", reason)
    return Comparison(ratio, low, high, pairs, verdict, p_value=min(1.0, 2 * tail(contrary)))


def _sign_tail(count: int, most: int) -> float:
    return float(sum(math.comb(count, k) for k in range(most + 1)) / 2**count)


def _rank_tail(first: int, second: int, most: int) -> float:
    return sum(_orders(first, second)[: most + 1]) / math.comb(first + second, first)


@functools.cache
def _orders(first: int, second: int) -> tuple[int, ...]:
    """In how many orders of two samples the count of Mann and Whitney is 0, 1, 2, ..."""
    if not first or not second:
        return (1,)
    # The largest of all is of the second sample and stands above the whole first one, or is not.
    found = [0] * (first * second + 1)
    for shift, counts in ((first, _orders(first, second - 1)), (0, _orders(first - 1, second))):
        for place, count in enumerate(counts):
            found[place + shift] += count
    return tuple(found)


def rounds_for(comparisons: int) -> int:
    """The fewest rounds from which so many comparisons can all have a verdict after correction."""
    needed = 1
    while 2.0 * 0.5**needed * comparisons > 1 - CONFIDENCE:
        needed += 1
    return needed


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, adjusted so that the chance of any error stays below a level.

    Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[number]))
        adjusted[number] = largest
    return adjusted


def corrected(found: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """Comparisons that are read together: a verdict that Holm's correction takes is AMBIGUOUS.

    Intervals stay those of each comparison alone; what is UNUSABLE is none of them.
    """
    usable = {n: c for n, c in found.items() if c.verdict != "UNUSABLE"}
    adjusted = dict(zip(usable, holm([c.p_value for c in usable.values()]), strict=True))
    return {n: _kept(c, adjusted.get(n), len(usable)) for n, c in found.items()}


def _kept(found: Comparison, adjusted: float | None, count: int) -> Comparison:
    if adjusted is None:
        return found
    if adjusted <= 1 - CONFIDENCE or found.verdict == "AMBIGUOUS":
        return dataclasses.replace(found, p_value=adjusted)
    reason = f"{found.verdict} alone, not as one of {count}; more rounds would tell"
    return dataclasses.replace(found, verdict="AMBIGUOUS", reason=reason, p_value=adjusted)


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
