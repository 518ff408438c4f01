"""The demonstration as one HTML page: readable by who has never heard of opclock, sufficient
without a network, a script or a second file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from profiler.tables.demo import Demonstration
from profiler.tables.table import SOURCES, Closure, LatencyTable, Network
from profiler.types import Breakdown, BreakdownRow
from reports import plots

Row = Sequence[str]

KINDS = {
    "stem": "two strided 3x3 convolutions, from the image to the first map",
    "embedding": "strided 3x3 convolution that leads to the next stage: half the side, other width",
    "embedding_from_tokens": "tokens folded back to a map, then the convolution to the next stage",
    "mb4d": "block on a map: pooling and two 1x1 convolutions (MB4D)",
    "flat": "reordering of the map into tokens",
    "mb3d": "block on tokens: attention and two dense layers (MB3D)",
    "head": "normalisation, mean over tokens and the classifiers",
    "overhead": "what a call costs before any block runs",
}

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #f3f4f6;
  --line: #d4d7dc; --dim: #565b63; --mark: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #15171a; --soft: #22262b;
  --line: #3b4048; --dim: #a9b0ba; --mark: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 56rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
p, li, figcaption { max-width: 44rem; overflow-wrap: anywhere; }
small, figcaption, caption, .note { color: var(--dim); font-size: .9rem; }
.headline { font-size: 1.2rem; border-left: .3rem solid var(--mark); padding: .1rem 0 .1rem .9rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(8.5rem, 22%), 1fr));
  gap: .6rem; margin: 1rem 0; }
.figures div { background: var(--soft); border-radius: .4rem; padding: .55rem .75rem; }
.figures dt { font-size: .85rem; color: var(--dim); }
.figures dd { margin: 0; font-size: 1.3rem; font-weight: 600; line-height: 1.3; }
.figures small { display: block; font-size: .78rem; font-weight: 400; }
figure { margin: 1rem 0; }
figure svg { display: block; width: 100%; max-width: 36rem; height: auto; background: #fff;
  border-radius: .4rem; border: 1px solid var(--line); padding: .3rem; margin-bottom: .4rem; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
.scroll { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption, th, td { padding: .32rem .7rem; text-align: left; vertical-align: top; }
tr + tr > *, tbody, tfoot { border-top: 1px solid var(--line); }
th[scope=row] { font-weight: 400; white-space: nowrap; }
th[scope=rowgroup] ~ td, tfoot th[scope=row], tfoot td { font-weight: 600; }
thead th, th[scope=rowgroup], th[scope=rowgroup] ~ td { background: var(--soft); }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
@media screen and (max-width: 45rem) { td { white-space: nowrap; } }
.facts th[scope=row] { width: 38%; color: var(--dim); white-space: normal; }
.facts td { overflow-wrap: anywhere; white-space: normal; }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #f3f3f3;
  --line: #bbb; --dim: #444; }
  html { font-size: 10pt; } body { max-width: none; padding: 0; } .scroll { overflow: visible; }
  h2 { break-after: avoid; } figure, tr, .figures div { break-inside: avoid; } }
"""

# The policy makes a browser refuse whatever the page would load from elsewhere, scripts included.
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")


def render(demo: Demonstration) -> str:
    """The whole page, in ASCII, so that no server or viewer can read its letters wrongly.

    Raises MissingPackage when matplotlib is not there to draw the figures.
    """
    name = f"EfficientFormer-{demo.network.architecture.upper()}"
    sections = (
        _summary(demo, name),
        _closure(demo.table.closure),
        _networks(demo, name),
        _breakdown(demo.parts, name),
        _table_facts(demo),
        _method(demo.table),
        _environment(demo.table),
        _failures(demo.table),
    )
    title = escape(f"{name}: latency predicted from a table, and measured")
    page = PAGE.substitute(title=title, style=STYLE, body="\n".join(s for s in sections if s))
    return page.encode("ascii", "xmlcharrefreplace").decode()


# Sections ---------------------------------------------------------------------------------------


