"""Where a network's time goes: by the operators that it executes, or by the blocks of a table."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from profiler.categories import block_of, category_of, parents_of, stage_of, weight_of
from profiler.errors import UsageError
from profiler.lineage import MOVED
from profiler.operators import category
from profiler.profiling import Profile
from profiler.statistics import difference, median
from profiler.tables.table import LatencyTable
from profiler.types import (
    Breakdown,
    BreakdownRow,
    Device,
    Executed,
    Scaling,
    Source,
    Target,
    Workload,
)

ATTRIBUTION = {
    "measured": "measured-in-context",
    "interpolated": "interpolated",
    "imported": "imported",
}
CLOSES_WITHIN = 0.02
UNKNOWN = "(unknown)"
GROUPINGS = ("operator", "category", "type", "module", "block", "stage")


def by_block(
    table: LatencyTable, workload: Workload, target: Target, blocks: Sequence[str], total_ns: int
) -> Breakdown:
    """Rows by block in network order, the call's overhead, and the rest up to `total_ns`.

    The rest is what the table does not explain; it is negative where the table predicts more
    than was measured.
    """
    rows = []
    for key, count in Counter(blocks).items():
        entry = table.entries[key]
        time_ns = round(table.scale * entry.ns * count)
        rows.append(BreakdownRow(key, key.split("/")[0], count, time_ns, ATTRIBUTION[entry.source]))
    rows.append(BreakdownRow("call", "overhead", 1, table.overhead_ns, "measured-in-context"))
    rest = total_ns - sum(r.time_ns for r in rows)
    return Breakdown(workload, target, tuple(rows), rest, total_ns)


def by_operator(
    workload: Workload,
    target: Target,
    profiles: Sequence[Profile],
    latency_ns: int,
    device: Device,
    runtime_version: str,
    flags: Sequence[str] = (),
) -> Breakdown:
    """Rows by executed operator in order of execution, closed to the latency without profiler.

    Each process's times are first brought to one speed, that of `latency_ns`, by its own latency
    without profiler. Rows are the medians over the processes. Where
    they hold more than the latency, they are scaled down to it. Where they hold less, the rest is
    overhead as far as there was time between the operators under the profiler; what is more is
    unattributed. Raises ValueError without a profile.
    """
    if not profiles:
        raise ValueError("no profiles")
    speeds = [latency_ns / p.plain_ns for p in profiles]
    rows_ns = _rows_ns(profiles, speeds)
    summed = sum(median(samples) for samples in rows_ns.values())
    factor = min(1.0, latency_ns / summed) if summed else 1.0
    sources = {s.name: s for p in profiles for s in p.sources}
    first = {_key(e): e for p in reversed(profiles) for e in p.times.executed}
    parents = parents_of(m for s in sources.values() for m in s.modules)
    rows = tuple(_row(first[key], sources, parents, s, factor) for key, s in rows_ns.items())
    gaps = [s * max(0.0, p.times.between_ns) for p, s in zip(profiles, speeds, strict=True)]
    overhead = round(min(max(0.0, latency_ns - summed), median(gaps)))
    scaling = Scaling(
        round(summed),
        factor,
        median([p.times.latency_ns / p.plain_ns for p in profiles]),
        len(profiles),
        median([p.times.event_ns for p in profiles]),
    )
    rest = latency_ns - overhead - sum(r.time_ns for r in rows)
    whole = Breakdown(
        workload, target, rows, rest, latency_ns, overhead, scaling, device, runtime_version
    )
    if abs(closure(whole)) > CLOSES_WITHIN:
        flags = [*flags, f"does not close: {100 * closure(whole):+.1f} %"]
    return dataclasses.replace(whole, flags=tuple(flags))


def _key(executed: Executed) -> tuple[str, str]:
    return executed.name, executed.operator


def _rows_ns(
    profiles: Sequence[Profile], speeds: Sequence[float]
) -> dict[tuple[str, str], list[float]]:
    """Times by operator and process; an operator that a process did not execute took nothing."""
    found: dict[tuple[str, str], list[float]] = {}
    for number, (profile, speed) in enumerate(zip(profiles, speeds, strict=True)):
        for one in profile.times.executed:
            samples = found.setdefault(_key(one), [0.0] * len(profiles))
            samples[number] += speed * one.time_ns
    return found


def _row(
    executed: Executed,
    sources: Mapping[str, Source],
    parents: Set[str],
    samples: Sequence[float],
    factor: float,
) -> BreakdownRow:
    members = [sources[n] for n in executed.sources if n in sources]
    beside = [sources[n] for n in executed.beside if n in sources]
    main = _main(executed, members)
    kind = category(executed.operator)
    if main and kind not in MOVED:
        kind = category(main.operator)
    # What was inserted is there for the sake of what comes after it.
    place = main or (beside[-1] if beside else None)
    module = place.modules[0] if place and place.modules else ""
    joined = "" if not module else "source" if main else "neighbour"
    block = block_of(module, parents)
    return BreakdownRow(
        name=executed.name,
        kind=executed.operator,
        count=1,
        time_ns=round(factor * median(samples)),
        attribution=executed.attribution,
        category=category_of(kind, module, place.classes if place else ()),
        module=module,
        modules=tuple(dict.fromkeys(m for s in members or beside for m in s.modules)),
        joined=joined,
        members=tuple(f"{s.operator} {s.name}" for s in members),
        samples_ns=tuple(round(factor * s) for s in samples),
        block=block,
        stage=stage_of(block, parents),
    )


def _main(executed: Executed, members: Sequence[Source]) -> Source | None:
    """The member after which a fused operator is named: of its own kind, or the heaviest."""
    own = category(executed.operator)
    return min(
        members, key=lambda s: (category(s.operator) != own, weight_of(s.operator)), default=None
    )


def closure(parts: Breakdown) -> float:
    """How much more the operators and the overhead are than the latency, as a share of it.

    Before any scaling: this is what tells whether a profile can be believed.
    """
    if parts.scaling is None:
        return -parts.unattributed_ns / parts.total_ns
    return (parts.scaling.summed_ns + parts.overhead_ns) / parts.total_ns - 1


def coverage(parts: Breakdown) -> dict[str, float]:
    """The share of the operators' time whose source module is known, by how: source, neighbour."""
    whole = sum(r.time_ns for r in parts.rows) or 1
    return {
        how: sum(r.time_ns for r in parts.rows if r.joined == how) / whole
        for how in ("source", "neighbour", "")
    }


