"""A machine's speed while a process measured, divided out of what it measured.

Clocks and neighbours change a shared machine's speed within seconds, by more than what tables are
to tell apart. All chains of a process are visited in shuffled order, so around any sample are
those of many different chains: by how much these lie above their own medians, in the middle, is
how far the machine was slower then. Not all feel it alike: what streams weights from memory
suffers most from neighbours on the memory, a network whose weights stay in the caches hardly.
So each workload has a sensitivity, the slope of its own samples over that drift in all processes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.statistics import median
from profiler.types import Round

# Of so many neighbours on each side of a sample the middle is taken: few enough to follow bursts
# of a tenth of a second.
REACH = 8
# Fewer different workloads than this do not tell their own noise from the machine's speed.
LEAST = 12
SWEEPS = 3
MOST_SENSITIVE = 1.5
# Samples this many deviations off count for less (Huber 1964), and how often that is repeated.
CLIPPED, FITS = 1.5, 5
# A sum of squares so small, in logarithms, tells nothing of a slope.
PRIOR = 0.01


@dataclass(frozen=True, slots=True)
class Steadied:
    """Round medians at each process's typical speed, ns, by key and process; and how far the
    speed moved within a process: the width of its middle 90 %, as a share."""

    medians_ns: dict[str, dict[str, float]]
    moved: float


class _Process:
    """All samples of one process in the order of time, in logarithms."""

    def __init__(self, rounds: Mapping[str, Round]) -> None:
        import numpy

        self.keys = list(rounds)
        counts = [len(r.samples_ns) for r in rounds.values()]
        owner = numpy.repeat(numpy.arange(len(counts)), counts)
        logs = numpy.log(numpy.concatenate([r.samples_ns for r in rounds.values()]))
        times = numpy.concatenate([r.at_ns for r in rounds.values()])
        order = numpy.argsort(times, kind="stable")
        self.owner, self.logs = owner[order], logs[order]
        self.places = [numpy.flatnonzero(self.owner == n) for n in range(len(counts))]
        self.drift: Any = numpy.zeros(len(logs))
        self.levels: Any = numpy.zeros(len(counts))

    def follow(self, sensitivity: Mapping[str, float]) -> None:
        """Find the drift, and each workload's level without it."""
        import numpy

        slope = numpy.array([sensitivity[k] for k in self.keys])[self.owner]
        for _ in range(SWEEPS):
            rest = self.logs - slope * self.drift
            self.levels = numpy.array([numpy.median(rest[p]) for p in self.places])
            # One that hardly feels the drift says little about it.
            felt = numpy.maximum(slope, 0.3)
            self.drift = _middle((self.logs - self.levels[self.owner]) / felt)
            self.drift -= numpy.median(self.drift)


def steady(rounds: Mapping[str, Sequence[Round]]) -> Steadied:
    """Divide out of every process how its speed changed while it measured.

    `rounds` are those of each workload, by key. Processes of fewer than LEAST workloads, and
    rounds of stores that did not note when samples were taken, are left as they are.
    """
    found = {k: {r.process: median(r.samples_ns) for r in taken} for k, taken in rounds.items()}
    members: dict[str, dict[str, Round]] = {}
    for key, taken in rounds.items():
        for one in taken:
            if len(one.at_ns) == len(one.samples_ns):
                members.setdefault(one.process, {})[key] = one
    known = {p: _Process(m) for p, m in members.items() if len(m) >= LEAST}
    sensitivity = dict.fromkeys(rounds, 1.0)
    for _ in range(SWEEPS):
        for process in known.values():
            process.follow(sensitivity)
        sensitivity = _sensitivities(known.values(), sensitivity)
    for name, process in known.items():
        process.follow(sensitivity)
        for key, level in zip(process.keys, process.levels.tolist(), strict=True):
            found[key][name] = math.exp(level)
    return Steadied(found, median([_width(p.drift) for p in known.values()]) if known else 0.0)


def _sensitivities(processes: Collection[_Process], start: Mapping[str, float]) -> dict[str, float]:
    """The slope of each workload's samples over the drift, in all processes, robustly."""
    import numpy

    drifts: dict[str, list[Any]] = {}
    logs: dict[str, list[Any]] = {}
    for process in processes:
        for key, places, level in zip(process.keys, process.places, process.levels, strict=True):
            drifts.setdefault(key, []).append(process.drift[places])
            logs.setdefault(key, []).append(process.logs[places] - level)
    found = dict(start)
    for key, parts in drifts.items():
        x, y = numpy.concatenate(parts), numpy.concatenate(logs[key])
        slope = start[key]
        for _ in range(FITS):
            off = numpy.abs(y - slope * x)
            spread = 1.4826 * numpy.median(off) + 1e-3
            weight = 1 / numpy.maximum(1, off / (CLIPPED * spread))
            # On a quiet machine nothing is known of the slope, and nothing rests on it: it is 1.
            slope = (weight @ (x * y) + PRIOR) / (weight @ (x * x) + PRIOR)
        found[key] = min(MOST_SENSITIVE, max(0.0, float(slope)))
    return found


def _middle(values: Any) -> Any:
    """The median of each value and its neighbours."""
    import numpy

    padded = numpy.pad(values, REACH, mode="reflect")
    return numpy.median(numpy.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1), axis=1)


def _width(drift: Any) -> float:
    import numpy

    low, high = numpy.quantile(drift, (0.05, 0.95))
    return float(math.exp(high) - math.exp(low))
