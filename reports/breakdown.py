"""Breakdowns as text, CSV and a timeline. A name is whatever somebody called a module or a node."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profiler.breakdown import Difference, closure, coverage, fold
from profiler.categories import CATEGORIES
from profiler.statistics import covers, interval
from profiler.types import Breakdown, BreakdownRow
from reports.text import bounds, columns, latency, printable

FIELDS = (
    "network", "target", "place", "name", "type", "category", "module", "modules", "joined",
    "stage", "block", "members", "time_ns", "share", "low_ns", "high_ns", "attribution",
)  # fmt: skip
LEVELS = ("stage", "block", "operator")
BAR_WIDTH = 20
NAME_WIDTH = 56
# What stands beside the rows, so that a table's lines add up to the latency.
OVERHEAD, UNATTRIBUTED = "(overhead)", "(unattributed)"


@dataclass(frozen=True, slots=True)
class View:
    """What a table shows: what a line is, how deep paths go, in which order, how many lines."""

    by: str = "operator"
    depth: int | None = None
    sort: str = "time"
    top: int | None = None


def name_of(parts: Breakdown) -> str:
    """A network on a target."""
    return f"{parts.workload.name} on {parts.target}"


def text(parts: Breakdown, view: View) -> str:
    """For a terminal: what it is, the table, and how it closes."""
    rows = ordered(fold(parts, view.by, view.depth), view)
    shown = rows[: view.top]
    lines = [_line(r, parts.total_ns, view) for r in shown]
    if len(shown) < len(rows):
        rest = sum(r.time_ns for r in rows[len(shown) :])
        lines.append(_plain(f"({len(rows) - len(shown)} more)", rest, parts.total_ns, view))
    lines += [
        _plain(OVERHEAD, parts.overhead_ns, parts.total_ns, view),
        _plain(UNATTRIBUTED, parts.unattributed_ns, parts.total_ns, view),
    ]
    head = [f"{name_of(parts)}: {latency(parts.total_ns)}", *parts.flags]
    table = columns(_head(view), [tuple(printable(c) for c in line) for line in lines])
    return "\n".join([printable(", ".join(head)), table, *map(printable, _sentences(parts))])


def ordered(rows: Sequence[BreakdownRow], view: View) -> list[BreakdownRow]:
    """Rows in the order of a view; the longest first among equals."""
    if view.sort == "network":
        return list(rows)
    longest = sorted(rows, key=lambda r: -r.time_ns)
    if view.sort == "category":
        return sorted(longest, key=lambda r: _place(r.category))
    if view.sort == "module":
        return sorted(longest, key=lambda r: [_natural(w) for w in r.module.split(".")])
    return longest


def _place(category: str) -> int:
    return CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES)


def _natural(word: str) -> tuple[bool, int, str]:
    """So that block 10 comes after block 9."""
    return (not word.isdigit(), int(word) if word.isdigit() else 0, word)


def _head(view: View) -> tuple[str, ...]:
    if view.by == "operator":
        return (
            "operator", "type", "category", "module", "time", "95 %", "share", "", "fused",
            "known by",
        )  # fmt: skip
    return (view.by, "operators", "time", "95 %", "share", "", "known by")


def _line(row: BreakdownRow, total_ns: int, view: View) -> tuple[str, ...]:
    share, bar = _share(row.time_ns, total_ns)
    time = (latency(row.time_ns), _interval(row))
    if view.by != "operator":
        return (row.name, str(row.count), *time, share, bar, row.attribution)
    module = row.module if row.joined == "source" else f"~ {row.module}" if row.module else "?"
    fused = f"{len(row.members)} fused" if len(row.members) > 1 else ""
    name, kind = _shortened(row.name), row.kind
    return (name, kind, row.category, module, *time, share, bar, fused, row.attribution)


def _interval(row: BreakdownRow) -> str:
    """A row's interval over the processes, or nothing where there are too few for one."""
    return bounds(*interval(row.samples_ns)) if covers(len(row.samples_ns)) else ""


def _plain(name: str, time_ns: int, total_ns: int, view: View) -> tuple[str, ...]:
    share, bar = _share(time_ns, total_ns)
    blank = 3 if view.by == "operator" else 1
    rest = ("", "") if view.by == "operator" else ("",)
    return (name, *[""] * blank, latency(time_ns), "", share, bar, *rest)


def _share(time_ns: int, total_ns: int) -> tuple[str, str]:
    share = time_ns / total_ns
    return f"{100 * share:.1f} %", "█" * round(BAR_WIDTH * max(0.0, min(1.0, share)))


def _shortened(name: str) -> str:
    half = NAME_WIDTH // 2 - 1
    return name if len(name) <= NAME_WIDTH else f"{name[:half]}..{name[-half:]}"


def _sentences(parts: Breakdown) -> list[str]:
    """How the rows came to the latency, and how much of them has a source module."""
    rows_ns = sum(r.time_ns for r in parts.rows)
    said = [
        f"rows {rows_ns:,} + unattributed {parts.unattributed_ns:,} + overhead "
        f"{parts.overhead_ns:,} = {parts.total_ns:,} ns, the latency without profiler"
    ]
    if parts.scaling:
        scaling = parts.scaling
        said.append(
            f"{scaling.processes} profiled processes; operators sum to {latency(scaling.summed_ns)}"
            f" unscaled, scaled by {scaling.factor:.4f}; the profiler makes an inference take "
            f"{scaling.profiler_factor:.3f} times as long; closure {100 * closure(parts):+.2f} %"
        )
        if scaling.event_ns:
            said.append(
                f"the profiler's own {latency(scaling.event_ns)} were taken off each operator"
            )
    known = coverage(parts)
    if any(r.joined for r in parts.rows):
        said.append(
            f"source module known for {100 * known['source']:.1f} % of the operators' time; "
            f"{100 * known['neighbour']:.1f} % was inserted by the compiler (~ its neighbours' "
            f"module), {100 * known['']:.1f} % is unknown"
        )
    return said


