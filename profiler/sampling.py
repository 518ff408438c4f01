"""Warm-up, batching and interleaving. What measures time and the generator are arguments."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from profiler.statistics import median
from profiler.types import Protocol

Call = Callable[[], object]
# The nanoseconds that so many runs of a call take: by this process's clock, or by a runtime's own.
Elapsed = Callable[[Call, int], int]

CHECK_EVERY_SAMPLES = 4
STEADY = 0.02
TURN = 8


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

    Iterating gives as many turns as `count`; before each eight of them as many plain inferences are
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
                self.time_plain()
            yield number

    def time_plain(self) -> None:
        """Time plain inferences."""
        self._call()
        self.plain_ns += [self._elapsed(self._call, 1) for _ in range(TURN)]


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


def visit(call: Call, batch: int, protocol: Protocol, elapsed: Elapsed = elapsed_ns) -> list[int]:
    """One visit: an untimed run to bring the workload's own code back, then timed samples.

    Returns nanoseconds per inference; each sample spans `batch` inferences.
    """
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


def schedule(
    plain: Iterable[str],
    sizes_bytes: Mapping[str, int],
    circle_bytes: int,
    protocol: Protocol,
    generator: random.Random,
) -> list[tuple[str, ...]]:
    """The order of visits, in shuffled passes: single workloads and circles of several.

    `sizes_bytes` are those that are to be timed in circles.
    """
    order: list[tuple[str, ...]] = []
    passes = max(protocol.passes, protocol.circles)
    for number in range(passes):
        due: list[tuple[str, ...]] = []
        if _is_due(number, protocol.passes, passes):
            due += [(key,) for key in sorted(plain)]
        if _is_due(number, protocol.circles, passes):
            due += circles(sizes_bytes, circle_bytes, generator)
        generator.shuffle(due)
        order += due
    return order


def _is_due(number: int, wanted: int, passes: int) -> bool:
    """Whether this pass is one of so many, spread evenly over all."""
    return (number + 1) * wanted // passes > number * wanted // passes


def circles(
    sizes_bytes: Mapping[str, int], circle_bytes: int, generator: random.Random
) -> list[tuple[str, ...]]:
    """Workloads dealt at random into circles of so many bytes or slightly more.

    Run one after the other, each finds its weights as far away as a network of that size would
    have left them. The last circle is filled up with workloads that have had their turn.
    """
    rest = sorted(sizes_bytes)
    generator.shuffle(rest)
    found: list[tuple[str, ...]] = []
    current: list[str] = []
    for key in rest:
        current.append(key)
        if sum(sizes_bytes[k] for k in current) >= circle_bytes:
            found.append(tuple(current))
            current = []
    if current:
        others = [k for k in rest if k not in current]
        while others and sum(sizes_bytes[k] for k in current) < circle_bytes:
            current.append(others.pop(0))
        found.append(tuple(current))
    return found
