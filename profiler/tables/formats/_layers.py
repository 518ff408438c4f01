"""Tables by layer, as once-for-all began them: under a name with all shapes, mean and spread.

`expanded_conv-input:56x56x24-output:28x28x40-expand:72-kernel:5-stride:2-idskip:0-se:0-hs:1`. What
differs between those who use such names is a Dialect. Stem, separable convolution, inverted
residuals, last convolution and classifier of our space `mobilenet` have such names (`Conv`,
`expanded_conv`, `Conv_1`, and `Logits` for all behind it); every other row keeps its key as its
name. Theirs is ReLU where ours is ReLU6.

What a call costs apart from its blocks is added to the first convolution, of which each network
has one, and stands beside its mean as `overhead`, which others pass over; a table without first
convolutions has a row `overhead`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profiler.errors import TableError
from profiler.tables import foreign
from profiler.tables.foreign import OVERHEAD, Reading, Row
from profiler.tables.formats import _mobile
from profiler.tables.formats._mobile import SIZE, Residual
from profiler.tables.table import LatencyTable

UNIT = "ms"
CLASSES = 1000
BLOCK = re.compile(
    f"expanded_conv-input:{SIZE}x{SIZE}x{SIZE}-output:{SIZE}x{SIZE}x{SIZE}"
    f"-expand:{SIZE}-kernel:{SIZE}-stride:{SIZE}-idskip:([01])(?:-se:([01])-hs:([01]))?"
)
LAYER = re.compile(f"(Conv|Conv_1)-input:{SIZE}x{SIZE}x{SIZE}-output:{SIZE}x{SIZE}x{SIZE}")
LOGITS = re.compile(f"Logits-input:{SIZE}x{SIZE}x{SIZE}-output:{CLASSES}")
ROW = re.compile(f"(stem|separable|head_conv)/{SIZE}/(relu6|hardswish)/{SIZE}(?:-{SIZE})?")
CLASSIFIER = re.compile(f"classifier/{SIZE}/{SIZE}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How names are meant. `ends` is the activation of the first and the last convolution, of
    which they say nothing. `marked`: whether a block's name tells squeeze-excite and activation;
    otherwise it has none and ReLU6. `ratio`: whether `expand` is a ratio or channels."""

    ends: str
    marked: bool
    ratio: bool
    variance: bool

    def name(self, key: str) -> str | None:
        """What a row of ours is called, or None where it has no name."""
        residual = _mobile.parse(key)
        if residual:
            # One expanded to as many channels has another operator than theirs.
            return None if residual.expansion == "1" else self._block(residual)
        match = CLASSIFIER.fullmatch(key)
        if match:
            return f"Logits-input:{match[1]}x{match[1]}x{match[2]}-output:{CLASSES}"
        match = ROW.fullmatch(key)
        return self._layer(match) if match else None

    def _layer(self, match: re.Match[str]) -> str | None:
        family, side, activation = match[1], int(match[2]), match[3]
        if (family == "stem") != (match[5] is None):
            return None
        if family == "separable":
            channels = int(match[4]), int(match[5])
            row = Residual(side, 3, 1, 0, activation, *channels, "1")
            return self._block(row, shortcut=False)
        if activation != self.ends:
            return None
        if family == "stem":
            return f"Conv-input:{2 * side}x{2 * side}x3-output:{side}x{side}x{match[4]}"
        return f"Conv_1-input:{side}x{side}x{match[4]}-output:{side}x{side}x{match[5]}"

    def _block(self, row: Residual, shortcut: bool = True) -> str | None:
        expand = row.expansion if self.ratio else row.middle
        hidden = row.squeeze or row.activation != "relu6"
        if expand is None or not str(expand).isdigit() or (hidden and not self.marked):
            return None
        skips = int(row.skips and shortcut)
        text = (
            f"expanded_conv-input:{row.side}x{row.side}x{row.channels_in}"
            f"-output:{row.side_out}x{row.side_out}x{row.channels_out}-expand:{expand}"
            f"-kernel:{row.kernel}-stride:{row.stride}-idskip:{skips}"
        )
        marks = f"-se:{row.squeeze}-hs:{int(row.activation == 'hardswish')}"
        return text + marks if self.marked else text

    def key(self, name: str) -> str | None:
        """Our key for a name, or None where it means no row of ours."""
        for pattern, row in ((BLOCK, self._residual), (LAYER, self._row), (LOGITS, _classifier)):
            match = pattern.fullmatch(name)
            if match:
                found = row(match)
                # Another size, or no shortcut where ours has one: it is not the same row.
                return found if found and self.name(found) == name else None
        return None

    def _residual(self, match: re.Match[str]) -> str | None:
        channels_in, channels_out, expand = int(match[3]), int(match[6]), int(match[7])
        activation = "hardswish" if match[12] == "1" else "relu6"
        text = str(expand) if self.ratio else _mobile.expansion(channels_in, expand)
        if text == "1":
            return f"separable/{match[1]}/{activation}/{channels_in}-{channels_out}"
        side, kernel, stride, squeeze = (int(match[n] or 0) for n in (1, 8, 9, 11))
        channels = channels_in, channels_out
        return Residual(side, kernel, stride, squeeze, activation, *channels, text).key

    def _row(self, match: re.Match[str]) -> str:
        if match[1] == "Conv":
            return f"stem/{match[5]}/{self.ends}/{match[7]}"
        return f"head_conv/{match[5]}/{self.ends}/{match[4]}-{match[7]}"


