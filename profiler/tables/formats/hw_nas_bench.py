"""HW-NAS-Bench's dictionary as JSON: `fbnet`, then the metric, then operators and ms.

A file holds many metrics, so one must be named: `metric=raspi4_latency`. Energies are refused.
Inverted residuals (`ConvBlock`), stem and last convolution (`ConvNorm`) have names there, where
their activation is ReLU; every other row keeps its key as its name, and so does the `overhead`.
The file has no intervals. The whole networks of `nasbench201` are no rows of a table.
"""

from __future__ import annotations

import re
from pathlib import Path

from profiler.errors import TableError
from profiler.tables import foreign
from profiler.tables.foreign import Reading, Row
from profiler.tables.formats import _json, _mobile
from profiler.tables.formats._mobile import SIZE, Residual
from profiler.tables.table import LatencyTable

UNIT = "ms"
OPTIONS: dict[str, tuple[str, ...]] = {"metric": ()}
SPACE = "fbnet"
BLOCK = re.compile(
    f"ConvBlock_H{SIZE}_W{SIZE}_Cin{SIZE}_Cout{SIZE}_exp{SIZE}_kernel{SIZE}_stride{SIZE}_group1"
)
LAYER = re.compile(f"ConvNorm_H{SIZE}_W{SIZE}_Cin{SIZE}_Cout{SIZE}_kernel[13]_stride[12]_group1")
ROW = re.compile(f"(stem|head_conv)/{SIZE}/relu6/{SIZE}(?:-{SIZE})?")


def write(table: LatencyTable, path: Path, metric: str) -> None:
    """Write a table as one metric of the operators of `fbnet`."""
    _check(metric)
    rows = foreign.rows_with_overhead(table, UNIT)
    values = foreign.once((name(r.key) or r.key, r.value) for r in rows)
    _json.write({SPACE: {metric: values}}, path)


def read(path: Path, metric: str) -> Reading:
    """Read one metric of the operators of `fbnet`. Raises TableError."""
    _check(metric)
    found = foreign.mapping(_json.read(path), "the file")
    metrics = foreign.mapping(found.get(SPACE), SPACE)
    if metric not in metrics:
        raise TableError(f"it has no {metric}; it has {', '.join(map(str, metrics))}")
    values = foreign.mapping(metrics[metric], metric)
    rows = [Row(key(n) or n, foreign.number(v, n)) for n, v in values.items()]
    rest = sorted(set(found) - {SPACE})
    return foreign.reading(rows, UNIT, [f"{', '.join(rest)} was left out"] * bool(rest))


def _check(metric: str) -> None:
    if not metric.endswith("_latency"):
        raise TableError(f"metric {metric!r} is no latency, as raspi4_latency is")


def name(key: str) -> str | None:
    """The operator behind one of our keys, or None."""
    row = _mobile.parse(key)
    if row:
        plain = not row.squeeze and row.activation == "relu6" and row.expansion.isdigit()
        text = (
            f"ConvBlock_H{row.side}_W{row.side}_Cin{row.channels_in}_Cout{row.channels_out}"
            f"_exp{row.expansion}_kernel{row.kernel}_stride{row.stride}_group1"
        )
        return text if plain else None
    match = ROW.fullmatch(key)
    if not match or (match[1] == "stem") != (match[4] is None):
        return None
    side = int(match[2])
    if match[1] == "stem":
        return f"ConvNorm_H{2 * side}_W{2 * side}_Cin3_Cout{match[3]}_kernel3_stride2_group1"
    return f"ConvNorm_H{side}_W{side}_Cin{match[3]}_Cout{match[4]}_kernel1_stride1_group1"


def key(operator: str) -> str | None:
    """Our key for an operator, or None."""
    match = BLOCK.fullmatch(operator)
    found = None
    if match:
        side, channels_in, channels_out, kernel, stride = (int(match[n]) for n in (1, 3, 4, 6, 7))
        channels = channels_in, channels_out
        found = Residual(side, kernel, stride, 0, "relu6", *channels, match[5]).key
    match = LAYER.fullmatch(operator)
    if match:
        stem = match[3] == "3"
        place = match[4] if stem else f"{match[3]}-{match[4]}"
        family = f"stem/{int(match[1]) // 2}" if stem else f"head_conv/{match[1]}"
        found = f"{family}/relu6/{place}"
    return found if found and name(found) == operator else None
