"""Comma-separated values: `key, latency_ns, low_ns, high_ns, source, rounds`, a row `overhead`.

Read with any unit that a column names: `latency_ms`, `latency_us`. Bounds and rounds may be absent.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from profiler.errors import TableError
from profiler.tables import foreign
from profiler.tables.foreign import Reading
from profiler.tables.formats import _columns
from profiler.tables.table import LatencyTable

UNIT = "ns"


def write(table: LatencyTable, path: Path) -> None:
    """Write a table, a line for each entry."""
    with path.open("w", encoding="utf-8", newline="") as file:
        # Texts are quoted, always: unquoted, a lone carriage return would end a line.
        writer = csv.DictWriter(
            file, _columns.NAMES, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
        )
        writer.writeheader()
        writer.writerows(_columns.records(table))


def read(path: Path) -> Reading:
    """Read a table. Raises TableError."""
    # Newlines within quotes are kept as they are.
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"it cannot be read: {error}") from error
    try:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        head = next(lines, [])
        records = [_record(head, line, lines.line_num) for line in lines if line]
    except csv.Error as error:
        raise TableError(f"it is not comma-separated: {error}") from error
    return _columns.reading(head, records)


def _record(head: list[str], line: list[str], number: int) -> dict[str, object]:
    if len(line) != len(head):
        raise TableError(f"line {number} has {len(line)} values, its head {len(head)}")
    # An empty field is one that was not given.
    return {k: v for k, v in foreign.once(zip(head, line, strict=True)).items() if v or k == "key"}
