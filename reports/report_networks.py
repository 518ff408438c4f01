"""Sections of a report about whole networks: which compiler wins where, how long they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from profiler.comparison import Cell, Compared
from reports import charts, html
from reports import comparison as words
from reports.html import Figure, Section
from reports.runs import Measured, Run, Timed
from reports.text import bounds, fixed, latency, short_targets, size

SPEEDS = ("network", "target", "latency (ms)", "from (ms)", "to (ms)", "rounds")
PRICES = (
    "load (ms)", "first run (ms)", "memory", "file", "error", "precision: asked", "got",
    "unit: asked", "got", "fallback (%)", "notes",
)  # fmt: skip
COMPARED_HEAD = (*SPEEDS, "ratio", "from", "to", "verdict", *PRICES)
HOVER = {"label": "network", "series": "target", "text": "latency", "interval": "95 %"}


def comparison(run: Run, anchor: str) -> Section:
    """Which compiler wins where."""
    compared: Compared = run.content
    short = short_targets(compared.targets)
    ran = [c for c in compared.cells if c.latency_ns is not None]
    wins, table = _winners(compared, short)
    rows = [_bar(c.network, short[c.target], _times(c), list(c.medians_ns.values())) for c in ran]
    names = [short[t] for t in compared.targets]
    spec = charts.bars(rows, "latency (ms)", names, {**HOVER, "rounds": "rounds (ms)"})
    parts = [
        table,
        html.chart(
            spec,
            "Latency of every network on every target, with its 95 % interval; thin marks are the "
            "medians of single rounds.",
            run.command,
            "Latency by network and target",
        ),
        _ratios(run, compared, short),
        _listed(words.rank_sentences(compared.rank_changes), "The order depends on the target:"),
        html.data_table(
            f"Every network on every target; ratios are to {compared.baseline}",
            COMPARED_HEAD,
            [_compared_cells(c) for c in compared.cells],
        ),
    ]
    failed = len(compared.cells) - len(ran)
    answers = [*wins]
    if compared.rank_changes:
        count = len(compared.rank_changes)
        pairs = "One pair of networks swaps" if count == 1 else f"{count} pairs of networks swap"
        answers.append(f"{pairs} places by target.")
    if failed:
        answers.append(f'<span class="bad">{failed} of {len(compared.cells)} failed.</span>')
    return Section(anchor, "Which compiler wins where?", tuple(answers), "\n".join(parts))


def _winners(compared: Compared, short: Mapping[str, str]) -> tuple[list[str], str]:
    """Sentences about who wins, and a row for each network."""
    rows = []
    won: Counter[str] = Counter()
    for network in compared.networks:
        ran = sorted(
            (c for c in compared.cells if c.network == network and c.latency_ns is not None),
            key=lambda c: c.latency_ns or 0,
        )
        if not ran:
            continue
        won[ran[0].target] += 1
        rows.append(_winner(network, ran, short))
    if len(compared.targets) < 2 or not rows:
        return [f"{len(rows)} networks measured on {escape(', '.join(compared.targets))}."], ""
    said = ", ".join(
        f"<strong>{escape(short[t])}</strong> is fastest for {n}" for t, n in won.most_common()
    )
    head = ("network", "fastest on", "latency (ms)", "next", "takes longer (%)", "beyond intervals")
    return [f"Of {len(rows)} networks, {said}."], html.data_table(
        "The fastest target of each network", head, rows
    )


def _winner(network: str, ran: Sequence[Cell], short: Mapping[str, str]) -> list[html.Cell]:
    first = ran[0]
    best = first.latency_ns or 1
    row: list[html.Cell] = [network, short[first.target], _ms(best)]
    if len(ran) < 2:
        return [*row, "", Figure("", None), ""]
    second = ran[1]
    more = 100 * ((second.latency_ns or best) / best - 1)
    apart = first.high_ns is not None and second.low_ns is not None
    sure = apart and (first.high_ns or 0) < (second.low_ns or 0)
    return [*row, short[second.target], Figure(fixed(more, 1), more), "yes" if sure else "no"]


def _times(cell: Cell) -> list[float]:
    """Latency and interval; a cell that ran without an interval has one of no width."""
    value = cell.latency_ns or 0
    return [value, *(value if ns is None else ns for ns in (cell.low_ns, cell.high_ns))]


def _bar(
    network: str, series: str, times_ns: Sequence[float], samples: Sequence[float]
) -> dict[str, Any]:
    """A bar's row; `times_ns` are a latency and both ends of its interval."""
    value, low, high = times_ns
    return {
        "label": network,
        "series": series,
        "value": rounded(value),
        "low": rounded(low),
        "high": rounded(high),
        "samples": [rounded(s) for s in samples],
        "text": latency(value),
        "interval": bounds(low, high),
        "rounds": samples_text(samples),
    }


def rounded(ns: float) -> float:
    """Milliseconds as exact as anybody draws them."""
    return float(f"{ns / 1e6:.5g}")


def samples_text(values_ns: Iterable[float]) -> str:
    """Samples in milliseconds, as hovering shows them."""
    return ", ".join(f"{v / 1e6:.4g}" for v in values_ns)


