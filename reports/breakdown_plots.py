"""Breakdowns as pictures: categories as stacked bars side by side, modules as rings."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.breakdown import fold
from profiler.categories import CATEGORIES
from profiler.environment import installed
from profiler.errors import MissingPackage, UsageError
from profiler.lineage import NETWORK
from profiler.store import write_whole
from profiler.types import Breakdown, BreakdownRow
from reports.plots import GREY, INK, INSTALL, SETTINGS
from reports.text import latency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, some twice, told apart by hatching; what is of no operator is grey.
BESIDE = "overhead and unattributed"
LOOKS = {
    "patch embedding": ("#56B4E9", ""),
    "attention": ("#D55E00", ""),
    "MLP": ("#0072B2", ""),
    "convolution": ("#009E73", ""),
    "normalisation": ("#E69F00", ""),
    "activation": ("#CC79A7", ""),
    "reshape and layout": ("#000000", "////"),
    "pooling": ("#009E73", "...."),
    "element-wise": ("#E69F00", "xxxx"),
    "other": ("#56B4E9", "\\\\\\\\"),
    BESIDE: (GREY, "----"),
}
BAR_INCHES, MOST_INCHES = 0.52, 150.0
RINGS = 3
INNER = ("#d9d9d9", "#ececec", "#f7f7f7")
# Narrower pieces are drawn without a name.
NAMED_SHARE = 0.018


def check(path: Path) -> None:
    """Raise UsageError on an ending that no picture has, MissingPackage without matplotlib."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: pictures end in {', '.join(SUFFIXES)}")
    if not installed("matplotlib"):
        raise MissingPackage(f"pictures need matplotlib: {INSTALL}")


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Matplotlib's own defaults and ours; whatever was set before comes back afterwards."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A letter that no font here has is drawn as a box; that is said by the box.
        warnings.filterwarnings("ignore", "Glyph")
        matplotlib.rcdefaults()
        # A dollar sign in a name is a dollar sign.
        matplotlib.rcParams.update({**SETTINGS, "text.parse_math": False})
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a picture whole; its kind is the file's ending."""
    kind = path.suffix.lower().removeprefix(".")
    # A date would make two pictures of the same figures two files.
    dated: Any = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    write_whole(path, lambda place: figure.savefig(place, format=kind, dpi=150, metadata=dated))


def draw_bars(found: Sequence[Breakdown], path: Path) -> None:
    """A bar for each breakdown, from zero, its categories one after the other.

    Raises UsageError on an unknown ending, MissingPackage without matplotlib.
    """
    check(path)
    from matplotlib.figure import Figure

    with settings():
        height = min(MOST_INCHES, 1.75 + BAR_INCHES * len(found))
        figure = Figure(figsize=(8.6, height), layout="constrained")
        axes = figure.subplots()
        ends_ms = [0.0] * len(found)
        for category in [*CATEGORIES, BESIDE]:
            times_ms = [_time_ms(parts, category) for parts in found]
            if any(times_ms):
                _stack(axes, category, times_ms, ends_ms)
                ends_ms = [a + b for a, b in zip(ends_ms, times_ms, strict=True)]
        for place, parts in enumerate(found):
            text = latency(parts.total_ns)
            end = (max(ends_ms[place], parts.total_ns / 1e6), place)
            axes.annotate(text, end, (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(found)), labels=[_two_lines(p) for p in found])
        axes.set_ylim(len(found) - 0.45, -0.55)
        axes.set_xlim(0, 1.1 * max([*ends_ms, *(p.total_ns / 1e6 for p in found)]))
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("latency (ms)")
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
        save(figure, path)


def _time_ms(parts: Breakdown, category: str) -> float:
    if category == BESIDE:
        return max(0.0, (parts.overhead_ns + parts.unattributed_ns) / 1e6)
    known = {r.name: r.time_ns for r in fold(parts, "category")}
    if category == "other":
        return (
            sum(t for name, t in known.items() if name == "other" or name not in CATEGORIES) / 1e6
        )
    return known.get(category, 0) / 1e6


def _stack(axes: Axes, category: str, times_ms: Sequence[float], ends_ms: Sequence[float]) -> None:
    colour, hatch = LOOKS[category]
    axes.barh(
        range(len(times_ms)),
        times_ms,
        left=ends_ms,
        height=0.68,
        label=category,
        facecolor="white" if hatch else colour,
        edgecolor=colour if hatch else "white",
        hatch=hatch,
        linewidth=0.8,
    )


def _two_lines(parts: Breakdown) -> str:
    target = f"{parts.target.runtime} {parts.target.precision}"
    threads = parts.target.options.get("threads")
    return f"{parts.workload.name}\n{target}" + (f", {threads} threads" if threads else "")


@dataclass
class Ring:
    """A module with its parts by name and category; only what has no parts has a category."""

    name: str
    category: str = ""
    time_ns: int = 0
    parts: dict[tuple[str, str], Ring] = field(default_factory=dict)


