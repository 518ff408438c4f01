"""NNI's `lut.txt`: a dictionary of Python's on each line, `op_latency` in ms.

Read by `ast.literal_eval`, which builds values and runs nothing. Our key is the `op_name`;
`op_data_shape` is width, height, channels before and after, and stride, of inverted residuals, and
empty for all else. The other way a key is `name/56x56-s2/24-40`. The file has no intervals.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from profiler.errors import TableError
from profiler.tables import foreign
from profiler.tables.foreign import Reading, Row
from profiler.tables.formats import _mobile
from profiler.tables.formats._mobile import SIZE
from profiler.tables.table import LatencyTable

UNIT = "ms"
SHAPED = re.compile(f"(.*)/{SIZE}x{SIZE}-s{SIZE}/{SIZE}-{SIZE}", re.DOTALL)
# What a line of a table takes is far less; literal_eval would take any memory for a deep one.
LONGEST_LINE = 100_000


def write(table: LatencyTable, path: Path) -> None:
    """Write a table, a line for each row."""
    lines = [ascii(_record(r)) for r in foreign.rows_with_overhead(table, UNIT)]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _record(row: Row) -> dict[str, Any]:
    name, shape = _shape(row.key)
    return {
        "op_name": name,
        "op_data_shape": shape,
        "op_dtype": "float32",
        "op_latency": row.value,
    }


def _shape(key: str) -> tuple[str, tuple[int, ...]]:
    row = _mobile.parse(key)
    if row:
        return key, (row.side, row.side, row.channels_in, row.channels_out, row.stride)
    match = SHAPED.fullmatch(key)
    if not match:
        return key, ()
    width, height, stride, channels_in, channels_out = (int(match[n]) for n in range(2, 7))
    return match[1], (width, height, channels_in, channels_out, stride)


def read(path: Path) -> Reading:
    """Read a table. Raises TableError."""
    lines = [x for x in foreign.text_of(path).split("\n") if x.strip()]
    return foreign.reading([_row(line, f"line {n}") for n, line in enumerate(lines, 1)], UNIT)


def _row(line: str, where: str) -> Row:
    if len(line) > LONGEST_LINE:
        raise TableError(f"{where} is {len(line)} characters long: no row of a table")
    try:
        value = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise TableError(f"{where} is more than a dictionary of plain values: {error}") from error
    fields = foreign.mapping(value, where)
    if "op_name" not in fields:
        raise TableError(f"{where} has no op_name")
    latency = foreign.number(fields.get("op_latency"), f"{where}: op_latency")
    return Row(_key(str(fields["op_name"]), fields.get("op_data_shape", ()), where), latency)


def _key(name: str, shape: Any, where: str) -> str:
    if not shape or _mobile.parse(name):
        return name
    if not isinstance(shape, tuple | list) or len(shape) != 5:
        raise TableError(f"{where}: op_data_shape is {shape!r}, not (w, h, cin, cout, stride)")
    width, height, channels_in, channels_out, stride = shape
    return f"{name}/{width}x{height}-s{stride}/{channels_in}-{channels_out}"
