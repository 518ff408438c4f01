"""A table's blocks as a picture for print: time over width, with intervals and steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import TableError
from profiler.tables.table import Entry, LatencyTable
from reports.breakdown_plots import check, save, settings
from reports.curves import Family, families
from reports.plots import BLUE, GREEN, GREY, PURPLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Source: marker, filling and colour.
LOOKS = {
    "measured": ("o", BLUE, BLUE),
    "interpolated": ("o", "white", PURPLE),
    "imported": ("s", GREEN, GREEN),
}
PANEL_INCHES = (3.1, 2.5)
COLUMNS, MOST_PANELS = 4, 60
Panel = tuple[str, str, Sequence[tuple[float, Entry]]]


def draw(table: LatencyTable, family: str, path: Path) -> int:
    """Write the picture of all families that begin with `family`; its kind is the file's ending.

    Returns the number of its panels. Raises TableError where no family begins so or there are
    more panels than a picture holds, UsageError on an unknown ending, MissingPackage without
    matplotlib.
    """
    check(path)
    panels = _panels(families(table), family)
    from matplotlib.figure import Figure

    with settings():
        columns = min(COLUMNS, len(panels))
        rows = math.ceil(len(panels) / columns)
        size = (max(4.6, PANEL_INCHES[0] * columns), max(3.4, PANEL_INCHES[1] * rows) + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        seen: dict[str, Any] = {}
        for number, (title, axis, points) in enumerate(panels, 1):
            axes = figure.add_subplot(rows, columns, number)
            axes.set_title(title, fontsize=9.5)
            _draw_curve(axes, points, seen)
            first = (number - 1) % columns == 0
            axes.set(xlabel=axis, ylabel="time of a block (ms)" if first else "")
        figure.legend(
            list(seen.values()), list(seen), loc="outside lower center", ncols=3, frameon=False
        )
        save(figure, path)
    return len(panels)


def _panels(found: Sequence[Family], wanted: str) -> list[Panel]:
    panels: list[Panel] = [
        (f"{f.name}, {name}" if name else f.name, f.axis, points)
        for f in found
        if f"{f.name}/".startswith(wanted)
        for name, points in f.panels.items()
    ]
    if not panels:
        known = ", ".join(sorted({f.name for f in found})) or "none has entries at two widths"
        raise TableError(f"no family begins with {wanted!r}; families: {known}")
    if len(panels) > MOST_PANELS:
        raise TableError(
            f"{wanted!r} has {len(panels)} panels, a picture at most {MOST_PANELS}: "
            "name more of the family with --family"
        )
    return panels


def _draw_curve(axes: Axes, points: Sequence[tuple[float, Entry]], seen: dict[str, Any]) -> None:
    """Draw one; `seen` gathers a mark of each source for the legend."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    widths = [w for w, _ in points]
    axes.plot(widths, [e.ns / 1e6 for _, e in points], color=GREY, linewidth=0.9, zorder=1)
    for source, (marker, face, edge) in LOOKS.items():
        own = [(w, e) for w, e in points if e.source == source]
        if not own:
            continue
        times = [e.ns / 1e6 for _, e in own]
        # A logarithmic axis has no zero.
        lows = [min(e.ns - e.low_ns, 0.999 * e.ns) / 1e6 for _, e in own]
        highs = [(e.high_ns - e.ns) / 1e6 for _, e in own]
        seen[source] = axes.errorbar(
            [w for w, _ in own],
            times,
            yerr=(lows, highs),
            fmt=marker,
            markersize=3.6,
            color=edge,
            markerfacecolor=face,
            elinewidth=1,
            label=source,
        )
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
