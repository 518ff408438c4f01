"""What the rounds of a measurement say: its latency, and how it compares with another."""

from __future__ import annotations

from profiler.statistics import interval, median
from profiler.types import Measurement, Round, usable


def medians(taken: Measurement) -> dict[str, float]:
    """The median of each usable round, by its process."""
    return {r.process: median(r.samples_ns) for r in usable(taken.rounds)}


def ratios(baseline: Measurement, candidate: Measurement) -> list[float]:
    """How many times as long the candidate took, for each process that timed both undisturbed.

    In every pass of a process both are visited once, within a fraction of a second. What slows a
    machine for longer than that slows both: the median over the passes of the ratio of the visits'
    medians knows nothing of it, the ratio of the rounds' medians does.
    """
    first = {r.process: r for r in usable(baseline.rounds)}
    second = {r.process: r for r in usable(candidate.rounds)}
    return [_ratio(first[p], second[p]) for p in sorted(first.keys() & second.keys())]


def _ratio(baseline: Round, candidate: Round) -> float:
    before, after = baseline.visits, candidate.visits
    if len(before) != len(after):
        return median(candidate.samples_ns) / median(baseline.samples_ns)
    return median([median(b) / median(a) for a, b in zip(before, after, strict=True)])


def latency_ns(taken: Measurement) -> int:
    """The headline: the median of the round medians."""
    return round(median(list(medians(taken).values())))


def interval_ns(taken: Measurement) -> tuple[int, int]:
    """The order-statistic 95 % interval of the round medians."""
    low, high = interval(list(medians(taken).values()))
    return round(low), round(high)
