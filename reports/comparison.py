"""Comparisons as text, Markdown and CSV. A name is whatever somebody called a file or a target."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from profiler.baseline import Checked
from profiler.comparison import Against, Cell, Compared, RankChange
from reports.published import FEWEST, Beside
from reports.text import bounds, columns, latency, printable, size

SPEED_HEAD = ("network", "target", "latency", "95 %", "rounds", "ratio", "95 %", "verdict", "notes")
PRICE_HEAD = (
    "network", "target", "load", "first run", "memory", "file", "error",
    "precision: asked", "got", "unit: asked", "got", "fallback",
)  # fmt: skip
CHECK_HEAD = ("network", "target", "then", "now", "ratio", "95 %", "verdict", "notes")
FIELDS = (
    "network", "target", "baseline", "failure", "latency_ns", "low_ns", "high_ns", "rounds",
    "ratio", "ratio_low", "ratio_high", "verdict", "reason", "load_ns", "first_ns", "peak_bytes",
    "size_bytes", "error", "asked_precision", "actual_precision", "asked_unit", "actual_unit",
    "fallback_share", "flags",
)  # fmt: skip
OTHER_DEVICE = "published, other device"
THIS_DEVICE = "published, this device"
MARKS = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "\\\\", "|": "\\|"}
Table = tuple[str, Sequence[str], list[tuple[str, ...]]]


def text(compared: Compared, beside: Beside | None = None) -> str:
    """For a terminal: aligned columns."""
    parts = [_head(compared)]
    for title, head, rows in _tables(compared, beside):
        shown = [tuple(printable(c) for c in row) for row in rows]
        parts.append(f"{title}\n{columns([printable(c) for c in head], shown)}")
    parts += [printable(s) for s in _sentences(compared, beside)]
    return "\n\n".join(parts)


def markdown(compared: Compared, beside: Beside | None = None) -> str:
    """For a page of documentation."""
    parts = [_escaped(_head(compared))]
    for title, head, rows in _tables(compared, beside):
        parts += [f"### {title}", _markdown_table(head, rows)]
    said = _sentences(compared, beside)
    if said:
        parts.append("\n".join(f"- {_escaped(s)}" for s in said))
    return "\n\n".join(parts) + "\n"


def checked_text(checked: Checked) -> str:
    """A check of a baseline, for a terminal."""
    rows = [
        (
            row.network,
            row.target,
            _latency(row.then_ns),
            _latency(row.now_ns),
            *_against(row.against),
            ", ".join([*row.notes, *([row.against.reason] if row.against.reason else [])]),
        )
        for row in checked.rows
    ]
    shown = [tuple(printable(c) for c in row) for row in rows]
    parts = [f"{checked.now} against {checked.then}", *map(printable, checked.marks)]
    parts += [
        f"the canary takes {ratio:.3f} times as long as then on {printable(target)}"
        for target, ratio in checked.canaries.items()
    ]
    return "\n".join(parts) + "\n\n" + columns(CHECK_HEAD, shown)


def csv_text(compared: Compared) -> str:
    """A row for each network and target; whole numbers in ns and bytes, shares from 0 to 1."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(FIELDS)
    for cell in compared.cells:
        row = _csv_row(cell, compared.baseline)
        writer.writerow([printable(v) if isinstance(v, str) else v for v in row])
    return written.getvalue()


def _csv_row(cell: Cell, baseline: str) -> list[object]:
    against = cell.against
    figures = (
        (against.ratio, against.low, against.high, against.verdict, against.reason)
        if against
        else (None,) * 5
    )
    return [
        cell.network, cell.target, baseline, cell.failure, cell.latency_ns, cell.low_ns,
        cell.high_ns, len(cell.medians_ns), *figures, cell.load_ns, cell.first_ns,
        cell.peak_bytes, cell.size_bytes, cell.error, cell.asked_precision,
        cell.actual_precision, cell.asked_unit, cell.actual_unit, cell.fallback_share,
        "; ".join(cell.flags),
    ]  # fmt: skip