def _summary(demo: Demonstration, name: str) -> str:
    table, foretold, found = demo.table, demo.prediction, demo.network
    low, high = foretold.low_ns, foretold.high_ns
    side = "above" if found.error_percent > 0 else "below"
    within = "inside" if low <= found.measured_ns <= high else "outside"
    doubt = "" if foretold.validated else " (from the table alone: no closure has confirmed it)"
    return f"""<header>
<h1>{escape(name)}: predicted and measured</h1>
<p class="headline">{escape(name)} was predicted to take <strong>{_short(foretold.latency_ns)}
ms</strong> (95 % interval {_short(low)} to {_short(high)} ms{doubt}) and measured to take
<strong>{_short(found.measured_ns)} ms</strong>: the prediction is
<strong>{abs(found.error_percent):.2f} %</strong> {side} the measurement, which lies {within} the
interval.</p>
<p>These are times for one image on {escape(table.device.get("description", "this device"))}. The
prediction was made without running the network: opclock measures how long the building blocks
of a family of networks take on a device, keeps these latencies in a table, and adds up those of
the blocks that a network consists of. This page shows how good such sums are, where the time
goes, and how both were found.</p>
</header>"""


def _closure(closure: Closure | None) -> str:
    head = "<section>\n<h2>How good the table is</h2>\n"
    if closure is None:
        return f"""{head}<p>This table has no closure: no network apart from it was measured, so
the error of its predictions is unknown.</p>\n</section>"""
    figures = (
        ("Mean error", f"{closure.mape_percent:.2f} %", "mean of the absolute errors (MAPE)"),
        ("95th percentile", f"{closure.p95_percent:.2f} %", "of the absolute errors"),
        ("Largest error", f"{closure.max_percent:.2f} %", "the worst network"),
        ("Bias", f"{_signed(closure.bias_percent)} %", "mean error, signed; + predicts too long"),
        ("Order, Spearman", _rank(closure.spearman), "1: networks ranked exactly as measured"),
        ("Order, Kendall", _rank(closure.kendall), "the same, by pairs of networks"),
        ("Networks", str(closure.networks), f"drawn at random, seed {closure.seed}"),
        ("Repeatability", f"{closure.repeatability_percent:.2f} %", "scatter between the rounds"),
    )
    cards = "\n".join(
        f"<div><dt>{label}</dt><dd>{value}<small>{escape(note)}</small></dd></div>"
        for label, value, note in figures
    )
    return f"""{head}<p>Random networks that took no part in making the table were measured too:
its closure. An error is how far the prediction lies from the measured latency, in percent of
the latter; a part of it is the scatter of the measuring.</p>
<dl class="figures">\n{cards}\n</dl>\n</section>"""


def _networks(demo: Demonstration, name: str) -> str:
    table = demo.table
    lines = [(n, "closure") for n in table.closure_networks]
    lines += [(n, "reference") for n in table.references]
    lines.sort(key=lambda line: line[0].measured_ns)
    rows = [_network(demo.network, "exported whole", name)]
    rows += [_network(n, role, n.architecture) for n, role in lines]
    note = """The closure and the references by measured latency. An architecture is written as the
widths of its four stages / the numbers of blocks in them / how many of the last blocks use
attention. Repeatability: scatter of a network's own rounds."""
    head = ("Network", "Predicted (ms)", "Measured (ms)", "Error (%)", "Repeatability (%)", "Role")
    return f"""<section>
<h2>Predicted against measured</h2>
<figure>
{plots.agreement(table, demo.network, name)}
<figcaption>Figure 1. Above, each network's predicted over its measured latency; on the line the
two are equal. Below, the same as errors. {escape(name)} was exported from timm as a whole; the
others are composed of the blocks. Reference networks set one common factor of the table, so they
are no test of it; closure networks are. Grey: within 3 % of the measured latency.</figcaption>
</figure>
{_table(head, [((), rows)], note)}
</section>"""


def _network(line: Network, role: str, name: str) -> Row:
    times = (_ms(line.predicted_ns), _ms(line.measured_ns))
    shares = (_signed(line.error_percent), _fixed(line.repeatability_percent, 2))
    return (escape(name), *times, *shares, role)


