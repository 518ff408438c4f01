"""Whether a table can be trusted: its closure in numbers, figures and words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from profiler.tables.table import SOURCES, Closure, LatencyTable, Network
from reports import charts, html
from reports.html import Cell, Figure
from reports.text import fixed, latency

# Roles of networks: what they are called, in the colours that they have.
CLOSURE, REFERENCE, CHECKED = "closure: took no part", "reference: sets the scale", "checked later"
RELEASED = "released: exported whole"
ROLES = {
    CLOSURE: charts.COLOURS[0],
    REFERENCE: charts.COLOURS[2],
    RELEASED: charts.COLOURS[3],
    CHECKED: charts.COLOURS[5],
}
WHOLE = (
    " The released network went through the exporter whole, as its users' does; all others are "
    "composed of the table's own blocks."
)
HOVER = {
    "network": "network",
    "predicted_text": "predicted",
    "measured_text": "measured",
    "error_text": "error",
    "repeats": "repeats to",
    "group": "role",
}
HEAD = ("network", "role", "predicted (ms)", "measured (ms)", "error (%)", "repeats to (%)")
Roled = tuple[str, Network]


def roled(table: LatencyTable) -> list[Roled]:
    """A table's own networks with their roles."""
    found = [(CLOSURE, n) for n in table.closure_networks]
    found += [(REFERENCE, n) for n in table.references]
    return found + [(RELEASED, n) for n in table.released]


def closure_figures(closure: Closure | None) -> str:
    """What a closure is, and its figures; or that there is none."""
    if closure is None:
        return """<p>This table has no closure: no network apart from it was measured, so
the error of its predictions is unknown.</p>"""
    return f"""<p>Random networks that took no part in making the table were measured too:
its closure. An error is how far the prediction lies from the measured latency, in percent of
the latter; a part of it is the scatter of the measuring.</p>
{figures_of(closure)}"""


def figures_of(closure: Closure) -> str:
    """A closure's figures as cards."""
    return html.cards(
        (
            ("Mean error", f"{closure.mape_percent:.2f} %", "mean of the absolute errors (MAPE)"),
            ("95th percentile", f"{closure.p95_percent:.2f} %", "of the absolute errors"),
            ("Largest error", f"{closure.max_percent:.2f} %", "the worst network"),
            ("Bias", f"{_signed(closure.bias_percent)} %", "mean error; + predicts too long"),
            ("Order, Spearman", _rank(closure.spearman), "1: networks ranked exactly as measured"),
            ("Order, Kendall", _rank(closure.kendall), "the same, by pairs of networks"),
            ("Networks", str(closure.networks), f"drawn at random, seed {closure.seed}"),
            (
                "Repeatability",
                f"{closure.repeatability_percent:.2f} %",
                "scatter between the rounds",
            ),
        )
    )


def pictures(networks: Sequence[Roled], command: str) -> str:
    """Predicted against measured, the errors, and the networks one by one."""
    if not networks:
        return ""
    rows = [_row(role, n) for role, n in networks]
    present = {role: ROLES[role] for role in ROLES if any(r == role for r, _ in networks)}
    parts = [
        html.chart(
            charts.agreement(rows, present, HOVER),
            "Each network's predicted over its measured latency; on the line the two are equal. "
            "References set one factor of the table, so they are no test of it."
            + (WHOLE if RELEASED in present else ""),
            command,
            "Predicted against measured latency",
        ),
        html.chart(
            charts.errors(rows, present, HOVER),
            "The same as errors: how far each prediction lies from its measurement.",
            command,
            "Errors of the predictions",
        ),
        html.data_table("Networks, predicted and measured", HEAD, [_cells(*n) for n in networks]),
    ]
    return "\n".join(parts)


def _row(role: str, network: Network) -> dict[str, Any]:
    return {
        "network": network.architecture,
        "group": role,
        "predicted": network.predicted_ns / 1e6,
        "measured": network.measured_ns / 1e6,
        "error": network.error_percent,
        "predicted_text": latency(network.predicted_ns),
        "measured_text": latency(network.measured_ns),
        "error_text": f"{_signed(network.error_percent)} %",
        "repeats": f"{network.repeatability_percent:.2f} %",
    }


def _cells(role: str, network: Network) -> Sequence[Cell]:
    times = [Figure(fixed(ns / 1e6, 3), ns) for ns in (network.predicted_ns, network.measured_ns)]
    error, repeats = network.error_percent, network.repeatability_percent
    shares = [Figure(_signed(error), error), Figure(fixed(repeats, 2), repeats)]
    return [network.architecture, role, *times, *shares]


def table_facts(table: LatencyTable) -> dict[str, Any]:
    """What a table is and where it comes from."""
    provenance = table.provenance
    sources = [e.source for e in table.entries.values()]
    counts = ", ".join(f"{sources.count(s)} {s}" for s in SOURCES if s in sources)
    scales = ", ".join(f"{k} {v:.4f}" for k, v in table.family_scales.items())
    return {
        "Family of networks": table.space,
        "Target": table.target,
        "Device": table.device.get("description", ""),
        "Version of the runtime": table.runtime_version,
        "Batch": table.batch if table.batch != 1 else "",
        "Created": table.created,
        "Entries": f"{len(sources)}: {counts}",
        "Overhead of a call": f"{table.overhead_ns / 1e6:.4f} ms",
        "Scale": f"{table.scale:.4f}, a factor on all entries ({len(table.references)} references)",
        "Scales of families": scales,
        "Processes": provenance.get("processes", ""),
        "Speed of the processes": _speeds(provenance.get("process_speed_range")),
        "Workloads that failed": len(provenance.get("failures", ())),
        "Version of opclock": provenance.get("opclock", ""),
    }


def _speeds(bounds: Sequence[float] | None) -> str:
    if not bounds:
        return ""
    fast, slow = (_signed(100 * (b - 1)) for b in (bounds[0], bounds[-1]))
    return f"{fast} % to {slow} % around the typical latency; divided out"


def method(table: LatencyTable) -> str:
    """How a table came about, in five sentences."""
    evicted = html.mapping(table.provenance.get("protocol")).get("evict_bytes")
    chains = "Chains are timed with whatever the caches hold."
    if evicted:
        chains = f"""Chains with weights are timed with the caches emptied before each sample
({evicted >> 20} MiB of other memory are read), as a whole network's other weights empty them."""
    margin = "the intervals of its entries"
    if table.closure:
        rms = f"{table.closure.rms_percent:.2f} %"
        margin = f"twice the root mean square error of the closure ({rms}), or {margin} if wider"
    return f"""<ol>
<li>All chains of blocks and all networks are timed in rounds of fresh processes, in shuffled
order, and a round yields the median of its samples.</li>
<li>{chains}</li>
<li>Some processes are faster than others in everything they run: that speed is divided out, and a
latency is the median over the rounds of what remains.</li>
<li>An entry is what one more block adds to a chain, from slopes and differences of chains, with a
95 % interval from resampling the processes.</li>
<li>A prediction is the overhead of a call and the scaled sum of its entries, its interval to
each side {margin}; closure networks took no part in entries or scale.</li>
</ol>"""


def failures(lines: Iterable[Any]) -> str:
    """What could not be measured; nothing where all could."""
    items = "\n".join(f"<li>{escape(str(line))}</li>" for line in lines)
    if not items:
        return ""
    return f"""<p>These workloads failed; the results above do without them.</p>
<ul>\n{items}\n</ul>"""


def _signed(percent: float) -> str:
    return fixed(percent, 2, "+")


def _rank(value: float | None) -> str:
    return "not defined" if value is None else fixed(value, 4)
