"""What a round's samples say on a machine whose speed changes while it measures.

Clocks and neighbours change a shared machine's speed within seconds, by more than what tables are
to tell apart. What disturbs a run only makes it longer, so of the samples of a round, which are
spread over the whole process, the lower quartile counts: it stays where it is while a machine is
slow for up to three quarters of the time. How far the speed moved is told by the samples around
each one: they are of many different chains, and by how much these lie above their
own medians, in the middle, is how much slower the machine was then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from profiler.statistics import median, quantile
from profiler.types import Round

LEVEL = 0.25
# Of so many neighbours on each side of a sample the middle is taken.
REACH = 8
# Fewer different workloads than this do not tell their own noise from the machine's speed.
LEAST = 12


def levels_ns(rounds: Mapping[str, Sequence[Round]]) -> dict[str, dict[str, float]]:
    """The lower quartile of each round's samples, by the workload's key and by process."""
    return {
        key: {r.process: quantile(r.samples_ns, LEVEL) for r in taken}
        for key, taken in rounds.items()
    }


def moved(rounds: Mapping[str, Sequence[Round]]) -> float:
    """How far the speed moved within a process: the width of its middle 90 %, as a share.

    Zero where nothing is known: in processes of fewer than LEAST workloads, and of stores that did
    not note when samples were taken.
    """
    members: dict[str, list[Round]] = {}
    for taken in rounds.values():
        for one in taken:
            if len(one.at_ns) == len(one.samples_ns):
                members.setdefault(one.process, []).append(one)
    widths = [_width(_speed(m)) for m in members.values() if len(m) >= LEAST]
    return median(widths) if widths else 0.0


def _speed(rounds: Sequence[Round]) -> Any:
    """How much slower than usual the machine was at each sample of a process, in logarithms."""
    import numpy

    slower = numpy.concatenate([_above_median(r) for r in rounds])
    times = numpy.concatenate([r.at_ns for r in rounds])
    ordered = slower[numpy.argsort(times, kind="stable")]
    padded = numpy.pad(ordered, REACH, mode="reflect")
    return numpy.median(numpy.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1), axis=1)


def _above_median(one: Round) -> Any:
    import numpy

    logs = numpy.log(one.samples_ns)
    return logs - numpy.median(logs)


def _width(speed: Any) -> float:
    import numpy

    low, high = numpy.quantile(speed, (0.05, 0.95))
    return float(math.exp(high) - math.exp(low))