def _ratios(run: Run, compared: Compared, short: Mapping[str, str]) -> str:
    rows = [
        {
            "label": c.network,
            "group": short[c.target],
            "value": c.against.ratio,
            "low": c.against.low,
            "high": c.against.high,
            "interval": f"{c.against.low:.3f}-{c.against.high:.3f}",
            "verdict": c.against.verdict,
            "pairs": c.against.pairs,
        }
        for c in compared.cells
        if (found := c.against) and None not in (found.ratio, found.low, found.high)
    ]
    if not rows:
        return ""
    names = [short[t] for t in compared.targets if t != compared.baseline]
    colours = dict(zip(names, charts.COLOURS * len(names), strict=False))
    hover = {"label": "network", "group": "target", "value": "ratio", "interval": "95 %"}
    spec = charts.dots(
        rows,
        f"latency over that on {short[compared.baseline]} (ratio)",
        colours,
        {**hover, "verdict": "verdict", "pairs": "pairs"},
        beside=len(names) > 1,
    )
    return html.chart(
        spec,
        f"How many times as long as on {compared.baseline}, with the 95 % interval of the ratio "
        "in rounds of the same laps. Left of the line is faster.",
        run.command,
        "Ratios to the baseline",
    )


def _compared_cells(cell: Cell) -> list[html.Cell]:
    if cell.latency_ns is None:
        blank: list[html.Cell] = [""] * (len(COMPARED_HEAD) - 4)
        return [cell.network, cell.target, Figure("failed", None), *blank, cell.failure]
    samples = list(cell.medians_ns.values())
    against = cell.against
    numbers = (against.ratio, against.low, against.high) if against else (None,) * 3
    verdict = against.verdict if against else "baseline"
    share = None if cell.fallback_share is None else 100 * cell.fallback_share
    reason = [against.reason] if against and against.reason else []
    return [
        cell.network,
        cell.target,
        _ms(cell.latency_ns, f"rounds (ms): {samples_text(samples)}"),
        _ms(cell.low_ns),
        _ms(cell.high_ns),
        Figure(str(len(samples)), len(samples)),
        *(Figure("" if n is None else f"{n:.3f}", n) for n in numbers),
        verdict,
        _ms(cell.load_ns),
        _ms(cell.first_ns),
        _bytes(cell.peak_bytes),
        _bytes(cell.size_bytes),
        Figure("" if cell.error is None else f"{cell.error:.0e}", cell.error),
        cell.asked_precision,
        cell.actual_precision,
        cell.asked_unit,
        cell.actual_unit,
        Figure("not told" if share is None else f"{share:.1f}", share),
        ", ".join([*cell.flags, *reason]),
    ]


def _ms(ns: float | None, hover: str = "") -> Figure:
    return Figure("" if ns is None else fixed(ns / 1e6, 3), ns, hover)


def _bytes(count: int | None) -> Figure:
    return Figure("" if count is None else f"{size(count)}B", count)


def _listed(sentences: Sequence[str], opening: str) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(s)}</li>" for s in sentences)
    return f"<p>{escape(opening)}</p>\n<ul>{items}</ul>"


# Measurements -----------------------------------------------------------------------------------


def measurement(run: Run, anchor: str) -> Section:
    """How long networks take on one target."""
    measured: Measured = run.content
    verdicts = {a.name: a for a in measured.comparisons}
    rows = [
        {
            **_bar(m.name, measured.target, (m.median_ns, *m.interval_ns), m.medians_ns),
            "label": f"{m.name} #{n + 1}" if _twice(measured, m.name) else m.name,
        }
        for n, m in enumerate(measured.measurements)
    ]
    if not rows:
        return Section(anchor, "How long do they take?", ("Nothing was measured.",), "")
    spec = charts.bars(rows, "latency (ms)", [measured.target], {**HOVER, "rounds": "rounds (ms)"})
    drawn = html.chart(
        spec,
        f"Latency on {measured.target} with its 95 % interval; thin marks are single rounds.",
        run.command,
        "Latency by network",
    )
    head = (*SPEEDS, "first run (ms)", "load (ms)", "error", "ratio", "verdict", "notes")
    cells = [
        _measured_cells(m, measured.target, verdicts.get(m.name)) for m in measured.measurements
    ]
    fastest = min(measured.measurements, key=lambda m: m.median_ns)
    said = f"<strong>{escape(fastest.name)}</strong> takes {latency(fastest.median_ns)}"
    more = f", the fastest of {len(rows)}" if len(rows) > 1 else ""
    table = html.data_table("Networks measured", head, cells)
    return Section(anchor, "How long do they take?", (f"{said}{more}.",), f"{drawn}\n{table}")


def _twice(measured: Measured, name: str) -> bool:
    return sum(m.name == name for m in measured.measurements) > 1


def _measured_cells(timed: Timed, target: str, against: Any) -> list[html.Cell]:
    samples = timed.medians_ns
    ratio = against.ratio if against else None
    reason = [against.reason] if against and against.reason else []
    return [
        timed.name,
        target,
        _ms(timed.median_ns, f"rounds (ms): {samples_text(samples)}"),
        *(_ms(ns) for ns in timed.interval_ns),
        Figure(str(len(samples)), len(samples)),
        _ms(timed.first_ns),
        _ms(timed.load_ns),
        Figure(
            "" if timed.relative_error is None else f"{timed.relative_error:.0e}",
            timed.relative_error,
        ),
        Figure("" if ratio is None else f"{ratio:.3f}", ratio),
        against.verdict if against else "",
        ", ".join([*timed.flags, *reason]),
    ]
