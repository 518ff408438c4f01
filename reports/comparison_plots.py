"""A comparison as grouped bars: networks below one another, a bar for each target, from zero."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.comparison import Cell, Compared
from profiler.environment import installed
from profiler.errors import MissingPackage, UsageError
from profiler.store import write_whole
from reports.plots import INK, INSTALL, SETTINGS
from reports.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, without the yellow that white paper swallows; hatching differs too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")
SUFFIXES = (".png", ".svg", ".pdf")
BAR_INCHES = 0.19
WIDTH_INCHES = 7.2
# A picture of a hundred networks is still one that a reader opens.
MOST_INCHES = 150.0


def check(path: Path) -> None:
    """Raise UsageError on an ending that no picture has, MissingPackage without matplotlib."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: pictures end in {', '.join(SUFFIXES)}")
    if not installed("matplotlib"):
        raise MissingPackage(f"pictures need matplotlib: {INSTALL}")


def draw(compared: Compared, path: Path) -> None:
    """Write the picture; its kind is the file's ending. Raises UsageError, MissingPackage."""
    check(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A letter that no font here has is drawn as a box; that is said by the box.
        warnings.filterwarnings("ignore", "Glyph")
        matplotlib.rcdefaults()
        # A dollar sign in a name is a dollar sign.
        matplotlib.rcParams.update({**SETTINGS, "text.parse_math": False})
        lines = len(compared.networks) * (len(compared.targets) + 1)
        height = min(MOST_INCHES, 1.2 + BAR_INCHES * (lines + len(compared.targets)))
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        _draw(figure.subplots(), compared)
        figure.legend(loc="outside upper left", ncols=1, frameon=False, fontsize=8.5)
        kind = path.suffix.lower().removeprefix(".")
        # A date would make two pictures of the same figures two files.
        dated: Any = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        write_whole(path, lambda place: figure.savefig(place, format=kind, dpi=150, metadata=dated))


def _draw(axes: Axes, compared: Compared) -> None:
    step = len(compared.targets) + 1
    for number, target in enumerate(compared.targets):
        cells = [compared.cell(network, target) for network in compared.networks]
        places = [row * step + number for row in range(len(cells))]
        _bars(axes, number, target, cells, places)
    middle = (len(compared.targets) - 1) / 2
    ticks = [row * step + middle for row in range(len(compared.networks))]
    axes.set_yticks(ticks, labels=[printable(n) for n in compared.networks])
    axes.set_ylim(len(compared.networks) * step - 1.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("latency (ms), median of rounds and its 95 % interval")
    # Room for what is written behind the longest bar.
    axes.set_xlim(0, 1.18 * max([c.high_ns / 1e6 for c in compared.cells if c.high_ns] or [1.0]))


def _bars(axes: Axes, number: int, target: str, cells: list[Cell], places: list[int]) -> None:
    """A target's bars; where it failed there is a word instead of one."""
    colour, hatch = COLOURS[number % len(COLOURS)], HATCHES[number % len(HATCHES)]
    ran = [(p, c) for p, c in zip(places, cells, strict=True) if c.latency_ns is not None]
    lows = [((c.latency_ns or 0) - (c.low_ns or 0)) / 1e6 for _, c in ran]
    highs = [((c.high_ns or 0) - (c.latency_ns or 0)) / 1e6 for _, c in ran]
    axes.barh(
        [p for p, _ in ran],
        [(c.latency_ns or 0) / 1e6 for _, c in ran],
        height=0.85,
        label=printable(target),
        facecolor="white" if hatch else colour,
        edgecolor=colour,
        hatch=hatch,
        xerr=[lows, highs],
        error_kw={"ecolor": INK, "elinewidth": 0.9, "capsize": 2},
    )
    for place, cell in zip(places, cells, strict=True):
        text = "failed" if cell.latency_ns is None else f"{cell.latency_ns / 1e6:.3g}"
        end = ((cell.high_ns or 0) / 1e6, place)
        axes.annotate(text, end, (4, 0), textcoords="offset points", va="center", fontsize=7.5)
