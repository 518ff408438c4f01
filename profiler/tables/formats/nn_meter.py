"""nn-Meter's profiled blocks: kernels, and under each its configurations, `avg +- std` in ms.

Our key stands in the configuration as `KEY`, its family is the kernel; inverted residuals have
sizes besides, by nn-Meter's names. The other way a key is the kernel and its configuration.
`std` is that of the value itself, not of single runs.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from profiler.errors import TableError
from profiler.tables import foreign
from profiler.tables.foreign import Reading, Row
from profiler.tables.formats import _json, _mobile
from profiler.tables.table import LatencyTable

UNIT = "ms"
KEY = "KEY"
LATENCY = re.compile(r"\s*(\S+?)\s*(?:\+-\s*(\S+?)\s*)?")


def write(table: LatencyTable, path: Path) -> None:
    """Write a table as blocks that were profiled."""
    found: dict[str, dict[str, Any]] = {}
    for row in foreign.rows_with_overhead(table, UNIT):
        deviation = row.half_width / foreign.DEVIATIONS
        found.setdefault(row.key.partition("/")[0], {})[row.key] = {
            **_shapes(row.key),
            "latency": f"{row.value!r} +- {deviation!r}",
        }
    _json.write(found, path)


def _shapes(key: str) -> dict[str, Any]:
    row = _mobile.parse(key)
    if row is None:
        return {"shapes": [], "config": {KEY: key}}
    sizes = {
        "HW": row.side,
        "CIN": row.channels_in,
        "COUT": row.channels_out,
        "KERNEL_SIZE": row.kernel,
        "STRIDES": row.stride,
    }
    shape = [row.side, row.side, row.channels_in]
    return {"shapes": [shape], "config": {KEY: key, **sizes}}


def read(path: Path) -> Reading:
    """Read a table. Raises TableError."""
    rows: dict[str, Row] = {}
    for kernel, marks in foreign.mapping(_json.read(path), "the file").items():
        for mark, value in foreign.mapping(marks, f"{kernel}").items():
            row = _row(kernel, value, f"{kernel}: {mark}")
            # The same configuration may have been measured more than once.
            key = f"{row.key}/{mark}" if row.key in rows else row.key
            rows[key] = dataclasses.replace(row, key=key)
    return foreign.reading(rows.values(), UNIT)


def _row(kernel: str, value: Any, where: str) -> Row:
    fields = foreign.mapping(value, where)
    config = foreign.mapping(fields.get("config", {}), f"{where}: config")
    match = LATENCY.fullmatch(str(fields.get("latency")))
    if not match:
        raise TableError(f"{where}: latency is {fields.get('latency')!r}, not 'avg +- std'")
    sizes = ",".join(f"{name}={size}" for name, size in config.items())
    key = str(config.get(KEY) or (f"{kernel}/{sizes}" if sizes else kernel))
    mean = foreign.number(match[1], f"{where}: latency")
    if match[2] is None:
        return Row(key, mean)
    return foreign.spread(key, mean, abs(foreign.number(match[2], f"{where}: latency")))
