"""Warm-up, batching and interleaving. What measures time and the generator are arguments."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from profiler.statistics import median
from profiler.types import Protocol

Call = Callable[[], object]
# The nanoseconds that so many runs of a call take: by this process's clock, or by a runtime's own.
Elapsed = Callable[[Call, int], int]

CHECK_EVERY_SAMPLES = 4
STEADY = 0.02
# How far a circle's bytes may be from those of the network: those that a block occurs in differ by
# more.
EVEN = 0.25
# What reads so many times the bytes of the last cache leaves next to nothing of itself there: run
# again, it takes as long as after anything else, to 0.3 % (docs/METHOD.md has the figures).
EMPTIES = 2
TURN = 4


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a workload needs: untimed runs before it is steady, and runs per clock reading."""

    warmup: int
    batch: int


def elapsed_ns(call: Call, batch: int) -> int:
    """The wall time of `batch` runs, in nanoseconds."""
    before = time.perf_counter_ns()
    for _ in range(batch):
        call()
    return time.perf_counter_ns() - before


class Turns:
    """Inferences under a profiler in turns with plain ones, so that both see the same machine.

    Iterating gives as many turns as `count`; before each four of them as many plain inferences are
    timed, by `elapsed`, after one that brings their code and data back. `plain_ns` are their times.
    """

    def __init__(self, call: Call, count: int, elapsed: Elapsed = elapsed_ns) -> None:
        self.plain_ns: list[int] = []
        self._call = call
        self._count = count
        self._elapsed = elapsed

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        for number in range(self._count):
            if number % TURN == 0:
                self._call()
                self.plain_ns += [self._elapsed(self._call, 1) for _ in range(TURN)]
            yield number


def calibrate(call: Call, protocol: Protocol, elapsed: Elapsed = elapsed_ns) -> Calibration:
    """Run until the latency is steady; the counts are then frozen for all rounds.

    Steady means that the medians of the third and of the last quarter of the runs differ by at
    most 2 % (after pyperf's quartile test), and that the time floor has passed; the time limit
    ends a warm-up that never gets there.
    """
    samples: list[int] = []
    spent = 0
    while True:
        samples.append(elapsed(call, 1))
        spent += samples[-1]
        due = len(samples) % CHECK_EVERY_SAMPLES == 0 or len(samples) == protocol.warmup_runs
        due = due or spent >= protocol.warmup_limit_ns
        if due and _warm(samples, spent, protocol):
            break
    last = samples[-max(1, len(samples) // 4) :]
    latency = max(1.0, median(last))
    return Calibration(len(samples), max(1, -(-protocol.sample_floor_ns // int(latency))))


def _warm(samples: list[int], spent: int, protocol: Protocol) -> bool:
    if spent >= protocol.warmup_limit_ns:
        return True
    if spent < protocol.warmup_floor_ns or len(samples) < protocol.warmup_runs:
        return False
    if len(samples) < 4:
        return True
    quarter = len(samples) // 4
    third = median(samples[2 * quarter : 3 * quarter])
    last = median(samples[3 * quarter :])
    return abs(last - third) <= STEADY * third


def warm_up(call: Call, count: int) -> None:
    """Run untimed, as often as the calibration found necessary."""
    for _ in range(count):
        call()


def visit(
    call: Call,
    batch: int,
    protocol: Protocol,
    elapsed: Elapsed = elapsed_ns,
    untimed: bool = True,
) -> list[int]:
    """One visit: an untimed run to bring the workload's own code back, then timed samples.

    Returns nanoseconds per inference; each sample spans `batch` inferences.
    """
    if untimed:
        call()
    samples: list[int] = []
    spent = 0
    while len(samples) < protocol.visit_samples:
        took = elapsed(call, batch)
        samples.append(max(1, round(took / batch)))
        spent += took
        if len(samples) >= 2 and spent >= protocol.visit_limit_ns:
            break
    return samples


@dataclass(frozen=True, slots=True)
class Place:
    """What runs at one place of a schedule: one workload, or a circle of several.

    In a circle those `beside` run along without being timed. What is `untimed` begins with a run or
    a lap that is not timed.
    """

    keys: tuple[str, ...]
    beside: tuple[str, ...] = ()
    circle: bool = False
    untimed: bool = True


@dataclass(frozen=True, slots=True)
class Extent:
    """The bytes of a workload, and of the network within which it is to be timed; 0 for none."""

    own_bytes: int
    circle_bytes: int = 0


def schedule(
    extents: Mapping[str, Extent],
    protocol: Protocol,
    generator: random.Random,
    cache_bytes: float = math.inf,
) -> list[Place]:
    """The order of visits, in shuffled passes: single workloads and circles of several.

    Where there are circles, what empties a cache of so many bytes by itself has no untimed run.
    """
    plain = sorted(k for k, e in extents.items() if not e.circle_bytes)
    order: list[Place] = []
    passes = max(protocol.passes, protocol.circles)
    for number in range(passes):
        due: list[Place] = []
        if _is_due(number, protocol.passes, passes):
            due += [Place((key,)) for key in plain]
        if _is_due(number, protocol.circles, passes):
            due += circles(extents, generator, cache_bytes)
        generator.shuffle(due)
        order += due
    if not protocol.circles:
        return order
    return [replace(p, untimed=_bytes(p, extents) < EMPTIES * cache_bytes) for p in order]


def _bytes(place: Place, extents: Mapping[str, Extent]) -> int:
    return sum(extents[k].own_bytes for k in (*place.keys, *place.beside))


def _is_due(number: int, wanted: int, passes: int) -> bool:
    """Whether this pass is one of so many, spread evenly over all."""
    return (number + 1) * wanted // passes > number * wanted // passes


def circles(
    extents: Mapping[str, Extent], generator: random.Random, cache_bytes: float = math.inf
) -> list[Place]:
    """Workloads that are timed within networks of one size, dealt at random into circles.

    A circle's bytes are about those of the network: run one after the other, each finds its weights
    as far away as the rest of a network leaves them. What is too few for a circle is filled up with
    others, until it empties the cache as well as that network does.
    """
    found = []
    for wanted in sorted({e.circle_bytes for e in extents.values()} - {0}):
        keys = sorted(k for k, e in extents.items() if e.circle_bytes == wanted)
        generator.shuffle(keys)
        for timed in _parts(keys, wanted * (1 + EVEN), extents):
            others = sorted(k for k, e in extents.items() if e.circle_bytes and k not in timed)
            generator.shuffle(others)
            beside = _besides(timed, others, min(wanted, EMPTIES * cache_bytes), extents)
            found.append(Place(timed, beside, circle=True))
    return found


def _parts(
    keys: Sequence[str], most_bytes: float, extents: Mapping[str, Extent]
) -> list[tuple[str, ...]]:
    """The keys in as few parts as can be of about so many bytes, all of about the same size."""
    total = sum(extents[k].own_bytes for k in keys)
    count = max(1, min(len(keys), math.ceil(total / most_bytes)))
    parts: list[list[str]] = [[] for _ in range(count)]
    before = 0
    for key in keys:
        middle = before + extents[key].own_bytes / 2
        parts[min(count - 1, int(middle * count / max(1, total)))].append(key)
        before += extents[key].own_bytes
    return [tuple(p) for p in parts if p]


def _besides(
    timed: Sequence[str], others: Iterable[str], wanted: float, extents: Mapping[str, Extent]
) -> tuple[str, ...]:
    """What fills a circle up to its bytes, to within half a workload, where it lacks many."""
    held = sum(extents[k].own_bytes for k in timed)
    found: list[str] = []
    if held >= wanted * (1 - EVEN):
        return ()
    for key in others:
        if held + extents[key].own_bytes / 2 > wanted:
            break
        held += extents[key].own_bytes
        found.append(key)
    return tuple(found)
