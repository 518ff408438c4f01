"""Results as plain text: aligned tables, latencies in the unit that a person reads."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"


def latency(ns: float) -> str:
    """A latency in the unit that leaves it between 1 and 1000: '13.31 ms'."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(ns) >= size:
            return f"{ns / size:.4g} {unit}" if abs(ns) < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns:.0f} ns"


def bounds(low_ns: float, high_ns: float) -> str:
    """An interval in one unit: '13.2-13.4 ms'."""
    if math.isinf(low_ns) or math.isinf(high_ns):
        return "too few rounds"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if high_ns >= size:
            return f"{low_ns / size:.4g}-{high_ns / size:.4g} {unit}"
    return f"{low_ns:.0f}-{high_ns:.0f} ns"


def fixed(value: float, digits: int, sign: str = "") -> str:
    """A number with so many digits behind the point; with `sign` "+" always signed."""
    # Adding zero turns a rounded -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", MINUS)


def milliseconds(ns: float) -> str:
    """Milliseconds with four significant digits, for sentences."""
    return f"{ns / 1e6:#.4g}".removesuffix(".").replace("-", MINUS)


def short_targets(targets: Sequence[str]) -> dict[str, str]:
    """Targets without the device, and without what tells none of them apart: words that all have,
    and options that have one value wherever they exist.

    Where that makes two of them alike, all stay as they are.
    """
    words = {t: re.split(r"[:,]", t) for t in targets}
    shared = set.intersection(*(set(w[1:]) for w in words.values())) if words else set()
    options = {word for w in words.values() for word in w[1:] if "=" in word}
    names = [o.partition("=")[0] for o in options]
    shared |= {o for o in options if names.count(o.partition("=")[0]) == 1}
    one_device = len({w[0].partition("/")[0] for w in words.values()}) == 1
    short = {
        t: ", ".join(
            [w[0].partition("/")[2] or w[0] if one_device else w[0]]
            + [word for word in w[1:] if word not in shared]
        )
        for t, w in words.items()
    }
    return short if len(set(short.values())) == len(short) else {t: t for t in targets}


def size(count: float) -> str:
    """A count with a decimal prefix: '12.3 M'."""
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {prefix}"
    return f"{count:.0f}"


def printable(text: str) -> str:
    """Without line breaks and what else moves a terminal's cursor or breaks a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns; numbers to the right, words to the left."""
    if not rows:
        return ""
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    right = [all(_numeric(r[i]) for r in rows) for i in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _numeric(cell: str) -> bool:
    return not cell or cell[0].isdigit() or (cell[0] in "+-" and cell[1:2].isdigit())
