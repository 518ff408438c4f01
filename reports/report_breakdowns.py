"""The section of a report about breakdowns: where the time of networks goes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from profiler.breakdown import UNKNOWN, align, fold
from profiler.categories import CATEGORIES
from profiler.statistics import covers, interval
from profiler.types import Breakdown, BreakdownRow
from reports import charts, html
from reports.html import Figure, Section
from reports.report_networks import rounded, samples_text
from reports.runs import Run
from reports.text import fixed, latency, short_targets

# Categories' colours: Okabe and Ito's, some lighter again; what is of no operator is grey.
BESIDE = "overhead and unattributed"
LOOKS = {
    "patch embedding": "#56B4E9",
    "attention": "#D55E00",
    "MLP": "#0072B2",
    "convolution": "#009E73",
    "normalisation": "#E69F00",
    "activation": "#CC79A7",
    "reshape and layout": charts.INK,
    "pooling": "#8fd6c0",
    "element-wise": "#f5d594",
    "other": "#bcdff5",
    BESIDE: "#8c8c8c",
}
# Operators that the page lists, of all breakdowns together; at least so many of each.
MOST_OPERATORS, LEAST_OPERATORS = 1500, 12
OPERATOR_HEAD = (
    "network", "operator", "type", "category", "module", "time (ms)", "share (%)", "from (ms)",
    "to (ms)", "fused", "known by",
)  # fmt: skip


def breakdown(run: Run, anchor: str) -> Section:
    """Where the time of networks goes."""
    found: Sequence[Breakdown] = run.content
    if not found:
        return Section(anchor, "Where does the time go?", ("Nothing was taken apart.",), "")
    subjects = _subjects(found)
    shares = [r for s, b in subjects.items() for r in _categories(s, b)]
    totals = [
        {"label": s, "value": max(b.total_ns, sum(r.time_ns for r in b.rows)) / 1e6,
         "text": latency(b.total_ns)}
        for s, b in subjects.items()
    ]  # fmt: skip
    hover = {"label": "network", "part": "category", "text": "time", "share": "share"}
    blocks = [r for s, b in subjects.items() for r in _blocks(s, b)]
    in_blocks = charts.stacks(
        blocks, [], "latency (ms)", LOOKS, {"label": "block", "part": "category", "value": "ms"}
    )
    parts = [
        html.chart(
            charts.stacks(shares, totals, "latency (ms)", LOOKS, hover),
            "The latency by kind of work. What no operator explains is grey. A click on a kind "
            "in the legend picks it.",
            run.command,
            "Latency by category",
        ),
        html.chart(
            charts.chosen(in_blocks, list(subjects)),
            "The same block by block, in the order of the network.",
            run.command,
            "Latency by block and category",
        ),
        _differences(subjects),
        _operators(subjects),
    ]
    return Section(anchor, "Where does the time go?", _heaviest(subjects), "\n".join(parts))


def _subjects(found: Sequence[Breakdown]) -> dict[str, Breakdown]:
    """Breakdowns by network and target; what is called alike is numbered."""
    short = short_targets(list(dict.fromkeys(str(b.target) for b in found)))
    alone = len(short) == 1
    named: dict[str, Breakdown] = {}
    for one in found:
        name = one.workload.name
        whole = name if alone else f"{name} on {short[str(one.target)]}"
        number = sum(n == whole or n.startswith(f"{whole} #") for n in named)
        named[f"{whole} #{number + 1}" if number else whole] = one
    return named


def _category(row: BreakdownRow) -> str:
    return row.category if row.category in CATEGORIES else "other"


def _beside(parts: Breakdown) -> int:
    return max(0, parts.overhead_ns + parts.unattributed_ns)


def _categories(subject: str, parts: Breakdown) -> list[dict[str, Any]]:
    times = Counter({BESIDE: _beside(parts)})
    for row in parts.rows:
        times[_category(row)] += row.time_ns
    return [
        {
            "label": subject,
            "part": name,
            "place": place,
            "value": rounded(times[name]),
            "text": latency(times[name]),
            "share": f"{100 * times[name] / parts.total_ns:.1f} %",
        }
        for place, name in enumerate(LOOKS)
        if times[name]
    ]


def _blocks(subject: str, parts: Breakdown) -> list[dict[str, Any]]:
    times: dict[tuple[str, str], int] = {}
    for row in parts.rows:
        key = (row.block or UNKNOWN, _category(row))
        times[key] = times.get(key, 0) + row.time_ns
    order = list(LOOKS)
    return [
        {
            "subject": subject,
            "label": block,
            "part": category,
            "place": order.index(category),
            "value": rounded(ns),
        }
        for (block, category), ns in times.items()
    ]


def _heaviest(subjects: Mapping[str, Breakdown]) -> tuple[str, ...]:
    """A sentence for one or two breakdowns, one for all of more."""
    largest = {}
    for subject, parts in subjects.items():
        first = max(fold(parts, "category"), key=lambda r: r.time_ns, default=None)
        if first:
            largest[subject] = (first.name, 100 * first.time_ns / parts.total_ns)
    if len(largest) < 3:
        return tuple(
            f"{escape(name)} takes <strong>{share:.0f} %</strong> of {escape(subject)}."
            for subject, (name, share) in largest.items()
        )
    counts = Counter(name for name, _ in largest.values()).most_common()
    said = ", ".join(f"{escape(name)} in {n}" for name, n in counts)
    return (f"The largest part of {len(largest)} breakdowns: {said}.",)


def _differences(subjects: Mapping[str, Breakdown]) -> str:
    """Two breakdowns module by module; nothing for one or more than two."""
    if len(subjects) != 2:
        return ""
    (left, before), (right, after) = subjects.items()
    rows: list[list[html.Cell]] = []
    for part in align(before, after, "module", force=True):
        numbers = (part.left_ns, part.right_ns, part.difference_ns, part.low_ns, part.high_ns)
        rows.append([part.name, *(_ms(ns if math.isfinite(ns) else None) for ns in numbers)])
    head = ("module", f"{left} (ms)", f"{right} (ms)", "difference (ms)", "from (ms)", "to (ms)")
    return html.data_table(f"What {right} takes more than {left}, by module", head, rows)


def _ms(ns: float | None) -> Figure:
    return Figure("" if ns is None else fixed(ns / 1e6, 4), ns)


def _operators(subjects: Mapping[str, Breakdown]) -> str:
    each = max(LEAST_OPERATORS, MOST_OPERATORS // len(subjects))
    rows = []
    cut = False
    for subject, parts in subjects.items():
        longest = sorted(parts.rows, key=lambda r: -r.time_ns)
        cut |= len(longest) > each
        rows += [_operator_cells(subject, r, parts.total_ns) for r in longest[:each]]
    which = f"The {each} longest operators of each" if cut else "All operators"
    return html.data_table(which, OPERATOR_HEAD, rows)


def _operator_cells(subject: str, row: BreakdownRow, total_ns: int) -> list[html.Cell]:
    known = covers(len(row.samples_ns))
    low, high = interval(row.samples_ns) if known else (None, None)
    share = 100 * row.time_ns / total_ns
    samples = f"processes (ms): {samples_text(row.samples_ns)}" if row.samples_ns else ""
    return [
        subject,
        row.name,
        row.kind,
        row.category,
        row.module,
        Figure(fixed(row.time_ns / 1e6, 4), row.time_ns, samples),
        Figure(fixed(share, 2), share),
        _ms(low),
        _ms(high),
        ", ".join(row.members) if len(row.members) > 1 else "",
        row.attribution,
    ]