def tree_of(parts: Breakdown) -> Ring:
    """A breakdown's rows by stage, block and part of a block; what is of no module is under `?`."""
    root = Ring(parts.workload.name)
    for row in parts.rows:
        *words, last = _path(row)
        place = root
        root.time_ns += row.time_ns
        for word in words:
            place = place.parts.setdefault((word, ""), Ring(word))
            place.time_ns += row.time_ns
        category = row.category if row.category in CATEGORIES else "other"
        place.parts.setdefault((last, category), Ring(last, category)).time_ns += row.time_ns
    rest = max(0, parts.overhead_ns + parts.unattributed_ns)
    root.parts[BESIDE, BESIDE] = Ring(BESIDE, BESIDE, rest)
    root.time_ns += rest
    return root


def _path(row: BreakdownRow) -> list[str]:
    """The names on a row's rings: its stage, then within it the block, then the block's part."""
    if not row.module or row.module == NETWORK:
        return [row.module or "?"]
    block = row.block.removeprefix(row.stage).strip(".")
    part = row.module.removeprefix(row.block).strip(".").partition(".")[0]
    return [word for word in (row.stage, block, part) if word]


def draw_rings(found: Sequence[Breakdown], path: Path) -> None:
    """A sunburst for each breakdown: stages inside, their blocks and the blocks' parts around.

    The outermost pieces have their category's colour. Raises UsageError on an unknown ending,
    MissingPackage without matplotlib.
    """
    check(path)
    from matplotlib.figure import Figure

    with settings():
        columns = min(3, len(found))
        rows = math.ceil(len(found) / columns)
        figure = Figure(figsize=(6.4 * columns, 6.9 * rows), layout="constrained")
        seen: set[str] = set()
        for place, parts in enumerate(found, 1):
            axes = figure.add_subplot(rows, columns, place, projection="polar")
            seen |= _draw_sunburst(axes, parts)
        marks = [_mark(c) for c in LOOKS if c in seen]
        figure.legend(handles=marks, loc="outside lower center", ncols=5, frameon=False)
        save(figure, path)


def _mark(category: str) -> Any:
    from matplotlib.patches import Patch

    colour, hatch = LOOKS[category]
    return Patch(
        facecolor="white" if hatch else colour, edgecolor=colour, hatch=hatch, label=category
    )


def _draw_sunburst(axes: Any, parts: Breakdown) -> set[str]:
    """Draw one; returns the categories whose colours it has."""
    root = tree_of(parts)
    axes.set_axis_off()
    axes.set_theta_direction(-1)
    axes.set_theta_zero_location("N")
    axes.set_title(_two_lines(parts), fontsize=9.5)
    axes.text(0, 0, latency(parts.total_ns), ha="center", va="center", fontsize=11)
    seen: set[str] = set()
    start = 0.0
    for part in root.parts.values():
        _draw_piece(axes, part, start, 1, root.time_ns, seen)
        start += part.time_ns / root.time_ns
    axes.set_ylim(0, RINGS + 1)
    return seen


def _draw_piece(
    axes: Any, piece: Ring, start: float, ring: int, total_ns: int, seen: set[str]
) -> None:
    share = piece.time_ns / total_ns
    if share <= 0:
        return
    look: dict[str, Any] = {"facecolor": INNER[ring - 1], "edgecolor": "white"}
    if not piece.parts:
        colour, hatch = LOOKS[piece.category]
        look = {"facecolor": colour, "edgecolor": "white"}
        if hatch:
            look = {"facecolor": "white", "edgecolor": colour, "hatch": hatch}
        seen.add(piece.category)
    # A piece without parts reaches to the edge, so that every direction ends in a category.
    height = 1 if piece.parts else RINGS + 1 - ring
    turn = 2 * math.pi
    axes.bar(turn * (start + share / 2), height, turn * share, ring, linewidth=0.5, **look)
    if share >= NAMED_SHARE:
        plain = bool(piece.parts) or bool(look.get("hatch"))
        _write_name(axes, piece.name, start + share / 2, ring + height / 2, share, plain)
    for part in piece.parts.values():
        _draw_piece(axes, part, start, ring + 1, total_ns, seen)
        start += part.time_ns / total_ns


def _write_name(
    axes: Any, name: str, middle: float, radius: float, share: float, plain: bool
) -> None:
    """Along the radius, readable from the right; wide pieces have their names upright."""
    degrees = 360 * middle
    tilt = 90 - degrees if degrees <= 180 else 270 - degrees
    axes.text(
        2 * math.pi * middle,
        radius,
        name if len(name) <= 14 else f"{name[:12]}..",
        rotation=0 if share > 0.12 else tilt,
        ha="center",
        va="center",
        fontsize=6.5,
        color=INK if plain else "white",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6} if plain else None,
    )
