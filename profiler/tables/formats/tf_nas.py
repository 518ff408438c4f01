"""TF-NAS' latency table: blocks, and under each its expanded channels, in ms; `base` is the rest.

Written as JSON of the dictionary; its original is a pickle, and is read by an unpickler that
builds dictionaries, texts and numbers and nothing else. Inverted residuals without squeeze-excite
are `MBInvertedResBlock_{side}_{in}_0_{out}_k{kernel}_s{stride}_relu` there, where ours have ReLU6.
Every other row stands under its family, by the last part of its key. The file has no intervals.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

from profiler.errors import TableError
from profiler.tables import foreign
from profiler.tables.foreign import OVERHEAD, Reading, Row
from profiler.tables.formats import _json, _mobile
from profiler.tables.formats._mobile import SIZE, Residual
from profiler.tables.table import LatencyTable

UNIT = "ms"
BASE = "base"
BLOCK = re.compile(f"MBInvertedResBlock_{SIZE}_{SIZE}_0_{SIZE}_k{SIZE}_s{SIZE}_relu")
PLAIN = {("collections", "OrderedDict")} | {
    (module, name)
    for module in ("builtins", "__builtin__")
    for name in ("dict", "str", "int", "float")
}


def write(table: LatencyTable, path: Path) -> None:
    """Write a table as JSON."""
    found: dict[str, Any] = {}
    if table.overhead_ns:
        found[BASE] = table.overhead_ns / foreign.UNIT_NS[UNIT]
    for row in foreign.rows(table, UNIT):
        family, place = _place(row.key)
        held = found.setdefault(family, {})
        if family == BASE or place in held:
            raise TableError(f"{row.key} cannot be told from another row in this format")
        held[place] = row.value
    _json.write(found, path)


def read(path: Path) -> Reading:
    """Read a table, JSON or the original pickle. Raises TableError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"it cannot be read: {error}") from error
    is_json = data.lstrip()[:1] == b"{"
    found = _json.read(path) if is_json else unpickle(data)
    rows = []
    for family, value in foreign.mapping(found, "the file").items():
        if family == BASE:
            rows.append(Row(OVERHEAD, foreign.number(value, BASE)))
            continue
        for place, latency in foreign.mapping(value, f"{family}").items():
            rows.append(Row(_key(f"{family}", f"{place}"), foreign.number(latency, f"{family}")))
    return foreign.reading(rows, UNIT)


def _place(key: str) -> tuple[str, str]:
    """The block and what stands under it; a key without a family stands under an empty one."""
    row = _mobile.parse(key)
    middle = row.middle if row and row.activation == "relu6" and not row.squeeze else None
    if row is None or middle is None:
        family, _, last = key.rpartition("/")
        return (family, last) if family else ("", key)
    place = f"{row.side}_{row.channels_in}_0_{row.channels_out}_k{row.kernel}_s{row.stride}"
    return f"MBInvertedResBlock_{place}_relu", str(middle)


def _key(family: str, place: str) -> str:
    match = BLOCK.fullmatch(family)
    if match and place.isascii() and place.isdigit():
        side, channels_in, channels_out, kernel, stride = (int(match[n]) for n in range(1, 6))
        text = _mobile.expansion(channels_in, int(place))
        channels = channels_in, channels_out
        row = _mobile.parse(Residual(side, kernel, stride, 0, "relu6", *channels, text).key)
        if row and _place(row.key) == (family, place):
            return row.key
    return f"{family}/{place}" if family else place


# The original ------------------------------------------------------------------------------------


class Plain(pickle.Unpickler):
    """An unpickler that finds dictionaries, texts and numbers, and no other name."""

    def find_class(self, module: str, name: str) -> Any:
        """A class by its name. Raises TableError on any but the plain ones."""
        if (module, name) not in PLAIN:
            raise TableError(f"it asks for {module}.{name}, which is more than plain data")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Data from elsewhere. Raises TableError: there is none."""
        raise TableError("it asks for data from elsewhere")


def unpickle(data: bytes) -> Any:
    """Plain data from a pickle. Raises TableError on anything else."""
    try:
        return Plain(io.BytesIO(data)).load()
    except TableError:
        raise
    except Exception as error:  # a broken pickle raises whatever its instructions come upon
        raise TableError(f"it is neither JSON nor a whole pickle: {error}") from error
