"""Figures as SVG text to stand inside a page: same input, same text, nothing outside it.

Letters stay letters, so that they can be searched and scale with the page. Colours are those of
Okabe and Ito, which people with colour blindness can tell apart; markers and hatching differ too.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from profiler.errors import MissingPackage
from profiler.tables.table import LatencyTable, Network
from profiler.types import Breakdown, BreakdownRow
from reports.text import MINUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = "pip install matplotlib==3.11.2"
TIMES = "\N{MULTIPLICATION SIGN}"
BLUE, GREEN, VERMILLION, PURPLE = "#0072B2", "#009E73", "#D55E00", "#CC79A7"
INK, GREY, BAND_COLOUR = "#222222", "#767676", "#e4e4e4"
BAND = 0.03
# The attribution of what no row explains.
REMAINDER = "remainder"
# Narrow, so that the letters are still legible when a telephone shrinks the figure.
WIDTH_INCHES = 5.2
LINE_INCHES = 0.235
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "opclock",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.8,
}
# Attribution: what a bar is called in the legend, its colour and its hatching.
LOOKS = {
    "measured-in-context": ("measured in context", BLUE, ""),
    "interpolated": ("interpolated", PURPLE, "////"),
    "imported": ("imported", GREEN, "...."),
    REMAINDER: ("unattributed", VERMILLION, "xxxx"),
}
OTHER_LOOK = ("other", GREY, "")


def agreement(table: LatencyTable, network: Network, name: str) -> str:
    """Predicted against measured latency of all networks, and below it the errors in percent."""
    with _settings():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH_INCHES, 7.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2.6))
        series = (
            (f"{name}, the whole network", (network,), "D", VERMILLION, VERMILLION),
            ("closure networks: took no part", table.closure_networks, "o", BLUE, BLUE),
            ("reference networks: set the scale", table.references, "s", "white", GREEN),
        )
        top = 1.08 * max(
            max(n.predicted_ns, n.measured_ns) for _, group, *_ in series for n in group
        )
        _identity(upper, lower, top / 1e6)
        for label, group, marker, face, edge in series:
            _points(upper, lower, label, group, marker, face, edge)
        upper.set_ylabel("predicted latency (ms)")
        upper.legend(loc="upper left", frameon=False, fontsize=8.5)
        lower.set(xlabel="measured latency (ms)", ylabel="error of the prediction (%)")
        return _text(figure, "agreement", f"Predicted against measured latency; {name} marked")


def _identity(upper: Axes, lower: Axes, top: float) -> None:
    ends = (0.0, top)
    band = f"within {BAND:.0%} of it".replace("%", " %")
    upper.plot(ends, ends, color=GREY, linewidth=1, label="predicted = measured", zorder=1)
    lows, highs = [(1 - BAND) * e for e in ends], [(1 + BAND) * e for e in ends]
    upper.fill_between(ends, lows, highs, color=BAND_COLOUR, linewidth=0, label=band, zorder=0)
    upper.set(xlim=ends, ylim=ends)
    lower.axhline(0, color=GREY, linewidth=1, zorder=1)
    lower.axhspan(-100 * BAND, 100 * BAND, color=BAND_COLOUR, linewidth=0, zorder=0)


def _points(
    upper: Axes,
    lower: Axes,
    label: str,
    group: Sequence[Network],
    marker: str,
    face: str,
    edge: str,
) -> None:
    measured = [n.measured_ns / 1e6 for n in group]
    predicted = [n.predicted_ns / 1e6 for n in group]
    if not group:
        return
    size, order = (64, 4) if marker == "D" else (34, 3)
    look: Any = {"marker": marker, "facecolor": face, "edgecolor": edge, "linewidth": 1.4}
    upper.scatter(measured, predicted, s=size, zorder=order, label=label, **look)
    errors = [n.error_percent for n in group]
    lower.scatter(measured, errors, s=size, zorder=order, **look)
    widest = max(abs(lower.get_ylim()[0]), 1.3 * max(abs(e) for e in errors), 130 * BAND)
    lower.set_ylim(-widest, widest)


def grouped(parts: Breakdown) -> list[tuple[str, list[BreakdownRow]]]:
    """A breakdown's rows by stage in network order; the unattributed rest is the last row.

    A stage begins with the embedding that leads to it.
    """
    groups: dict[str, list[BreakdownRow]] = {}
    stage = 1
    for row in parts.rows:
        stage += row.kind.startswith("embedding")
        places = {"stem": "Input", "head": "Output", "overhead": "Beside the blocks"}
        groups.setdefault(places.get(row.kind, f"Stage {stage}"), []).append(row)
    rest = BreakdownRow("unattributed", "unattributed", 1, parts.unattributed_ns, REMAINDER)
    groups.setdefault("Beside the blocks", []).append(rest)
    return list(groups.items())


def bars(parts: Breakdown, name: str) -> str:
    """A breakdown as horizontal bars from zero, grouped by stage."""
    groups = grouped(parts)
    lines = sum(len(rows) + 1 for _, rows in groups)
    with _settings():
        from matplotlib.figure import Figure

        height = 1.1 + LINE_INCHES * lines
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        axes = figure.subplots()
        ticks = _draw_bars(axes, groups, parts.total_ns)
        axes.set_yticks(range(lines), labels=[t for t, _ in ticks], parse_math=False)
        for label, (_, bold) in zip(axes.get_yticklabels(), ticks, strict=True):
            label.set_fontweight("bold" if bold else "normal")
        axes.set_ylim(lines - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("latency (ms)")
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
        return _text(figure, "bars", f"Where the {parts.total_ns / 1e6:.2f} ms of {name} go")


def _draw_bars(
    axes: Axes, groups: Sequence[tuple[str, Sequence[BreakdownRow]]], total_ns: int
) -> list[tuple[str, bool]]:
    """Draw the bars; returns the label of each line, and whether it heads a group."""
    ticks: list[tuple[str, bool]] = []
    longest = max(r.time_ns for _, rows in groups for r in rows) / 1e6
    lowest = min(0.0, *(r.time_ns / 1e6 for _, rows in groups for r in rows))
    axes.set_xlim(1.25 * lowest, 1.22 * longest)
    seen: set[str] = set()
    for group, rows in groups:
        whole = sum(r.time_ns for r in rows)
        share = f"{whole / 1e6:.2f} ms, {100 * whole / total_ns:.1f} %".replace("-", MINUS)
        axes.annotate(share, (0, len(ticks)), (4, 0), textcoords="offset points", va="center")
        ticks.append((group, True))
        for row in rows:
            label, colour, hatch = LOOKS.get(row.attribution, OTHER_LOOK)
            shown = f"_{label}" if label in seen else label
            seen.add(label)
            _bar(axes, len(ticks), row.time_ns / 1e6, shown, colour, hatch)
            ticks.append((f"{row.name} {TIMES}{row.count}" if row.count > 1 else row.name, False))
    return ticks


def _bar(axes: Axes, place: int, time_ms: float, label: str, colour: str, hatch: str) -> None:
    axes.barh(
        place,
        time_ms,
        height=0.72,
        label=label,
        facecolor=colour if not hatch else "white",
        edgecolor=colour,
        hatch=hatch,
        linewidth=1,
    )
    # A negative bar is labelled on its free side: left of zero stand the names.
    end = max(0.0, time_ms)
    text = f"{time_ms:.3f}".replace("-", MINUS)
    axes.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", color=INK)


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Matplotlib's own defaults and ours; whatever was set before comes back afterwards."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingPackage(f"the page's figures need matplotlib: {INSTALL}") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def _text(figure: Figure, prefix: str, label: str) -> str:
    """The figure as an <svg> element; its identifiers begin with `prefix`."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    # The metadata, the style for all elements and the namespaces have no place in a page.
    text = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>", "", written.getvalue(), flags=re.DOTALL
    )
    opening = re.search(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', text)
    if opening is None:
        raise RuntimeError("matplotlib wrote no svg element with a viewBox")

    def renamed(tag: re.Match[str]) -> str:
        plain = tag.group().replace("xlink:href", "href").replace("url(#", f"url(#{prefix}-")
        return re.sub(r'\b(id="|href="#)', rf"\g<1>{prefix}-", plain)

    inner = re.sub(r"<[^>]*>", renamed, text[opening.end() :])
    return f'<svg {opening.group(1)} role="img" aria-label="{escape(label)}">{inner.strip()}'
