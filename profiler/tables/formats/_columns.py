"""A table in columns, one row an entry: what `csv` and `parquet` have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from profiler.errors import TableError
from profiler.tables import foreign
from profiler.tables.foreign import OVERHEAD, UNIT_NS, Reading, Row
from profiler.tables.table import LatencyTable

NAMES = ("key", "latency_ns", "low_ns", "high_ns", "source", "rounds")
TEXTS = ("key", "source")


def records(table: LatencyTable) -> list[dict[str, Any]]:
    """The scaled entries in whole ns, and last what a call costs apart from its blocks."""
    found = []
    for row in foreign.rows_with_overhead(table, "ns"):
        source = "measured" if row.key == OVERHEAD else table.entries[row.key].source
        figures = (row.value, row.low or 0, row.high or 0)
        values = (row.key, *map(round, figures), source, row.count)
        found.append(dict(zip(NAMES, values, strict=True)))
    return found


def reading(names: Sequence[str], found: Sequence[Mapping[str, Any]]) -> Reading:
    """Entries from rows by column. Raises TableError."""
    units = [u for u in UNIT_NS if f"latency_{u}" in names]
    if "key" not in names or len(units) != 1:
        wanted = ", ".join(f"latency_{u}" for u in UNIT_NS)
        raise TableError(f"it needs a column key and one of {wanted}; it has {', '.join(names)}")
    rows = [_row(r, units[0], f"row {n}") for n, r in enumerate(found, 1)]
    return foreign.reading(rows, units[0])


def _row(record: Mapping[str, Any], unit: str, where: str) -> Row:
    if "key" not in record:
        raise TableError(f"{where} has no key")
    key = str(record["key"])
    value = foreign.number(record.get(f"latency_{unit}"), f"{key}: latency_{unit}")
    low, high = (
        foreign.number(record[name], f"{key}: {name}") if name in record else None
        for name in (f"low_{unit}", f"high_{unit}")
    )
    return Row(key, value, low, high, foreign.count(record.get("rounds", 0), f"{key}: rounds"))
