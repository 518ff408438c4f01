"""Check a table against whole networks, at any time after it was built.

The table's reference networks are measured in the same rounds: what they take now, compared
with what they took when the table was built, is the machine's speed now. Predictions are
multiplied by it, and it is reported; far from 1 it means that this is not the machine that the
table was built on, and the check says so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Container, Sequence
from dataclasses import dataclass

from profiler import devices, drift, plugins
from profiler.errors import TableError, UsageError, WorkloadFailed
from profiler.statistics import median
from profiler.tables import estimate, networks
from profiler.tables.build import against, close
from profiler.tables.networks import Bench
from profiler.tables.table import Closure, LatencyTable, Network
from profiler.types import Target, Workload

# A machine's speed drifts by some percent from minute to minute; beyond this it is another.
MAX_SPEED_CHANGE = 0.15


@dataclass(frozen=True, slots=True)
class Checked:
    """A check: each network beside its prediction, and how they compare."""

    speed: float
    networks: tuple[Network, ...]
    table_ns: tuple[int, ...]
    figures: Closure
    flags: tuple[str, ...]


def require_same(table: LatencyTable, target: Target) -> None:
    """Refuse a table of another device or runtime version. Raises TableError."""
    device = devices.device(target.device)
    if table.device["fingerprint"] != device.fingerprint:
        raise TableError(
            f"the table was built on another device ({table.device['description']}), "
            f"this is {device.description}; build one here with: opclock table build"
        )
    version = plugins.load("profiler.runtimes", target.runtime).version()
    if table.runtime_version != version:
        raise TableError(
            f"the table was built with {target.runtime} {table.runtime_version}, "
            f"here is {version}; build it again, or install that version"
        )


def chosen(
    bench: Bench, table: LatencyTable, names: Sequence[str], seed: int, count: int
) -> tuple[dict[str, tuple[str, ...]], dict[str, Workload]]:
    """The networks of a check: rows by name, and the real ones among them.

    Random ones never repeat those that took part in the table.
    """
    space = bench.space
    rows = {n: space.rows(space.parse(n)) for n in names}
    taken = {n.architecture for n in (*table.references, *table.closure_networks)}
    drawn = space.draw(random.Random(seed), min(count + len(taken), space.size))
    wanted = {space.text(a): space.rows(a) for a in drawn}
    fresh = [n for n in wanted if n not in taken and n not in rows][:count]
    rows |= {n: wanted[n] for n in fresh}
    real = {n: space.network(n) for n in names}
    return rows, {n: w for n, w in real.items() if w is not None}


def check(
    bench: Bench,
    table: LatencyTable,
    names: Sequence[str],
    seed: int,
    count: int,
    force: bool = False,
) -> Checked:
    """Measure networks and compare them with the table's predictions.

    `force` checks a table of another device or version too. Raises MissingEntry when the table
    lacks a row of one of them, WorkloadFailed when nothing could be measured.
    """
    if not force:
        require_same(table, bench.target)
    rows, real = chosen(bench, table, names, seed, count)
    if not rows:
        raise UsageError("no network to check: name some with --archs, or ask for --count N")
    predicted = {n: table.predict(n, r).latency_ns for n, r in rows.items()}
    space = bench.space
    references = {n.architecture: space.rows(space.parse(n.architecture)) for n in table.references}
    composed = {n: r for n, r in rows.items() if n not in real} | references
    blocks, whole = networks.export(bench, {k for r in composed.values() for k in r}, real)
    items = networks.compose(bench, composed, blocks) | whole
    canary = next((items[n] for n in references if n in items), None)
    try:
        links = [items[n] for n in references if n in items]
        observed = networks.take_rounds(bench, list(items.values()), canary, links)
    finally:
        networks.tidy(bench)
    names_of = {i.key: n for n, i in items.items()}
    levels = drift.levels_ns({names_of[k]: v for k, v in observed.items()})
    now = _beside(levels, rows)
    if not now:
        failed = bench.failures[0].message if bench.failures else "no rounds within the budget"
        raise WorkloadFailed(f"no network could be measured: {failed}")
    polished = estimate.polish(now)
    speed = _speed(table, polished.latency_ns)
    lines = [
        against(name, predicted[name] * (speed or 1.0), polished)
        for name in rows
        if name in polished.latency_ns
    ]
    flags = []
    if speed is None:
        flags.append("no reference network was measured: the machine's speed is not known")
    elif abs(speed - 1) > MAX_SPEED_CHANGE:
        flags.append(f"the machine's speed is {speed:.2f} of what it was: build the table again")
    measured = tuple(predicted[n.architecture] for n in lines)
    return Checked(speed or 1.0, tuple(lines), measured, close(lines, seed), tuple(flags))


def _beside(observed: estimate.Observed, names: Container[str]) -> dict[str, dict[str, float]]:
    """Only what was measured in the same processes as the named networks."""
    wanted = {p for n, rounds in observed.items() if n in names for p in rounds}
    now = {n: {p: v for p, v in r.items() if p in wanted} for n, r in observed.items()}
    return {n: rounds for n, rounds in now.items() if rounds}


def _speed(table: LatencyTable, latency_ns: dict[str, float]) -> float | None:
    """How much longer the reference networks take now than when the table was built."""
    logs = [
        math.log(latency_ns[n.architecture] / n.measured_ns)
        for n in table.references
        if n.architecture in latency_ns
    ]
    return math.exp(median(logs)) if logs else None