def fold(parts: Breakdown, by: str, depth: int | None = None) -> list[BreakdownRow]:
    """Rows put together by one of GROUPINGS, in network order; `depth` cuts modules' paths."""
    if by == "operator":
        return list(parts.rows)
    groups: dict[str, list[BreakdownRow]] = {}
    for row in parts.rows:
        groups.setdefault(label(row, by, depth), []).append(row)
    return [_together(name, rows) for name, rows in groups.items()]


def label(row: BreakdownRow, by: str, depth: int | None = None) -> str:
    """The name of the group that a row belongs to."""
    if by == "category":
        return row.category or row.kind
    if by == "type":
        return row.kind
    path = {"module": row.module, "block": row.block, "stage": row.stage}[by] or UNKNOWN
    return ".".join(path.split(".")[:depth])


def _together(name: str, rows: Sequence[BreakdownRow]) -> BreakdownRow:
    return BreakdownRow(
        name=name,
        kind=_one([r.kind for r in rows]),
        count=sum(r.count for r in rows),
        time_ns=sum(r.time_ns for r in rows),
        attribution=_one([r.attribution for r in rows]),
        category=_one([r.category for r in rows]),
        module=_one([r.module for r in rows]),
        modules=tuple(dict.fromkeys(m for r in rows for m in r.modules)),
        joined=_one([r.joined for r in rows]),
        members=tuple(m for r in rows for m in r.members),
        samples_ns=tuple(sum(s) for s in zip(*(r.samples_ns for r in rows), strict=False)),
        block=_one([r.block for r in rows]),
        stage=_one([r.stage for r in rows]),
    )


def _one(words: Iterable[str]) -> str:
    """The word that all of them are, or `several`."""
    found = set(words)
    return found.pop() if len(found) == 1 else "several"


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of a network in two breakdowns; the interval is infinite with too few processes."""

    name: str
    left_ns: int
    right_ns: int
    difference_ns: float
    low_ns: float
    high_ns: float


def align(
    left: Breakdown, right: Breakdown, by: str, depth: int | None = None, force: bool = False
) -> list[Difference]:
    """Two breakdowns part by part, in the order of the first; what one lacks takes it nothing.

    Raises UsageError when they come from two machines, unless `force`.
    """
    if not force and left.device and right.device:
        one, other = left.device, right.device
        if one.fingerprint != other.fingerprint:
            raise UsageError(
                f"breakdowns of two machines ({one.description}; {other.description}) are not "
                "comparable; --force compares them all the same"
            )
    if by == "operator":
        by = "module"
    lefts = {r.name: r for r in fold(left, by, depth)}
    rights = {r.name: r for r in fold(right, by, depth)}
    return [_difference(n, lefts.get(n), rights.get(n)) for n in dict.fromkeys([*lefts, *rights])]


def _difference(name: str, left: BreakdownRow | None, right: BreakdownRow | None) -> Difference:
    left_ns, right_ns = (r.time_ns if r else 0 for r in (left, right))
    before, after = (r.samples_ns if r else () for r in (left, right))
    # What one side does not have took nothing there, in as many processes as the other side's.
    _, low, high = difference(
        before or [0] * max(1, len(after)), after or [0] * max(1, len(before))
    )
    return Difference(name, left_ns, right_ns, right_ns - left_ns, low, high)
