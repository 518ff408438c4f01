"""A table as one page: whether it can be trusted, a figure for each kind of block, every entry."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from typing import Any

from profiler.tables.interpolation import split
from profiler.tables.suspicions import ERROR, Finding
from profiler.tables.table import Entry, LatencyTable
from reports import charts, curves, html, trust
from reports.curves import Family
from reports.html import Cell, Figure
from reports.text import bounds, fixed, latency

# Of small multiples a page shows so many, spread over all of them.
MOST_PANELS = 24
GROUPS = {
    "measured": charts.COLOURS[0],
    "interpolated": charts.COLOURS[3],
    "imported": charts.COLOURS[2],
}
HEAD = (
    "entry", "family", "time (ms)", "from (ms)", "to (ms)", "half width (%)", "known by", "rounds",
    "flags",
)  # fmt: skip
CHANGES = {"reshape and layout": "layout", "conversion": "precision"}
SIZE_HEAD = ("parameters", "MACs", "activations (bytes)", "peak memory (bytes)")


def render(table: LatencyTable, findings: Sequence[Finding], path: str) -> str:
    """The page. `path` is how commands name the table. Raises MissingPackage."""
    page_again = shlex.join(["opclock", "table", "page", path, "-o", "table.html"])
    sections = (
        _head(table, findings),
        _closure(table, path),
        _blocks(table, path),
        _entries(table, path),
        _boundaries(table),
        _findings(findings, path),
        _provenance(table, page_again),
    )
    body = "\n".join(sections)
    scripts = (charts.library(), html.behaviour())
    return html.page(f"{table.space} on {table.target}", body, scripts)


def _head(table: LatencyTable, findings: Sequence[Finding]) -> str:
    closure = table.closure
    said = "no network was measured against it, so its error is not known"
    if closure:
        said = (
            f"predicts {closure.networks} networks that took no part in it to "
            f"<strong>{closure.mape_percent:.2f} %</strong> on average, to "
            f"{closure.max_percent:.2f} % at the worst"
        )
    errors = sum(f.severity == ERROR for f in findings)
    lint = f"{errors} errors and {len(findings) - errors} warnings" if findings else "nothing wrong"
    entries = len(table.entries)
    links = (
        ("closure", "Can it be trusted?"), ("blocks", "Time over width"), ("entries", "Entries"),
        *((("boundaries", "Boundaries"),) if table.boundaries else ()),
        ("lint", "What is wrong"), ("provenance", "Provenance and method"),
    )  # fmt: skip
    return f"""<header>
<h1>Latency table of {escape(table.space)}</h1>
<p class="note">{escape(table.target)}</p>
<p class="headline">A table of {entries:,} entries, taken on
{escape(table.device.get("description", "a device"))}: {said}. Its file has {lint}.</p>
{html.navigation(links)}
</header>"""


def _closure(table: LatencyTable, path: str) -> str:
    command = shlex.join(["opclock", "table", "check", path])
    if table.closure:
        seed, count = str(table.closure.seed), str(table.closure.networks)
        command = shlex.join(["opclock", "table", "check", path, "--seed", seed, "--count", count])
    return f"""<section id="closure">
<h2>Can it be trusted?</h2>
{trust.closure_figures(table.closure)}
{trust.pictures(trust.roled(table), command)}
</section>"""


# Blocks -----------------------------------------------------------------------------------------


def _blocks(table: LatencyTable, path: str) -> str:
    found = curves.families(table)
    if not found:
        return """<section id="blocks"><h2>Time over width</h2>
<p>No kind of block has entries at two widths.</p></section>"""
    shown = "\n".join(_family(f, path) for f in found)
    return f"""<section id="blocks">
