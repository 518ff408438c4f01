"""What tables of others hold: rows in a unit of their own, and how they become entries and back.

Others know neither our scale nor, mostly, what a call costs apart from its blocks. A row is thus
the scaled entry, what one more block adds to a network; the rest is a row of its own, `overhead`,
to be added once for a network, unless a format has a better place for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler.errors import TableError
from profiler.tables.table import LARGEST_NS, Entry, LatencyTable

UNIT_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
OVERHEAD = "overhead"
# Standard deviations from the mean to the ends of a normal variable's 95 % interval.
DEVIATIONS = 1.96


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of a foreign file, in that file's unit; `count` is how often it was measured."""

    key: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int = 0

    @property
    def half_width(self) -> float:
        """The larger side of the interval; 0 without one."""
        if self.low is None or self.high is None:
            return 0.0
        return max(self.value - self.low, self.high - self.value)

    @property
    def deviation(self) -> float:
        """The standard deviation of `count` values whose mean has this interval."""
        return self.half_width / DEVIATIONS * math.sqrt(max(self.count, 1))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a foreign file holds, in our terms; `flags` are sentences about what was not there."""

    entries: Mapping[str, Entry]
    overhead_ns: int = 0
    flags: tuple[str, ...] = ()


def spread(key: str, mean: float, deviation: float, count: int = 0) -> Row:
    """A row from a mean and the standard deviation of `count` values (0: of the mean itself)."""
    half = DEVIATIONS * deviation / math.sqrt(max(count, 1))
    return Row(key, mean, mean - half, mean + half, count)


def rows(table: LatencyTable, unit: str) -> list[Row]:
    """The scaled entries of a table. Raises TableError on a key that has another meaning."""
    if OVERHEAD in table.entries:
        raise TableError(f"an entry named {OVERHEAD!r} cannot be told from the call's own cost")
    found = []
    for entry in table.entries.values():
        factor = table.scale_of(entry.key) / UNIT_NS[unit]
        value, low, high = (v * factor for v in (entry.ns, entry.low_ns, entry.high_ns))
        found.append(Row(entry.key, value, low, high, entry.rounds))
    return found


def rows_with_overhead(table: LatencyTable, unit: str) -> list[Row]:
    """The same, and last what a call costs apart from its blocks, where it costs something."""
    found = rows(table, unit)
    value = table.overhead_ns / UNIT_NS[unit]
    return [*found, Row(OVERHEAD, value, value, value)] if table.overhead_ns else found


def reading(found: Iterable[Row], unit: str, flags: Iterable[str] = ()) -> Reading:
    """Entries from the rows of a file. Raises TableError naming the rows that cannot be."""
    kept: dict[str, Row] = {}
    problems = []
    for row in found:
        problem = "is there twice" if row.key in kept else _problem(row, UNIT_NS[unit])
        if problem:
            problems.append(f"{row.key} {problem}")
        kept[row.key] = row
    if problems:
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise TableError("it must not be used:\n  " + "\n  ".join(problems[:10]) + more)
    overhead = kept.pop(OVERHEAD, None)
    held = {k: _entry(r, UNIT_NS[unit]) for k, r in kept.items() if r.value}
    return Reading(
        held,
        round(overhead.value * UNIT_NS[unit]) if overhead else 0,
        (*flags, *_remarks(kept, held)),
    )


def _problem(row: Row, unit_ns: int) -> str:
    numbers = [v for v in (row.value, row.low, row.high) if v is not None]
    if not all(math.isfinite(v) and abs(v * unit_ns) < LARGEST_NS for v in numbers):
        return f"takes {row.value}, which is no latency"
    if row.value < 0:
        return f"takes {row.value:g}; a block cannot take that"
    low, high = (row.value if v is None else v for v in (row.low, row.high))
    return "" if low <= row.value <= high else "has an interval that does not hold its value"


def _entry(row: Row, unit_ns: int) -> Entry:
    low, high = (row.value if v is None else v for v in (row.low, row.high))
    ns = max(1, round(row.value * unit_ns))
    bounds = min(ns, max(0, round(low * unit_ns))), max(ns, round(high * unit_ns))
    flags = () if row.low is not None else ("no interval",)
    return Entry(row.key, ns, *bounds, source="imported", rounds=row.count, flags=flags)


def _remarks(kept: Mapping[str, Row], held: Mapping[str, Entry]) -> list[str]:
    bare = sum(kept[k].low is None for k in held)
    without = f"{bare} entries have no interval in the file: theirs is their value"
    empty = f"{len(kept) - len(held)} rows of no time were left out"
    return [without] * bool(bare) + [empty] * (len(held) < len(kept))


# Reading files -----------------------------------------------------------------------------------


def text_of(path: Path) -> str:
    """A file's text. Raises TableError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"it cannot be read: {error}") from error


def number(value: Any, what: str) -> float:
    """A number of a file, or a text that is one: YAML 1.1 reads 1e-05 as a text. Raises
    TableError naming it."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TableError(f"{what} is {value!r}, no number") from None


def count(value: Any, what: str) -> int:
    """A whole number from 0 on. Raises TableError naming it."""
    found = number(value, what)
    if not (math.isfinite(found) and found >= 0 and found == int(found)):
        raise TableError(f"{what} is {value!r}, no count")
    return int(found)


def mapping(value: Any, what: str) -> dict[Any, Any]:
    """A dictionary of a file. Raises TableError naming it."""
    if not isinstance(value, dict):
        raise TableError(f"{what} is {type(value).__name__}, not a dictionary")
    return value


def once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dictionary whose keys are all different. Raises TableError naming one that is not."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise TableError(f"{key} is there twice")
        found[key] = value
    return found