def differences_text(
    left: Breakdown, right: Breakdown, parts: Sequence[Difference], view: View
) -> str:
    """Two breakdowns side by side; what stands beside the rows last, then the sum."""
    if view.sort == "network":
        order = list(parts)
    else:
        order = sorted(parts, key=lambda d: -abs(d.difference_ns))
    shown = order[: view.top]
    lines: list[tuple[str, ...]] = [
        (
            d.name,
            latency(d.left_ns),
            latency(d.right_ns),
            _signed(d.difference_ns),
            _between(d),
        )
        for d in shown
    ]
    if len(shown) < len(order):
        rest = order[len(shown) :]
        sums = (sum(d.left_ns for d in rest), sum(d.right_ns for d in rest))
        lines.append(_both(f"({len(rest)} more)", *sums))
    lines += [
        _both(OVERHEAD, left.overhead_ns, right.overhead_ns),
        _both(UNATTRIBUTED, left.unattributed_ns, right.unattributed_ns),
        _both("latency", left.total_ns, right.total_ns),
    ]
    head = (view.by if view.by != "operator" else "module", "left", "right", "difference", "95 %")
    table = columns(head, [tuple(printable(c) for c in line) for line in lines])
    told = f"left: {name_of(left)}\nright: {name_of(right)}"
    if left.device and right.device and left.device.fingerprint != right.device.fingerprint:
        told += f"\nTWO MACHINES: {left.device.description}; {right.device.description}"
    return "\n".join([*map(printable, told.splitlines()), table])


def _both(name: str, left_ns: int, right_ns: int) -> tuple[str, ...]:
    return (name, latency(left_ns), latency(right_ns), _signed(right_ns - left_ns), "")


def _signed(ns: float) -> str:
    return f"{'+' if ns >= 0 else '-'}{latency(abs(ns))}"


def _between(found: Difference) -> str:
    if abs(found.low_ns) == float("inf"):
        return "too few processes"
    return f"{_signed(found.low_ns)} to {_signed(found.high_ns)}"


def csv_text(found: Sequence[Breakdown]) -> str:
    """A row for each operator in order of execution; the overhead and the rest come last."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(FIELDS)
    for parts in found:
        rest = [(OVERHEAD, parts.overhead_ns), (UNATTRIBUTED, parts.unattributed_ns)]
        for place, row in enumerate(parts.rows):
            writer.writerow(_record(parts, place, row))
        for place, (name, time_ns) in enumerate(rest, len(parts.rows)):
            row = BreakdownRow(name, "", 1, time_ns, "difference")
            writer.writerow(_record(parts, place, row))
    return written.getvalue()


def _record(parts: Breakdown, place: int, row: BreakdownRow) -> list[Any]:
    known = covers(len(row.samples_ns))
    low, high = interval(row.samples_ns) if known else ("", "")
    return [
        parts.workload.name,
        str(parts.target),
        place,
        row.name,
        row.kind,
        row.category,
        row.module,
        "; ".join(row.modules),
        row.joined,
        row.stage,
        row.block,
        "; ".join(row.members),
        row.time_ns,
        f"{row.time_ns / parts.total_ns:.6f}",
        low,
        high,
        row.attribution,
    ]


def trace_text(found: Sequence[Breakdown]) -> str:
    """A timeline in Chrome's trace format: a process for each breakdown, a line for each level.

    One inference, made of the rows' times one after the other in order of execution: what lies
    between them is put at the end.
    """
    events: list[dict[str, Any]] = []
    for number, parts in enumerate(found, 1):
        events.append(_meta("process_name", number, 0, name_of(parts)))
        events += [_meta("thread_name", number, i, level) for i, level in enumerate(LEVELS)]
        events += _spans(parts, number)
    lines = ",\n".join(json.dumps(event) for event in events)
    return f'{{"displayTimeUnit": "ms", "traceEvents": [\n{lines}\n]}}\n'


def _meta(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _spans(parts: Breakdown, process: int) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = []
    open_spans: dict[int, dict[str, Any]] = {}
    now_ns = 0
    for row in parts.rows:
        for thread, name in enumerate((row.stage, row.block, row.name)):
            current = open_spans.get(thread)
            if thread < 2 and current and current["name"] == (name or "?"):
                current["dur"] += row.time_ns / 1e3
                continue
            open_spans[thread] = _span(name or "?", now_ns, row.time_ns, process, thread)
            spans.append(open_spans[thread])
        open_spans[2] |= {"cat": row.category, "args": _arguments(row)}
        now_ns += row.time_ns
    rest = max(0, parts.total_ns - now_ns)
    spans.append(_span("overhead and unattributed", now_ns, rest, process, 2))
    return spans


def _span(name: str, start_ns: int, time_ns: int, process: int, thread: int) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "cat": LEVELS[thread],
        "ts": start_ns / 1e3,
        "dur": time_ns / 1e3,
        "pid": process,
        "tid": thread,
    }


def _arguments(row: BreakdownRow) -> dict[str, Any]:
    return {
        "type": row.kind,
        "modules": list(row.modules),
        "members": list(row.members),
        "attribution": row.attribution,
    }
