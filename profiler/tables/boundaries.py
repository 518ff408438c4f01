"""What a compiler puts between a network's operators: changes of layout and of precision.

Nothing has to be added to a table for them. Chains stand in a network's layout, and a row that
changes it is what a network with it takes more, so that each change is within the entry of the row
for whose sake it happens. How much of that entry it is, a profile of composed networks tells.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from profiler import profiling
from profiler.collection import Item
from profiler.lineage import MOVED
from profiler.operators import category
from profiler.profiling import Profile
from profiler.tables.networks import Bench
from profiler.tables.table import Boundary
from profiler.types import Executed

NETWORKS = 2
LAYOUT, PRECISION = MOVED
# The place of a block in what is composed of artifacts, and in what is chained in torch.
COMPOSED, CHAINED = re.compile(r"b(\d+)/"), re.compile(r"blocks\.(\d+)")


def profiles(bench: Bench, items: Mapping[str, Item]) -> dict[str, Profile]:
    """Profiles of a few networks by name; of none where the runtime has no profiler."""
    if bench.brief or profiling.available(bench.target):
        return {}
    bench.on_stage("looking for boundaries")
    found = {}
    for name, item in list(items.items())[:NETWORKS]:
        taken = profiling.take(
            item.artifact, item.artifact, bench.target, bench.protocol.limit_s, lambda: None
        )
        if isinstance(taken, Profile):
            found[name] = taken
    return found


def of(
    found: Mapping[str, Profile],
    rows: Mapping[str, Sequence[str]],
    latency_ns: Mapping[str, float],
) -> tuple[Boundary, ...]:
    """The changes of layout and precision in each row of these networks, in their order.

    Times are those of the profiler, as a share of its latency, of what the network takes. What a
    row holds itself, as it came from torch, is no boundary: a block's own transpositions are its
    work, and going from maps to tokens is a row of its own.
    """
    times: dict[tuple[str, str], list[float]] = {}
    counts: dict[tuple[str, str], list[float]] = {}
    # A network may have failed in its rounds after it was profiled.
    for name, profile in ((n, p) for n, p in found.items() if n in latency_ns):
        occurs = Counter(rows[name])
        executed = profile.times.executed
        factor = latency_ns[name] / max(profile.plain_ns, sum(e.time_ns for e in executed))
        spent: dict[tuple[str, str], list[float]] = {}
        for one in executed:
            row = _row(one, profile, rows[name])
            if row and _is_boundary(one):
                spent.setdefault((row, one.operator), []).append(factor * one.time_ns)
        for key, taken in spent.items():
            times.setdefault(key, []).append(sum(taken) / occurs[key[0]])
            counts.setdefault(key, []).append(len(taken) / occurs[key[0]])
    return tuple(
        Boundary(
            row,
            operator,
            category(operator),
            round(fmean(counts[row, operator]), 2),
            round(fmean(ns)),
        )
        for (row, operator), ns in times.items()
    )


def _is_boundary(one: Executed) -> bool:
    if not one.time_ns:
        # Decided when the network was compiled; ExecuTorch lists such operators, too.
        return False
    kind = category(one.operator)
    return kind == PRECISION or (kind == LAYOUT and not one.sources)


def _row(one: Executed, profile: Profile, rows: Sequence[str]) -> str | None:
    """The row for whose sake an operator is executed: its own, or that of what comes after it."""
    names = one.sources[:1] or one.beside[-1:]
    modules = {s.name: s.modules for s in profile.sources}
    for name in names:
        place = COMPOSED.match(name) or CHAINED.match("".join(modules.get(name, ())[:1]))
        if place and int(place[1]) < len(rows):
            return rows[int(place[1])]
    return None
