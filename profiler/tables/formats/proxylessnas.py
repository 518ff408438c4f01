"""ProxylessNAS' latency table: YAML by layer, count, mean and variance in ms.

`expand` is a ratio; names tell neither activation, which is ReLU6, nor squeeze-excite, of which
there is none. Other rows keep our key.
"""

from __future__ import annotations

from pathlib import Path

from profiler.tables.foreign import Reading
from profiler.tables.formats import _layers, _yaml
from profiler.tables.table import LatencyTable

UNIT = _layers.UNIT
DIALECT = _layers.Dialect("relu6", marked=False, ratio=True, variance=True)


def write(table: LatencyTable, path: Path) -> None:
    """Write a table by its layers' names."""
    _yaml.write(_layers.records(table, DIALECT), path)


def read(path: Path) -> Reading:
    """Read a table. Raises TableError."""
    return _layers.reading(_yaml.read(path), DIALECT)
