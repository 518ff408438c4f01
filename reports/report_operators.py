"""Sections of a report about operators: what alternatives cost, and whether observations hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from profiler.experiments import WITHOUT, Cost, Line
from profiler.observations import CONFIRMED, REFUTED, UNDECIDED, Answer, Finding
from reports import charts, html
from reports.experiments import operators
from reports.html import Figure, Section
from reports.runs import Benched, Observed, Run
from reports.text import bounds, fixed, latency, short_targets, size

VERDICTS = {
    CONFIRMED: charts.COLOURS[2],
    REFUTED: charts.COLOURS[5],
    UNDECIDED: charts.COLOURS[6],
}
BENCH_HEAD = (
    "alternative", "target", "in context (us)", "from (us)", "to (us)", "operator (us)",
    "alone (us)", "ratio", "verdict", "operators", "MACs", "bytes", "of the roof (%)", "notes",
)  # fmt: skip
OBSERVED_HEAD = (
    "observation", "target", "verdict", "check", "ratio", "from", "to", "expected", "so it is",
    "notes",
)  # fmt: skip


def bench(run: Run, anchor: str) -> Section:
    """What alternatives of an operator cost inside a network."""
    benched: Benched = run.content
    short = short_targets([r.target for r in benched.results])
    lines = [(short[r.target], line) for r in benched.results for line in r.lines]
    bars = [_bar(target, line) for target, line in lines if line.unit]
    series = list(short.values())
    question = f"What does each {benched.experiment.replace('_', ' ')} cost?"
    if not bars:
        return Section(anchor, question, ("Nothing was measured.",), "")
    hover = {"label": "alternative", "series": "target", "text": "cost", "interval": "95 %"}
    spec = charts.bars(bars, "time of one unit in a network (us)", series, hover)
    drawn = html.chart(
        spec,
        "What one more unit adds to a chain of them, with its 95 % interval.",
        run.command,
        f"Costs of {benched.experiment}",
    )
    rows = [_bench_cells(target, line) for target, line in lines]
    listed = html.data_table(f"Alternatives of {benched.experiment}", BENCH_HEAD, rows)
    answers = tuple(_cheapest(short[r.target], r.lines) for r in benched.results)
    return Section(anchor, question, tuple(a for a in answers if a), f"{drawn}\n{listed}")


def _label(line: Line) -> str:
    axes = ", ".join(f"{k} {v}" for k, v in line.parameters.items())
    return f"{line.name} ({axes})" if axes else line.name


def _bar(target: str, line: Line) -> dict[str, Any]:
    cost = line.unit
    assert cost
    return {
        "label": _label(line),
        "series": target,
        "value": cost.ns / 1e3,
        "low": cost.low_ns / 1e3,
        "high": cost.high_ns / 1e3,
        "text": latency(cost.ns),
        "interval": bounds(cost.low_ns, cost.high_ns),
    }


def _cheapest(target: str, lines: Sequence[Line]) -> str:
    # The unit without its operator is no alternative.
    costs = [(line.unit.ns, line) for line in lines if line.unit and line.name != WITHOUT]
    if not costs:
        return ""
    ns, line = min(costs, key=lambda c: c[0])
    return (
        f"On {escape(target)} the cheapest is <strong>{escape(_label(line))}</strong> "
        f"({latency(ns)})."
    )


def _bench_cells(target: str, line: Line) -> list[html.Cell]:
    found = line.comparison
    ratio = found.ratio if found and found.ratio == found.ratio else None
    notes = list(line.notes)
    if line.skipped or line.failure:
        notes = [f"skipped: {line.skipped}" if line.skipped else f"failed: {line.failure}"]
    elif found and found.reason:
        notes.append(found.reason)
    share = None if line.roof is None else 100 * line.roof.share
    low, high = (line.unit.low_ns, line.unit.high_ns) if line.unit else (None, None)
    return [
        _label(line),
        target,
        *(_us(ns) for ns in (_ns(line.unit), low, high, _ns(line.operator), _ns(line.alone))),
        Figure("" if ratio is None else f"{ratio:.3f}", ratio),
        found.verdict if found else "",
        operators(line),
        Figure("" if line.macs is None else size(line.macs), line.macs),
        Figure("" if line.bytes_moved is None else f"{size(line.bytes_moved)}B", line.bytes_moved),
        Figure("" if share is None else f"{share:.0f}", share),
        ", ".join(notes),
    ]


def _ns(cost: Cost | None) -> float | None:
    return cost.ns if cost else None


def _us(ns: float | None) -> Figure:
    return Figure("" if ns is None else fixed(ns / 1e3, 2), ns)


# Observations -----------------------------------------------------------------------------------


def observations(run: Run, anchor: str) -> Section:
    """Whether the paper's observations hold."""
    observed: Observed = run.content
    short = short_targets(list(observed.targets))
    rows = [
        _dot(short[target], answer, finding)
        for target, answers in observed.targets.items()
        for answer in answers
        for finding in answer.findings
        if finding.ratio and finding.low and finding.high and finding.low > 0
    ]
    parts = [_verdicts(observed.targets, short)]
    if rows:
        present = {v: c for v, c in VERDICTS.items() if any(r["group"] == v for r in rows)}
        hover = {"says": "check", "target": "target", "expects": "expected", "value": "ratio"}
        spec = charts.dots(
            rows, "cost over that of the alternative (ratio)", present,
            {**hover, "interval": "interval", "group": "so it is", "rounds": "rounds"},
        )  # fmt: skip
        parts.append(
            html.chart(
                spec,
                "Each check of each observation: how many times as much the first costs as the "
                "second, in context. Right of the line is slower.",
                run.command,
                "Checks of the observations",
            )
        )
    cells = [
        _finding_cells(short[target], answer, finding)
        for target, answers in observed.targets.items()
        for answer in answers
        for finding in answer.findings
    ]
    parts.append(html.data_table("Every check", OBSERVED_HEAD, cells))
    if observed.apart:
        items = "".join(f"<li>{escape(s)}</li>" for s in observed.apart)
        parts.append(f"<p>Where targets lie apart:</p>\n<ul>{items}</ul>")
    answered = tuple(_counted(short[t], answers) for t, answers in observed.targets.items())
    return Section(anchor, "Do the observations hold?", answered, "\n".join(parts))


