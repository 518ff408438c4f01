"""The demonstration as one HTML page: readable by who has never heard of opclock, sufficient
without a network, a script or a second file."""

from __future__ import annotations

from html import escape

from profiler.tables.demo import Demonstration
from profiler.tables.table import Closure, LatencyTable, Network
from profiler.types import Breakdown, BreakdownRow
from reports import html, plots, trust
from reports.html import Row
from reports.text import MINUS, fixed, milliseconds

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
    title = f"{name}: latency predicted from a table, and measured"
    return html.page(title, "\n".join(s for s in sections if s))


# Sections ---------------------------------------------------------------------------------------


def _summary(demo: Demonstration, name: str) -> str:
    table, foretold, found = demo.table, demo.prediction, demo.network
    low, high = foretold.low_ns, foretold.high_ns
    side = "above" if found.error_percent > 0 else "below"
    within = "inside" if low <= found.measured_ns <= high else "outside"
    doubt = "" if foretold.validated else " (from the table alone: no closure has confirmed it)"
    return f"""<header>
<h1>{escape(name)}: predicted and measured</h1>
<p class="headline">{escape(name)} was predicted to take
<strong>{milliseconds(foretold.latency_ns)} ms</strong> (95 % interval {milliseconds(low)} to
{milliseconds(high)} ms{doubt}) and measured to take
<strong>{milliseconds(found.measured_ns)} ms</strong>: the prediction is
<strong>{abs(found.error_percent):.2f} %</strong> {side} the measurement, which lies {within} the
interval.</p>
<p>These are times for one image on {escape(table.device.get("description", "this device"))}. The
prediction was made without running the network: opclock measures how long the building blocks
of a family of networks take on a device, keeps these latencies in a table, and adds up those of
the blocks that a network consists of. This page shows how good such sums are, where the time
goes, and how both were found.</p>
</header>"""


def _closure(closure: Closure | None) -> str:
    figures = trust.closure_figures(closure)
    return f"<section>\n<h2>How good the table is</h2>\n{figures}\n</section>"


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
{html.grouped_table(head, [((), rows)], note)}
</section>"""


def _network(line: Network, role: str, name: str) -> Row:
    times = (_ms(line.predicted_ns), _ms(line.measured_ns))
    shares = (_percent(line.error_percent), fixed(line.repeatability_percent, 2))
    return (escape(name), *times, *shares, role)


def _breakdown(parts: Breakdown, name: str) -> str:
    total = parts.total_ns
    explained = sum(r.time_ns for r in parts.rows)
    sign = MINUS if parts.unattributed_ns < 0 else "+"
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
{html.grouped_table(head, groups, note, foot)}
<p>Not rounded: {explained:,} ns (rows) {sign} {abs(parts.unattributed_ns):,} ns (unattributed) =
{total:,} ns (measured).</p>
</section>"""


def _part(row: BreakdownRow, total_ns: int) -> Row:
    return (
        f"<code>{escape(row.name)}</code>",
        str(row.count),
        _ms(row.time_ns),
        fixed(100 * row.time_ns / total_ns, 1),
        escape(row.attribution.replace("-", " ")),
        escape(KINDS.get(row.kind, row.kind)),
    )


def _sum(label: str, time_ns: int, total_ns: int) -> Row:
    return (escape(label), "", _ms(time_ns), fixed(100 * time_ns / total_ns, 1), "", "")


def _table_facts(demo: Demonstration) -> str:
    shares = ", ".join(f"{100 * v:.1f} % {k}" for k, v in demo.prediction.coverage.items())
    rests = {"Prediction rests on": f"{shares} entries, by time" if shares else ""}
    shown = html.facts({**trust.table_facts(demo.table), **rests})
    return f"<section>\n<h2>The table</h2>\n{shown}\n</section>"


def _method(table: LatencyTable) -> str:
    return f"<section>\n<h2>How it was measured</h2>\n{trust.method(table)}\n</section>"


def _environment(table: LatencyTable) -> str:
    shown = html.environment(table.provenance.get("environment"))
    return f"<section>\n<h2>Environment</h2>\n{shown}\n</section>" if shown else ""


def _failures(table: LatencyTable) -> str:
    shown = trust.failures(table.provenance.get("failures", ()))
    return f"<section>\n<h2>What could not be measured</h2>\n{shown}\n</section>" if shown else ""


def _ms(ns: float) -> str:
    return fixed(ns / 1e6, 3)


def _percent(value: float) -> str:
    return fixed(value, 2, "+")
