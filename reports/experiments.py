"""Experiments and observations as text: a table for each target, one across targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from profiler.bench import Result
from profiler.experiments import Cost, Line
from profiler.observations import Answer, Finding
from profiler.operators import CATEGORIES, by_category
from reports.text import bounds, columns, latency, size

COST_HEAD = (
    "alternative", "in context", "95 %", "operator", "95 %", "alone", "ratio", "95 %", "verdict",
    "notes",
)  # fmt: skip
ROOF_HEAD = ("alternative", "MACs", "bytes", "MACs/byte", "of the roof", "which is")


def results(found: Sequence[Result]) -> str:
    """Every target's table, then what each exporter made of every alternative."""
    parts = [_result(r) for r in found]
    return "\n\n".join([*parts, _made_of(found)])


def _result(result: Result) -> str:
    constant = _constant(result.lines)
    costs = [(_label(x, constant), *_costs(x)) for x in result.lines]
    sizes = [(_label(x, constant), *_sizes(x)) for x in result.lines if x.unit]
    tables = [_filled(COST_HEAD, costs), _filled(ROOF_HEAD, sizes)]
    return "\n".join(
        x for x in (_title(result, constant), tables[0], _roof(result), tables[1]) if x
    )


def _filled(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table without the columns in which nothing stands."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return columns([head[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _constant(lines: Sequence[Line]) -> dict[str, object]:
    """The axes that have one value in all lines that have them."""
    values: dict[str, dict[object, None]] = {}
    for line in lines:
        for axis, value in line.parameters.items():
            values.setdefault(axis, {})[value] = None
    return {axis: next(iter(found)) for axis, found in values.items() if len(found) == 1}


def _title(result: Result, constant: Mapping[str, object]) -> str:
    experiment = result.lines[0].case.partition(".")[0] if result.lines else ""
    axes = ", ".join(f"{axis} {value}" for axis, value in constant.items())
    return f"{experiment} on {result.target}" + (f"; {axes}" if axes else "")


def _label(line: Line, constant: Mapping[str, object]) -> str:
    """The alternative with the axes that vary: `tokens, resolution 7`."""
    varying = [f"{a} {v}" for a, v in line.parameters.items() if a not in constant]
    return ", ".join([line.name, *varying])


def _roof(result: Result) -> str:
    roof = result.roofline
    if roof is None:
        return ""
    return (
        f"roofline: {size(roof.macs_per_s)}MAC/s ({roof.product}), "
        f"{size(roof.bytes_per_s)}B/s ({roof.copy}), ridge at {roof.ridge:.3g} MACs/byte"
    )


def _costs(line: Line) -> tuple[str, ...]:
    verdict = line.comparison
    known = verdict if verdict and verdict.verdict != "UNUSABLE" else None
    notes = list(line.notes) or [verdict.reason if verdict else ""]
    if line.skipped or line.failure:
        notes = [f"skipped: {line.skipped}" if line.skipped else f"failed: {line.failure}"]
    return (
        *_cost(line.unit),
        *_cost(line.operator),
        latency(line.alone.ns) if line.alone else "",
        f"{known.ratio:.3f}" if known else "",
        f"{known.low:.3f}-{known.high:.3f}" if known else "",
        verdict.verdict if verdict else "",
        ", ".join(n for n in notes if n),
    )


def _sizes(line: Line) -> tuple[str, ...]:
    """Multiply-adds, bytes, and where that lies under the roof."""
    place = line.roof
    return (
        "" if line.macs is None else size(line.macs),
        "" if line.bytes_moved is None else f"{size(line.bytes_moved)}B",
        f"{place.macs_per_byte:.3g}" if place else "",
        f"{100 * place.share:.0f} %" if place else "",
        place.bound if place else "",
    )


def _cost(cost: Cost | None) -> tuple[str, str]:
    if cost is None:
        return "", ""
    if cost.low_ns < 0:
        return latency(cost.ns), f"{latency(cost.low_ns)} to {latency(cost.high_ns)}"
    return latency(cost.ns), bounds(cost.low_ns, cost.high_ns)


def _made_of(found: Sequence[Result]) -> str:
    """A row for each alternative: the operators that each target's exporter made of it."""
    constant = _constant([line for result in found for line in result.lines])
    rows = [
        (_label(same[0], constant), *[operators(line) for line in same])
        for same in zip(*[r.lines for r in found], strict=True)
    ]
    return (
        "what each exporter made of the operator, or of its unit where none stands without it\n"
        + columns(("alternative", *[_short(r.target) for r in found]), rows)
    )


def operators(line: Line) -> str:
    """'5: 2 Mul, 1 Div, ...'; what was replaced has a minus."""
    if line.skipped or line.failure:
        return "skipped" if line.skipped else "failed"
    if not line.operators:
        return "0"
    by_kind = by_category(dict.fromkeys(line.operators, 1))
    order = [n for c in CATEGORIES if c in by_kind for n in by_kind[c]]
    counts = ", ".join(f"{line.operators[n]:.3g} {n}" for n in order)
    return f"{sum(line.operators.values()):.3g}: {counts}"


def _short(target: str) -> str:
    return target.partition(":")[0]


# Observations --------------------------------------------------------------------------------


def answers(found: Mapping[str, Sequence[Answer]], apart: Sequence[str]) -> str:
    """Each observation with what the paper saw and what each target says, then the verdicts."""
    parts = []
    for number, first in enumerate(next(iter(found.values()))):
        rows = [
            (_short(target), said[number].verdict if not place else "", *_finding(finding))
            for target, said in found.items()
            for place, finding in enumerate(said[number].findings)
        ]
        head = ("target", "", "check", "ratio", "interval", "expected", "so it is", "notes")
        parts += [
            f"{first.number}. {first.statement}\n   the paper: {first.paper}\n"
            + columns(head, rows)
        ]
    if len(found) > 1:
        parts.append(_verdicts(found))
    if apart:
        parts.append("\n".join(["where targets lie apart:", *(f"  {s}" for s in apart)]))
    return "\n\n".join(parts)


def _finding(finding: Finding) -> tuple[str, ...]:
    known = finding.ratio is not None
    return (
        finding.says,
        f"{finding.ratio:.3f}" if known else "",
        f"{finding.low:.3f}-{finding.high:.3f}" if known else "",
        finding.expects,
        finding.verdict,
        finding.reason,
    )


def _verdicts(found: Mapping[str, Sequence[Answer]]) -> str:
    first = next(iter(found.values()))
    rows = [(target, *[a.verdict for a in said]) for target, said in found.items()]
    return columns(("target", *[f"{a.number}." for a in first]), rows)