def _counted(target: str, answers: Sequence[Answer]) -> str:
    counts = Counter(a.verdict for a in answers)
    said = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])
    return f"Of {len(answers)} observations on {escape(target)}: <strong>{said}</strong>."


def _verdicts(found: Mapping[str, Sequence[Answer]], short: Mapping[str, str]) -> str:
    """What each observation says, what the paper saw, and the verdict on each target."""
    first = next(iter(found.values()), ())
    rows: list[list[html.Cell]] = [
        [
            f"{answer.number}. {answer.statement}",
            answer.paper,
            *(_verdict_of(answers, answer.number) for answers in found.values()),
        ]
        for answer in first
    ]
    return html.data_table(
        "The observations and what each target says",
        ("observation", "the paper saw", *short.values()),
        rows,
    )


def _verdict_of(answers: Sequence[Answer], number: int) -> str:
    return next((a.verdict for a in answers if a.number == number), "")


def _dot(target: str, answer: Answer, finding: Finding) -> dict[str, Any]:
    return {
        "label": f"{answer.number}. {finding.says} ({target})",
        "says": finding.says,
        "target": target,
        "group": finding.verdict,
        "expects": finding.expects,
        "value": finding.ratio,
        "low": finding.low,
        "high": finding.high,
        "interval": f"{finding.low:.3f}-{finding.high:.3f}",
        "rounds": finding.rounds,
    }


def _finding_cells(target: str, answer: Answer, finding: Finding) -> list[html.Cell]:
    numbers = (finding.ratio, finding.low, finding.high)
    return [
        str(answer.number),
        target,
        answer.verdict,
        finding.says,
        *(Figure("" if n is None else f"{n:.3f}", n) for n in numbers),
        finding.expects,
        finding.verdict,
        finding.reason,
    ]
