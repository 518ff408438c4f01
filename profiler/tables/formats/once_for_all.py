"""Once-for-all's latency table: YAML by layer, count, mean and std in ms.

`expand` are channels; names tell squeeze-excite and activation, but not those of the first and
the last convolution: `ends`. Rows of the other activation there keep our key.
"""

from __future__ import annotations

from pathlib import Path

from profiler.tables.foreign import Reading
from profiler.tables.formats import _layers, _yaml
from profiler.tables.formats._layers import Dialect
from profiler.tables.table import LatencyTable

UNIT = _layers.UNIT
OPTIONS = {"ends": ("relu6", "hardswish")}


def dialect(ends: str) -> Dialect:
    """How names are meant."""
    return Dialect(ends, marked=True, ratio=False, variance=False)


def write(table: LatencyTable, path: Path, ends: str = "relu6") -> None:
    """Write a table by its layers' names."""
    _yaml.write(_layers.records(table, dialect(ends)), path)


def read(path: Path, ends: str = "relu6") -> Reading:
    """Read a table. Raises TableError."""
    return _layers.reading(_yaml.read(path), dialect(ends))
