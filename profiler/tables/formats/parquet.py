"""Parquet: the columns of `csv`, `key, latency_ns, low_ns, high_ns, source, rounds`.

Space, target, device and runtime version are in the file's metadata, for whoever reads it; on
reading they are the user's to say, as for every table of others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.environment import installed
from profiler.errors import MissingPackage, TableError
from profiler.tables.foreign import Reading
from profiler.tables.formats import _columns
from profiler.tables.table import LatencyTable

UNIT = "ns"
INSTALL = 'pip install "opclock[tables]"'


def write(table: LatencyTable, path: Path) -> None:
    """Write a table, a row for each entry."""
    arrow, files = _modules()
    text, whole = arrow.string(), arrow.int64()
    types = {n: text if n in _columns.TEXTS else whole for n in _columns.NAMES}
    facts = {
        "space": table.space,
        "target": table.target,
        "device": str(table.device.get("description", "")),
        "runtime_version": table.runtime_version,
    }
    schema = arrow.schema(list(types.items()), metadata=facts)
    columns = arrow.Table.from_pylist(_columns.records(table), schema=schema)
    files.write_table(columns, str(path), compression="zstd")


def read(path: Path) -> Reading:
    """Read a table. Raises TableError."""
    arrow, files = _modules()
    try:
        columns = files.ParquetFile(str(path)).read()
        records = columns.to_pylist()
    except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
        raise TableError(f"it is not Parquet: {error}") from error
    known = [{k: v for k, v in r.items() if v is not None} for r in records]
    return _columns.reading(columns.column_names, known)


def _modules() -> tuple[Any, Any]:
    if not installed("pyarrow"):
        raise MissingPackage(f"Parquet needs pyarrow: {INSTALL}")
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet
