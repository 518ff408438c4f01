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
from typing import Any

from profiler.statistics import median, quantile

POLISH_SWEEPS = 30
RESAMPLES = 40
RANK_TOLERANCE = 1e-9
LOOSE = 1e-6
BEND = 0.1

# chain -> process -> ns
Observed = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Polished:
    """Latencies at typical speed by chain, and each process's speed (above 1: slower)."""

    latency_ns: dict[str, float]
    speed: dict[str, float]
    scatter: dict[str, float]
    rounds: dict[str, int]


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
        {c: len(r) for c, r in logs.items()},
    )


def _design(terms: Sequence[Term]) -> tuple[list[str], Any]:
    """How often each scaffold and entry (columns) is in each chain (rows)."""
    import numpy

    names = sorted({t.scaffold for t in terms} | {k for t in terms for k in t.counted})
    place = {name: i for i, name in enumerate(names)}
    counts = numpy.zeros((len(terms), len(names)))
    for row, term in enumerate(terms):
        counts[row, place[term.scaffold]] += 1
        for key, count in Counter(term.counted).items():
            counts[row, place[key]] += count
    return names, counts


def undetermined(terms: Sequence[Term]) -> set[str]:
    """The scaffolds and entries that the chains leave open."""
    import numpy

    if not terms:
        return set()
    names, counts = _design(terms)
    _, sizes, rows = numpy.linalg.svd(counts / numpy.linalg.norm(counts, axis=0))
    rank = int((sizes > RANK_TOLERANCE * sizes[0]).sum())
    open_ones = numpy.abs(rows[rank:]).max(axis=0, initial=0.0) > LOOSE
    return {name for name, loose in zip(names, open_ones, strict=True) if loose}


def determine(some: Sequence[Term], terms: Sequence[Term]) -> bool:
    """Whether some of these chains determine all that is in them."""
    named = [{n for t in group for n in (t.scaffold, *t.counted)} for group in (some, terms)]
    return named[0] == named[1] and not undetermined(some)


def solve(latency_ns: Mapping[str, float], terms: Sequence[Term]) -> dict[str, float]:
    """Entries and scaffolds from chains, by least squares of relative errors.

    Raises ValueError naming the entries that the chains do not determine.
    """
    import numpy

    names, counts = _design(terms)
    weighted = counts / numpy.array([[latency_ns[t.chain]] for t in terms])
    # Columns are brought to one size first, or the rank would depend on the units.
    sizes = numpy.linalg.norm(weighted, axis=0)
    target = numpy.ones(len(terms))
    solution, _, rank, _ = numpy.linalg.lstsq(weighted / sizes, target, rcond=RANK_TOLERANCE)
    if rank < len(names):
        loose = sorted(undetermined(terms))
        raise ValueError(f"the chains do not determine {', '.join(loose[:5])}")
    return dict(zip(names, (float(v) for v in solution / sizes), strict=True))


def determined(terms: Sequence[Term]) -> list[Term]:
    """The chains that still determine their entries when others have failed.

    A chain with an open entry goes, and with it what rested on that chain.
    """
    kept = list(terms)
    while loose := undetermined(kept):
        kept = [t for t in kept if not loose & {t.scaffold, *t.counted}]
    return kept


def entries(observed: Observed, terms: Sequence[Term], seed: int) -> dict[str, Estimated]:
    """All entries and scaffolds with intervals from resampled processes."""
    centre = solve(polish(observed).latency_ns, terms)
    processes = sorted({p for rounds in observed.values() for p in rounds})
    generator = random.Random(seed)
    drawn: dict[str, list[float]] = {name: [] for name in centre}
    for _ in range(RESAMPLES):
        for name, value in solve(_resample(observed, processes, generator), terms).items():
            drawn[name].append(value)
    result = {}
    for name, value in centre.items():
        values = drawn[name] or [value]
        low, high = quantile(values, 0.025), quantile(values, 0.975)
        result[name] = Estimated(value, min(low, value), max(high, value))
    return result


def bends(observed: Observed, terms: Sequence[Term]) -> set[str]:
    """Rows whose chains are not linear in their number of blocks.

    A chain between the shortest and the longest of its kind must lie on the line through both,
    within BEND of what its blocks take, or within its own noise.
    """
    polished = polish(observed)
    kinds: dict[tuple[str, tuple[str, ...]], list[Term]] = {}
    for term in terms:
        if len(set(term.counted)) == 1 or len(Counter(Counter(term.counted).values())) == 1:
            kinds.setdefault((term.scaffold, tuple(sorted(set(term.counted)))), []).append(term)
    found: set[str] = set()
    for (_, keys), members in kinds.items():
        ranked = sorted(members, key=lambda t: len(t.counted))
        if len(ranked) < 3 or not keys:
            continue
        (few, least), *between, (many, most) = [
            (len(t.counted), polished.latency_ns[t.chain]) for t in ranked
        ]
        for term, (count, value) in zip(ranked[1:-1], between, strict=True):
            line = least + (most - least) * (count - few) / (many - few)
            noise = 3 * polished.scatter[term.chain] * value
            if abs(value - line) > max(BEND * (most - least), noise):
                found.update(keys)
    return found


def _resample(
    observed: Observed, processes: Sequence[str], generator: random.Random
) -> dict[str, float]:
    """Latencies from processes drawn with replacement; a chain that was not drawn keeps its own."""
    picked = [generator.choice(processes) for _ in processes]
    sample: dict[str, dict[str, float]] = {}
    for chain, rounds in observed.items():
        again = {f"{p}#{i}": rounds[p] for i, p in enumerate(picked) if p in rounds}
        sample[chain] = again or dict(rounds)
    return polish(sample).latency_ns
