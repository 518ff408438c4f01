"""From rounds to entries: first the machine's speed of each process, then least squares.

Processes drift by some percent together, so each process gets a speed factor of its own (median
polish in logarithms: Tukey 1977, chapter 11). What remains is each chain's latency at the
machine's typical speed. Every chain is then a sum: a scaffold that it shares with some others,
and the entries of its counted blocks; weighted least squares gives the entries. Resampling the
processes gives their intervals.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.statistics import median, quantile

POLISH_SWEEPS = 30
RESAMPLES = 40

# chain -> process -> ns
Observed = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Polished:
    """Latencies at typical speed by chain, and each process's speed (above 1: slower)."""

    latency_ns: dict[str, float]
    speed: dict[str, float]
    scatter: dict[str, float]


@dataclass(frozen=True, slots=True)
class Term:
    """What a chain's latency is made of."""

    chain: str
    scaffold: str
    counted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Estimated:
    """An entry's value and its 95 % interval, ns; may be negative where noise exceeds it."""

    ns: float
    low_ns: float
    high_ns: float


def polish(observed: Observed) -> Polished:
    """Split round medians into a latency for each chain and a speed for each process.

    `scatter` is the robust relative spread of a chain's rounds after the speeds are divided out.
    """
    logs = {c: {p: math.log(v) for p, v in rounds.items()} for c, rounds in observed.items()}
    processes = sorted({p for rounds in logs.values() for p in rounds})
    by_process = {p: [(c, logs[c][p]) for c in logs if p in logs[c]] for p in processes}
    speed = dict.fromkeys(processes, 0.0)
    level: dict[str, float] = {}
    for _ in range(POLISH_SWEEPS):
        level = {c: median([v - speed[p] for p, v in r.items()]) for c, r in logs.items()}
        moved = {p: median([v - level[c] for c, v in rows]) for p, rows in by_process.items()}
        middle = median(list(moved.values()))
        change = max(abs(moved[p] - middle - speed[p]) for p in processes)
        speed = {p: v - middle for p, v in moved.items()}
        if change < 1e-9:
            break
    level = {c: median([v - speed[p] for p, v in r.items()]) for c, r in logs.items()}
    scatter = {
        c: 1.4826 * median([abs(v - speed[p] - level[c]) for p, v in r.items()])
        for c, r in logs.items()
    }
    return Polished(
        {c: math.exp(v) for c, v in level.items()},
        {p: math.exp(v) for p, v in speed.items()},
        scatter,
    )


def solve(latency_ns: Mapping[str, float], terms: Sequence[Term]) -> dict[str, float]:
    """Entries and scaffolds from chains, by least squares of relative errors.

    Raises ValueError naming the entries that the chains do not determine.
    """
    import numpy

    names = sorted({t.scaffold for t in terms} | {k for t in terms for k in t.counted})
    place = {name: i for i, name in enumerate(names)}
    design = numpy.zeros((len(terms), len(names)))
    for row, term in enumerate(terms):
        design[row, place[term.scaffold]] += 1
        for key, count in Counter(term.counted).items():
            design[row, place[key]] += count
        design[row] /= latency_ns[term.chain]
    # Columns are brought to one size first, or the rank would depend on the units.
    sizes = numpy.linalg.norm(design, axis=0)
    solution, _, rank, _ = numpy.linalg.lstsq(design / sizes, numpy.ones(len(terms)), rcond=1e-9)
    if rank < len(names):
        _, _, rows = numpy.linalg.svd(design / sizes)
        loose = sorted(n for n in names if numpy.abs(rows[rank:, place[n]]).max() > 1e-6)
        raise ValueError(f"the chains do not determine {', '.join(loose[:5])}")
    return dict(zip(names, (float(v) for v in solution / sizes), strict=True))


def determined(terms: Sequence[Term]) -> list[Term]:
    """The chains that still determine their entries when others have failed.

    A scaffold that only one chain is left with says nothing; what rested on it goes too.
    """
    kept = list(terms)
    while True:
        shared = Counter(t.scaffold for t in kept)
        sure = {t.scaffold for t in kept if not t.counted} | {s for s, n in shared.items() if n > 1}
        smaller = [t for t in kept if t.scaffold in sure]
        if len(smaller) == len(kept):
            return kept
        kept = smaller


def entries(observed: Observed, terms: Sequence[Term], seed: int) -> dict[str, Estimated]:
    """All entries and scaffolds with intervals from resampled processes."""
    centre = solve(polish(observed).latency_ns, terms)
    processes = sorted({p for rounds in observed.values() for p in rounds})
    generator = random.Random(seed)
    drawn: dict[str, list[float]] = {name: [] for name in centre}
    for _ in range(RESAMPLES):
        sample = _resample(observed, processes, generator)
        if sample is None:
            continue
        for name, value in solve(sample, terms).items():
            drawn[name].append(value)
    result = {}
    for name, value in centre.items():
        values = drawn[name] or [value]
        low, high = quantile(values, 0.025), quantile(values, 0.975)
        result[name] = Estimated(value, min(low, value), max(high, value))
    return result


def _resample(
    observed: Observed, processes: Sequence[str], generator: random.Random
) -> dict[str, float] | None:
    """Latencies from processes drawn with replacement; None if some chain was not drawn."""
    picked = [generator.choice(processes) for _ in processes]
    sample: dict[str, dict[str, float]] = {}
    for chain, rounds in observed.items():
        sample[chain] = {f"{p}#{i}": rounds[p] for i, p in enumerate(picked) if p in rounds}
        if not sample[chain]:
            return None
    return polish(sample).latency_ns