def _breakdown(parts: Breakdown, name: str) -> str:
    total = parts.total_ns
    explained = sum(r.time_ns for r in parts.rows)
    sign = plots.MINUS if parts.unattributed_ns < 0 else "+"
    groups = []
    for stage, rows in plots.grouped(parts):
        kept = [r for r in rows if r.attribution != plots.REMAINDER]
        opening = _sum(stage, sum(r.time_ns for r in kept), total)
        groups.append((opening, [_part(r, total) for r in kept]))
    foot = [
        _sum("Sum of the rows", explained, total),
        _sum("+ unattributed", parts.unattributed_ns, total),
        _sum("= measured", total, total),
    ]
    head = ("Block", "Count", "Time (ms)", "Share (%)", "Known from", "What it is")
    note = """Times of all blocks of a row together, shares of the measured latency. Measured in
context: from chains of blocks, as what one more of it adds. Interpolated: between widths that
were measured."""
    return f"""<section>
<h2>Where the time goes</h2>
<figure>
{plots.bars(parts, name)}
<figcaption>Figure 2. The measured latency by block, in the order of the network. A block is
written as kind / side of its map, or number of tokens / channels. Unattributed is what the table
does not explain; it is negative where the table predicts more than was measured.</figcaption>
</figure>
{_table(head, groups, note, foot)}
<p>Not rounded: {explained:,} ns (rows) {sign} {abs(parts.unattributed_ns):,} ns (unattributed) =
{total:,} ns (measured).</p>
</section>"""


def _part(row: BreakdownRow, total_ns: int) -> Row:
    return (
        f"<code>{escape(row.name)}</code>",
        str(row.count),
        _ms(row.time_ns),
        _fixed(100 * row.time_ns / total_ns, 1),
        escape(row.attribution.replace("-", " ")),
        escape(KINDS.get(row.kind, row.kind)),
    )


def _sum(label: str, time_ns: int, total_ns: int) -> Row:
    return (escape(label), "", _ms(time_ns), _fixed(100 * time_ns / total_ns, 1), "", "")


def _table_facts(demo: Demonstration) -> str:
    table, provenance = demo.table, demo.table.provenance
    sources = [e.source for e in table.entries.values()]
    counts = ", ".join(f"{sources.count(s)} {s}" for s in SOURCES if s in sources)
    shares = ", ".join(f"{100 * v:.1f} % {k}" for k, v in demo.prediction.coverage.items())
    facts = {
        "Family of networks": table.space,
        "Target": table.target,
        "Device": table.device.get("description", ""),
        "Version of the runtime": table.runtime_version,
        "Created": table.created,
        "Entries": f"{len(sources)}: {counts}",
        "Prediction rests on": f"{shares} entries, by time" if shares else "",
        "Overhead of a call": f"{table.overhead_ns / 1e6:.4f} ms",
        "Scale": f"{table.scale:.4f}, a factor on all entries ({len(table.references)} references)",
        "Processes": provenance.get("processes", ""),
        "Speed of the processes": _speeds(provenance.get("process_speed_range")),
        "Workloads that failed": len(provenance.get("failures", ())),
        "Version of opclock": provenance.get("opclock", ""),
    }
    return f"<section>\n<h2>The table</h2>\n{_facts(facts)}\n</section>"


def _speeds(bounds: Sequence[float] | None) -> str:
    if not bounds:
        return ""
    fast, slow = (_signed(100 * (b - 1)) for b in (bounds[0], bounds[-1]))
    return f"{fast} % to {slow} % around the typical latency; divided out"


def _method(table: LatencyTable) -> str:
    evicted = _mapping(table.provenance.get("protocol")).get("evict_bytes")
    chains = "Chains are timed with whatever the caches hold."
    if evicted:
        chains = f"""Chains with weights are timed with the caches emptied before each sample
({evicted >> 20} MiB of other memory are read), as a whole network's other weights empty them."""
    margin = "the intervals of its entries"
    if table.closure:
        rms = f"{table.closure.rms_percent:.2f} %"
        margin = f"twice the root mean square error of the closure ({rms}), or {margin} if wider"
    return f"""<section>
<h2>How it was measured</h2>
<ol>
<li>All chains of blocks and all networks are timed in rounds of fresh processes, in shuffled
order, and a round yields the median of its samples.</li>
<li>{chains}</li>
<li>Some processes are faster than others in everything they run: that speed is divided out, and a
latency is the median over the rounds of what remains.</li>
<li>An entry is what one more block adds to a chain, from slopes and differences of chains, with a
95 % interval from resampling the processes.</li>
<li>A prediction is the overhead of a call and the scaled sum of its entries, its interval to
each side {margin}; closure networks took no part in entries or scale.</li>
</ol>
</section>"""


def _environment(table: LatencyTable) -> str:
    environment = _mapping(table.provenance.get("environment"))
    hardware, packages = (_mapping(environment.get(k)) for k in ("hardware", "packages"))
    if not hardware and not packages:
        return ""
    return f"""<section>
<h2>Environment</h2>
{_facts(dict(_plain(k, v) for k, v in hardware.items()), "Hardware and system")}
{_facts(packages, "Versions of packages")}
</section>"""


def _plain(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, Mapping):
        value = ", ".join(f"{k} {v}" for k, v in value.items())
    if name == "memory_bytes" and value is not None:
        name, value = "memory", f"{value / 2**30:.1f} GiB"
    return name, "unknown" if value is None else value


def _failures(table: LatencyTable) -> str:
    lines = table.provenance.get("failures", ())
    if not lines:
        return ""
    items = "\n".join(f"<li>{escape(str(line))}</li>" for line in lines)
    return f"""<section>
<h2>What could not be measured</h2>
<p>These workloads failed; the results above do without them.</p>
<ul>\n{items}\n</ul>
</section>"""


# Pieces -----------------------------------------------------------------------------------------


def _table(
    head: Row, groups: Iterable[tuple[Row, Iterable[Row]]], note: str, foot: Iterable[Row] = ()
) -> str:
    """A table in a container of its own, which scrolls where it is too wide; cells are HTML.

    Columns of numbers are those whose heading gives a unit in brackets, or is a count.
    """
    numbers = [h.endswith(")") or h == "Count" for h in head]
    lines = ["<thead>", _row(head, numbers, 'th scope="col"'), "</thead>"]
    for opening, rows in groups:
        first = [_row(opening, numbers, 'th scope="rowgroup"')] if opening else []
        body = [_row(r, numbers, 'th scope="row"') for r in rows]
        lines += ["<tbody>", *first, *body, "</tbody>"]
    closing = [_row(r, numbers, 'th scope="row"') for r in foot]
    lines += ["<tfoot>", *closing, "</tfoot>"] if closing else []
    text = "\n".join(lines)
    return f"""<p class="note">{note}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Table: {escape(head[0])}">
<table>
{text}
</table>
</div>"""


def _row(cells: Row, numbers: Sequence[bool], first: str) -> str:
    kind = first if "col" in first else "td"
    tags = [first, *(kind for _ in cells[1:])]
    flush = [' class="n"' if number else "" for number in numbers]
    parts = [
        f"<{tag}{right}>{cell}</{tag[:2]}>"
        for tag, cell, right in zip(tags, cells, flush, strict=True)
    ]
    return f"<tr>{''.join(parts)}</tr>"


def _facts(facts: Mapping[str, Any], caption: str = "") -> str:
    """Names and values, those without a value left out; both are escaped here."""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(k)}</th><td>{escape(str(v))}</td></tr>'
        for k, v in facts.items()
        if v != ""
    )
    title = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    return f'<div class="scroll">\n<table class="facts">\n{title}{rows}\n</table>\n</div>'


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _ms(ns: float) -> str:
    return _fixed(ns / 1e6, 3)


def _short(ns: float) -> str:
    """Milliseconds with four significant digits, for sentences."""
    return f"{ns / 1e6:#.4g}"


def _fixed(value: float, digits: int, sign: str = "") -> str:
    # Adding zero turns a rounded -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", plots.MINUS)


def _signed(percent: float) -> str:
    return _fixed(percent, 2, "+")


def _rank(value: float | None) -> str:
    return "not defined" if value is None else _fixed(value, 4)