def _classifier(match: re.Match[str]) -> str:
    return f"classifier/{match[1]}/{match[3]}"


def records(table: LatencyTable, dialect: Dialect) -> dict[str, dict[str, Any]]:
    """What a file of this dialect holds for a table, in ms. Raises TableError."""
    pairs = ((dialect.name(r.key) or r.key, r) for r in foreign.rows(table, UNIT))
    found = {n: _record(r, dialect) for n, r in foreign.once(pairs).items()}
    overhead = table.overhead_ns / foreign.UNIT_NS[UNIT]
    first = [v for n, v in found.items() if n.startswith("Conv-") and LAYER.fullmatch(n)]
    for record in first if overhead else ():
        record["mean"] += overhead
        record[OVERHEAD] = overhead
    if overhead and not first:
        found[OVERHEAD] = _record(Row(OVERHEAD, overhead), dialect)
    return found


def _record(row: Row, dialect: Dialect) -> dict[str, Any]:
    spread = {"var": row.deviation**2} if dialect.variance else {"std": row.deviation}
    return {"count": row.count, "mean": row.value, **spread}


def reading(record: Any, dialect: Dialect) -> Reading:
    """Entries from what a file holds. Raises TableError."""
    rows = []
    overheads = set()
    for name, value in foreign.mapping(record, "the file").items():
        fields = foreign.mapping(value, f"{name}")
        if OVERHEAD in fields:
            overheads.add(foreign.number(fields[OVERHEAD], f"{name}: {OVERHEAD}"))
        rows.append(_row(str(name), fields, dialect))
    if len(overheads) > 1:
        raise TableError(f"its first convolutions name different overheads: {sorted(overheads)}")
    rows += [Row(OVERHEAD, value) for value in overheads]
    return foreign.reading(rows, UNIT)


def _row(name: str, fields: Mapping[str, Any], dialect: Dialect) -> Row:
    key = dialect.key(name) or name
    mean = foreign.number(fields.get("mean"), f"{name}: mean")
    mean -= foreign.number(fields.get(OVERHEAD, 0), f"{name}: {OVERHEAD}")
    count = foreign.count(fields.get("count", 0), f"{name}: count")
    for spread, power in (("std", 1.0), ("var", 0.5)):
        if spread in fields:
            value = foreign.number(fields[spread], f"{name}: {spread}")
            return foreign.spread(key, mean, abs(value) ** power, count)
    return Row(key, mean, count=count)
