"""DynamicOFA's latency table: JSON with the names and figures of once-for-all's, in ms.

The folder and the file's name (`latency_table@DEVICE/RESOLUTION_lookup_table.json`) are the
user's: a name has all shapes in it, so one file holds every resolution.
"""

from __future__ import annotations

from pathlib import Path

from profiler.tables.foreign import Reading
from profiler.tables.formats import _json, _layers
from profiler.tables.formats.once_for_all import OPTIONS, dialect
from profiler.tables.table import LatencyTable

__all__ = ["OPTIONS", "UNIT", "read", "write"]
UNIT = _layers.UNIT


def write(table: LatencyTable, path: Path, ends: str = "relu6") -> None:
    """Write a table by its layers' names."""
    _json.write(_layers.records(table, dialect(ends)), path)


def read(path: Path, ends: str = "relu6") -> Reading:
    """Read a table. Raises TableError."""
    return _layers.reading(_json.read(path), dialect(ends))