<h2>Time over width</h2>
<p>What one more block adds to a network, for each kind of block. Both axes are logarithmic, so
that a time which grows with the square of the width is a straight line; a step is a width beyond
which the engine does more work at once. Bars through the points are 95 % intervals.</p>
{shown}
</section>"""


def _family(family: Family, path: str) -> str:
    names = list(family.panels)
    kept = names
    if len(names) > MOST_PANELS:
        step = (len(names) - 1) / (MOST_PANELS - 1)
        kept = [names[round(i * step)] for i in range(MOST_PANELS)]
    rows = [_point(n, width, e) for n in kept for width, e in family.panels[n]]
    # What was measured is drawn last, above the others.
    rows.sort(key=lambda r: (names.index(r["panel"]), r["group"] == "measured"))
    present = {s: c for s, c in GROUPS.items() if any(r["group"] == s for r in rows)}
    panels = len(names) > 1
    spec = charts.curves(rows, family.axis, panels, present)
    cut = f"{len(kept)} of {len(names)} panels, evenly chosen. " if len(kept) < len(names) else ""
    sources = ", ".join(f"{sum(r['group'] == s for r in rows)} {s}" for s in present)
    out = family.name.replace("/", "-") + ".svg"
    command = ["opclock", "table", "plot", path, "--family", f"{family.name}/", "-o", out]
    caption = f"{cut}{sources}. Joined in the order of width."
    drawn = html.chart(spec, caption, shlex.join(command), f"Time over width: {family.name}")
    return f"<h3>{escape(family.name)}</h3>\n{drawn}"


def _point(panel: str, width: float, entry: Entry) -> dict[str, Any]:
    # A logarithmic axis has no zero: an interval that reaches it ends at a thousandth of the time.
    low = max(entry.low_ns, entry.ns / 1000)
    return {
        "key": entry.key,
        "panel": panel,
        "width": width,
        "value": entry.ns / 1e6,
        "low": low / 1e6,
        "high": entry.high_ns / 1e6,
        "group": entry.source,
        "text": latency(entry.ns),
        "interval": bounds(entry.low_ns, entry.high_ns),
        "rounds": entry.rounds,
    }


# Entries ----------------------------------------------------------------------------------------


def _entries(table: LatencyTable, path: str) -> str:
    sized = any(e.size for e in table.entries.values())
    head = HEAD + (SIZE_HEAD if sized else ())
    rows = [_cells(e, sized) for e in table.entries.values()]
    listed = html.data_table("All entries", head, rows)
    return f"""<section id="entries">
<h2>Entries</h2>
{listed}
{html.again(shlex.join(["opclock", "table", "show", path, "--json"]))}
</section>"""


def _cells(entry: Entry, sized: bool) -> list[Cell]:
    half = 50 * (entry.high_ns - entry.low_ns) / entry.ns
    row: list[Cell] = [
        entry.key,
        split(entry.key)[0],
        *(_ms(ns) for ns in (entry.ns, entry.low_ns, entry.high_ns)),
        Figure(fixed(half, 1), half),
        entry.source,
        Figure(str(entry.rounds), entry.rounds),
        ", ".join(entry.flags),
    ]
    if sized:
        size = entry.size
        counts = (
            (size.parameters, size.macs, size.activation_bytes, size.peak_bytes)
            if size
            else (None,) * 4
        )
        row += [Figure("" if n is None else f"{n:,}", n) for n in counts]
    return row


def _ms(ns: int) -> Figure:
    return Figure(fixed(ns / 1e6, 4), ns)


def _boundaries(table: LatencyTable) -> str:
    if not table.boundaries:
        return ""
    rows: list[list[Cell]] = [
        [
            b.row,
            b.operator,
            CHANGES.get(b.category, b.category),
            Figure(f"{b.count:g}", b.count),
            _ms(b.ns),
            _share(b.ns, table.entries.get(b.row)),
        ]
        for b in table.boundaries
    ]
    head = ("row", "operator", "changes", "times", "time (ms)", "share (%)")
    return f"""<section id="boundaries">
<h2>Boundaries</h2>
<p>Changes of layout and of precision that the engine makes between the operators of a network, in
the rows of two of the networks that fix the table's scale, by the engine's own profiler: how often
a row has them, and what they take of its entry. A prediction adds nothing for them.</p>
{html.data_table("Boundaries", head, rows)}
</section>"""


def _share(ns: int, entry: Entry | None) -> Figure:
    share = 100 * ns / entry.ns if entry else None
    return Figure("" if share is None else fixed(share, 1), share)


# The end ----------------------------------------------------------------------------------------


def _findings(findings: Sequence[Finding], path: str) -> str:
    rows: list[list[str | Figure]] = [
        [Figure(str(f.line or ""), f.line or None), f.severity, f.rule, f.key, f.message]
        for f in findings
    ]
    head = ("line", "severity", "rule", "entry", "what is wrong")
    shown = html.data_table("What is wrong, line by line", head, rows)
    return f"""<section id="lint">
<h2>What is wrong</h2>
{shown or "<p>Nothing: every entry is one that an honest build writes.</p>"}
{html.again(shlex.join(["opclock", "table", "lint", path]))}
</section>"""


def _provenance(table: LatencyTable, command: str) -> str:
    failed = trust.failures(table.provenance.get("failures", ()))
    protocol = html.mapping(table.provenance.get("protocol"))
    measured = html.facts(protocol, "Protocol of the rounds") if protocol else ""
    return f"""<section id="provenance">
<h2>Provenance and method</h2>
{html.facts(trust.table_facts(table))}
{"<h3>What could not be measured</h3>" + failed if failed else ""}
<h3>Method</h3>
{trust.method(table)}
{measured}
{html.environment(table.provenance.get("environment"))}
<p>This page:</p>
{html.again(command)}
</section>"""