def _sentences(compared: Compared, beside: Beside | None) -> list[str]:
    said = rank_sentences(compared.rank_changes)
    if beside is not None and not beside.lines:
        said.append("nothing is published about these networks")
    elif beside is not None and not beside.correlations:
        said.append(f"no source published {FEWEST} of these networks: no rank correlation")
    return said


def rank_sentences(changes: Sequence[RankChange]) -> list[str]:
    """A sentence for each pair of networks whose order depends on the target."""
    return [
        f"{c.first} is faster than {c.second} on {' and '.join(c.first_faster_on)}, "
        f"slower on {' and '.join(c.second_faster_on)}"
        for c in changes
    ]


def _head(compared: Compared) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in compared.versions.items())
    return (
        f"{compared.device.description}; {versions}; {compared.created}. "
        f"Ratios are to {compared.baseline}, in rounds of the same laps."
    )


def _tables(compared: Compared, beside: Beside | None) -> list[Table]:
    found: list[Table] = [
        ("Latency", SPEED_HEAD, [_speed(c) for c in compared.cells]),
        ("Price", PRICE_HEAD, [_price(c) for c in compared.cells if not c.failure]),
    ]
    if beside is None:
        return found
    targets = compared.targets
    ranks = [
        (
            _what(c.this_device),
            c.device,
            c.compiler,
            str(len(c.networks)),
            *(_rho(c.spearman[t]) for t in targets),
        )
        for c in beside.correlations
    ]
    head = ("what it is", "device", "compiler", "networks", *targets)
    if ranks:
        found.append(("Rank correlation (Spearman) of ours with published latencies", head, ranks))
    figures = [
        (
            line.published.network,
            _what(line.this_device),
            line.published.device,
            line.published.compiler,
            f"{line.published.latency_ms:g} ms",
            line.published.certainty,
            *(_latency(line.ours_ns.get(t)) for t in targets),
            line.published.source,
        )
        for line in beside.lines
    ]
    ours = tuple(f"ours: {t}" for t in targets)
    head = (
        "network",
        "what it is",
        "device",
        "compiler",
        "published",
        "certainty",
        *ours,
        "source",
    )
    if figures:
        found.append(("Published latencies, which are not ours", head, figures))
    return found


def _speed(cell: Cell) -> tuple[str, ...]:
    if cell.latency_ns is None or cell.low_ns is None or cell.high_ns is None:
        return (cell.network, cell.target, "failed", "", "", "", "", "", cell.failure)
    reason = [cell.against.reason] if cell.against and cell.against.reason else []
    return (
        cell.network,
        cell.target,
        latency(cell.latency_ns),
        bounds(cell.low_ns, cell.high_ns),
        str(len(cell.medians_ns)),
        *(_against(cell.against) if cell.against else ("", "", "baseline")),
        ", ".join([*cell.flags, *reason]),
    )


def _against(found: Against) -> tuple[str, str, str]:
    if found.ratio is None:
        return ("", "", found.verdict)
    return (f"{found.ratio:.3f}", f"{found.low:.3f}-{found.high:.3f}", found.verdict)


def _price(cell: Cell) -> tuple[str, ...]:
    fallback = "not told" if cell.fallback_share is None else f"{100 * cell.fallback_share:.1f} %"
    return (
        cell.network,
        cell.target,
        _latency(cell.load_ns),
        _latency(cell.first_ns),
        _bytes(cell.peak_bytes),
        _bytes(cell.size_bytes),
        "not compared" if cell.error is None else f"{cell.error:.0e}",
        cell.asked_precision,
        cell.actual_precision,
        cell.asked_unit,
        cell.actual_unit,
        fallback,
    )


def _latency(ns: int | None) -> str:
    return "none" if ns is None else latency(ns)


def _bytes(count: int | None) -> str:
    return "not told" if count is None else f"{size(count)}B"


def _what(this_device: bool) -> str:
    return THIS_DEVICE if this_device else OTHER_DEVICE


def _rho(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _escaped(cell: str) -> str:
    """As it stands, whatever Markdown or HTML would make of it."""
    plain = "".join(MARKS.get(c, c) for c in printable(cell))
    return re.sub(r"[`*\[\]~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", plain)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *[[_escaped(c) for c in row] for row in rows]]
    lines[0] = [_escaped(c) for c in head]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
