"""Where a network's time goes, by the blocks of a latency table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from profiler.tables.table import LatencyTable
from profiler.types import Breakdown, BreakdownRow, Target, Workload

ATTRIBUTION = {
    "measured": "measured-in-context",
    "interpolated": "interpolated",
    "imported": "imported",
}


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
