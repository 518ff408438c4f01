"""Charts of pages as Vega-Lite specifications: plain data, drawn by the library in the page.

Vega-Lite by Satyanarayan et al., "Vega-Lite: a grammar of interactive graphics", 2017; vl-convert
carries it whole, so nothing is fetched, neither when a page is written nor when it is read. A
row's fields have names of ours only, so that what others called a network is never an expression.
Colours are those of Okabe and Ito; what is no mark has the colour that the page's theme has now.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from profiler.errors import MissingPackage

Spec = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

INSTALL = "pip install vl-convert-python==1.9.0.post1"
# Okabe and Ito's, without the yellow that white paper and the black that a dark page swallows.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8c8c8c")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
INK, DIM, LINE, PAPER = "var(--ink)", "var(--dim)", "var(--line)", "var(--paper)"
BAR, GROUP_BAR, DOT_ROW = 22, 11, 18
# So far beyond the longest bar goes the axis, for what is written behind it.
ROOM_FOR_TEXT = 1.12
# One that can be measured before it is drawn, so that no two words overlap.
FONT = 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif'
CONFIG: Spec = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": DIM,
        "tickColor": DIM,
        "gridColor": LINE,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 230,
        "labelOverlap": "greedy",
    },
    "axisY": {"labelOverlap": False},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "labelLimit": 0,
        "orient": "top",
        "title": None,
        "symbolStrokeWidth": 1.5,
    },
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12},
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": INK},
}


@functools.cache
def library() -> str:
    """The script that draws, as text. Raises MissingPackage with what installs it."""
    try:
        import vl_convert
    except ImportError as error:
        raise MissingPackage(f"the page's figures need vl-convert: {INSTALL}") from error
    return vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its snippet may be left out


def bars(rows: Rows, quantity: str, series: Sequence[str], hover: Mapping[str, str]) -> Spec:
    """Horizontal bars from zero with their intervals, one below another in groups.

    Rows have `label`, `series`, `value`, and `low` and `high` where there is an interval; `samples`
    are drawn as marks. `hover` names the further fields that a pointer shows.
    """
    place = _places("label")
    grouped = len(series) > 1
    if grouped:
        place["yOffset"] = {"field": "series", "type": "nominal", "sort": list(series)}
    inner = {"step": GROUP_BAR, "for": "offset"} if grouped else {"step": BAR}
    scale = {"domain": list(series), "range": _cycled(COLOURS, len(series))}
    colour: dict[str, Any] = {"field": "series", "type": "nominal", "scale": scale}
    colour["legend"] = {"columns": 1} if grouped else None
    value = {"field": "value", "type": "quantitative", "title": quantity, "scale": {"zero": True}}
    bar = {
        "mark": {"type": "bar", "height": {"band": 0.86}},
        "encoding": {"x": value, "color": colour, "tooltip": _hovers(hover)},
    }
    sample = {
        "transform": [{"filter": "isValid(datum.samples)"}, {"flatten": ["samples"]}],
        "mark": {"type": "tick", "color": INK, "opacity": 0.35, "thickness": 1, "height": 7},
        "encoding": {"x": {"field": "samples", "type": "quantitative"}},
    }
    layers = [bar, *([sample] if any(r.get("samples") for r in rows) else []), _interval()]
    return _whole(rows, {"height": inner, "encoding": place, "layer": layers})


def stacks(
    rows: Rows, totals: Rows, quantity: str, looks: Mapping[str, str], hover: Mapping[str, str]
) -> Spec:
    """A bar for each label, its parts one after the other; totals behind them.

    Rows have `label`, `part`, `place` (of the part, in order) and `value`; totals `label`, `value`
    and `text`. `looks` are the parts' colours. A click on the legend picks a part.
    """
    present = [p for p in looks if any(r["part"] == p for r in rows)]
    scale = {"domain": present, "range": [looks[p] for p in present]}
    across: dict[str, Any] = {"zero": True}
    if totals:
        across["domainMax"] = ROOM_FOR_TEXT * max(t["value"] for t in totals)
    layer = {
        "params": [{"name": "picked", "select": _by_legend("part"), "bind": "legend"}],
        "mark": {"type": "bar", "stroke": PAPER, "strokeWidth": 0.7},
        "encoding": {
            "x": {
                "field": "value",
                "type": "quantitative",
                "title": quantity,
                "stack": "zero",
                "scale": across,
            },
            "color": {
                "field": "part",
                "type": "nominal",
                "scale": scale,
                "legend": {"columns": 3},
            },
            "order": {"field": "place", "type": "quantitative"},
            "opacity": {"condition": {"param": "picked", "value": 1}, "value": 0.2},
            "tooltip": _hovers(hover),
        },
    }
    total = {
        "data": {"values": list(totals)},
        "mark": {"type": "text", "align": "left", "dx": 4},
        "encoding": {
            "x": {"field": "value", "type": "quantitative"},
            "text": {"field": "text", "type": "nominal"},
        },
    }
    layers = [layer, total] if totals else [layer]
    return _whole(rows, {"height": {"step": BAR}, "encoding": _places("label"), "layer": layers})


def chosen(spec: Spec, subjects: Sequence[str]) -> Spec:
    """The same for one `subject` at a time, which the reader chooses from a list."""
    if len(subjects) < 2:
        return spec
    choice = {
        "name": "shown",
        "value": subjects[0],
        "bind": {"input": "select", "options": list(subjects), "name": "Show "},
    }
    picked = [{"filter": "datum.subject === shown"}]
    return {**spec, "params": [choice], "transform": picked}


def dots(
    rows: Rows,
    quantity: str,
    groups: Mapping[str, str],
    hover: Mapping[str, str],
    beside: bool = False,
) -> Spec:
    """A dot with its interval for each label, on a logarithmic axis with a line at 1.

    Rows have `label`, `group`, `value`, `low` and `high`; `groups` are the groups' colours. Groups
    stand `beside` each other where labels have several.
    """
    marks = _marked("group", list(groups), list(groups.values()))
    value = {
        "field": "value",
        "type": "quantitative",
        "title": quantity,
        "scale": {"type": "log", "nice": False, "padding": 8},
        "axis": {"format": "~g", "tickCount": 6},
    }
    dot = {
        "mark": {"type": "point", "filled": True, "size": 55 if beside else 80, "opacity": 1},
        "encoding": {"x": value, **marks, "tooltip": _hovers(hover)},
    }
    place = _places("label")
    height: Spec = {"step": DOT_ROW}
    if beside:
        place["yOffset"] = {"field": "group", "type": "nominal", "sort": list(groups)}
        height = {"step": GROUP_BAR, "for": "offset"}
    layers = [_line_at("x", 1), _over(_interval(), place), _over(dot, place)]
    return _whole(rows, {"height": height, "layer": layers})


def agreement(rows: Rows, groups: Mapping[str, str], hover: Mapping[str, str]) -> Spec:
    """Predicted over measured latency in ms, with the line on which both are equal.

    Rows have `measured`, `predicted` and `group`; `groups` are the groups' colours.
    """
    top = 1.06 * max(max(r["measured"], r["predicted"]) for r in rows)
    corners = [{"measured": end, "predicted": end} for end in (0, top)]
    both = {
        name: {
            "field": name,
            "type": "quantitative",
            "title": f"{name} latency (ms)",
            "scale": {"domain": [0, top], "nice": False},
        }
        for name in ("measured", "predicted")
    }
    place = {"x": both["measured"], "y": both["predicted"]}
    equal = {
        "data": {"values": corners},
        "mark": {"type": "line", "color": DIM, "strokeWidth": 1},
        "encoding": place,
    }
    return _whole(rows, {"height": 340, "layer": [equal, _points(place, groups, hover)]})


def errors(rows: Rows, groups: Mapping[str, str], hover: Mapping[str, str]) -> Spec:
    """Errors in percent over measured latency; rows as for `agreement`, with `error`."""
    place = {
        "x": {
            "field": "measured",
            "type": "quantitative",
            "title": "measured latency (ms)",
            "scale": {"zero": True},
        },
        "y": {"field": "error", "type": "quantitative", "title": "error of the prediction (%)"},
    }
    points = _points(place, groups, hover)
    return _whole(rows, {"height": 200, "layer": [_line_at("y", 0), points]})


def curves(rows: Rows, axis: str, panels: bool, groups: Mapping[str, str]) -> Spec:
    """Time over width, both logarithmic, with intervals; with `panels` a small one for each panel.

    Rows have `width`, `value`, `low`, `high`, `group` and `panel`.
    """
    axes: Spec = {
        "x": {
            "field": "width",
            "type": "quantitative",
            "title": axis,
            "scale": {"type": "log", "nice": False, "padding": 8},
            "axis": {"format": "~g", "tickCount": 5},
        },
        "y": {
            "field": "value",
            "type": "quantitative",
            "title": "time of a block (ms)",
            "scale": {"type": "log", "nice": False, "padding": 8},
            "axis": {"format": "~g", "tickCount": 5},
        },
    }
    line = {"mark": {"type": "line", "color": DIM, "strokeWidth": 1}, "encoding": axes}
    whisker = {
        "mark": {"type": "rule"},
        "encoding": {"x": axes["x"], "y": {**axes["y"], "field": "low"}, "y2": {"field": "high"}},
    }
    hover = {"key": "entry", "text": "time", "interval": "95 %", "group": "known by"}
    points = _points(axes, groups, {**hover, "rounds": "rounds"})
    points["mark"]["size"] = 26 if panels else 45
    layer = {"layer": [line, whisker, points]}
    if not panels:
        return _whole(rows, {"height": 260, **layer})
    order = list(dict.fromkeys(r["panel"] for r in rows))
    head = {"field": "panel", "type": "nominal", "sort": order, "title": None}
    small = {"width": 130, "height": 120, **layer}
    whole = _whole(rows, {"facet": head, "columns": 4, "spec": small})
    return {k: v for k, v in whole.items() if k not in ("width", "autosize")}


# Parts ------------------------------------------------------------------------------------------


def _whole(rows: Rows, spec: Spec) -> Spec:
    """A specification with its data; as wide as the place that it is put into."""
    fit = {"type": "fit-x", "contains": "padding"}
    data = {"values": list(rows)}
    return {"config": CONFIG, "width": "container", "autosize": fit, "data": data, **spec}


def _places(field: str) -> Spec:
    return {"y": {"field": field, "type": "nominal", "sort": None, "title": None}}


def _over(layer: Spec, place: Spec) -> Spec:
    return {**layer, "encoding": {**place, **layer["encoding"]}}


def _interval() -> Spec:
    return {
        "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "encoding": {
            "x": {"field": "low", "type": "quantitative"},
            "x2": {"field": "high"},
        },
    }


def _line_at(channel: str, value: float) -> Spec:
    return {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": DIM, "strokeDash": [4, 3]},
        "encoding": {channel: {"datum": value}},
    }


def _points(place: Spec, groups: Mapping[str, str], hover: Mapping[str, str]) -> Spec:
    marks = _marked("group", list(groups), list(groups.values()))
    return {
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
        "encoding": {**place, **marks, "tooltip": _hovers(hover)},
    }


def _marked(field: str, names: Sequence[str], colours: Sequence[str]) -> Spec:
    """Told apart by colour and by shape."""
    colour = {"domain": list(names), "range": list(colours)}
    shape = {"domain": list(names), "range": _cycled(SHAPES, len(names))}
    legend = {"columns": 2}
    return {
        "color": {"field": field, "type": "nominal", "scale": colour, "legend": legend},
        "shape": {"field": field, "type": "nominal", "scale": shape, "legend": legend},
    }


def _by_legend(field: str) -> Spec:
    return {"type": "point", "fields": [field]}


def _hovers(named: Mapping[str, str]) -> list[Spec]:
    return [
        {"field": field, "type": "nominal", "title": title or field}
        for field, title in named.items()
    ]


def _cycled(values: Sequence[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]
