"""FBNet's runtime table: a line of JSON for each operator, percentiles in us.

Its schema takes no further field. Our key stands in `op_args`, its family in `op_type`; the ends of
the interval are the percentiles 0 and 10, 90 and 100. The other way a key is operator, arguments
and shapes, and the interval the percentiles 10 and 90 of single runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from profiler.errors import TableError
from profiler.tables import foreign
from profiler.tables.foreign import Reading, Row
from profiler.tables.formats import _json
from profiler.tables.table import LatencyTable

UNIT = "us"
OURS = "opclock: "
SHAPES = ("op_args", "input_shapes", "input_dtypes")


def write(table: LatencyTable, path: Path) -> None:
    """Write a table, a line for each row."""
    device = str(table.device.get("description", ""))
    lines = [json.dumps(_record(r, device)) for r in foreign.rows_with_overhead(table, UNIT)]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _record(row: Row, device: str) -> dict[str, Any]:
    ends = {0: row.low, 10: row.low, 50: row.value, 90: row.high, 100: row.high}
    return {
        **_operator(row.key),
        **{f"runtime_us_p{share}": value for share, value in ends.items()},
        "device": device,
    }


def _operator(key: str) -> dict[str, Any]:
    """An operator of theirs from the key that `_key` made of it, or one that holds ours."""
    family, _, rest = key.partition(" ")
    try:
        values = json.loads(rest)
    except ValueError:
        values = None
    if isinstance(values, list) and len(values) == len(SHAPES) and _named(family, values) == key:
        return {"op_type": family, **dict(zip(SHAPES, values, strict=True))}
    family = key.partition("/")[0]
    return {"op_type": family, **dict(zip(SHAPES, ([OURS + key], [], []), strict=True))}


def read(path: Path) -> Reading:
    """Read a table. Raises TableError."""
    lines = [x for x in foreign.text_of(path).split("\n") if x.strip()]
    rows = [_row(_json.parse(line), f"line {n}") for n, line in enumerate(lines, 1)]
    return foreign.reading(rows, UNIT)


def _row(record: Any, where: str) -> Row:
    fields = foreign.mapping(record, where)
    low, value, high = (
        foreign.number(fields.get(f"runtime_us_p{n}"), f"{where}: runtime_us_p{n}")
        for n in (10, 50, 90)
    )
    return Row(_key(fields, where), value, low, high)


def _key(fields: dict[str, Any], where: str) -> str:
    if "op_type" not in fields:
        raise TableError(f"{where} has no op_type")
    arguments = fields.get("op_args")
    if isinstance(arguments, list) and len(arguments) == 1 and str(arguments[0]).startswith(OURS):
        return str(arguments[0]).removeprefix(OURS)
    return _named(str(fields["op_type"]), [fields.get(name, []) for name in SHAPES])


def _named(family: str, values: list[Any]) -> str:
    return f"{family} {json.dumps(values, separators=(',', ':'))}"
