"""The matrix as Markdown and CSV: no empty cell, and a reason in every cell that failed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.matrix import Cell, Matrix, Run
from reports.text import size

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
FIELDS = (
    "network",
    "format",
    "converted",
    "reason",
    "target",
    "p50_ns",
    "relative_error",
    "parameters",
    "model_parameters",
    "operators",
    "delegated",
    "macs",
    "size_bytes",
    "export_ns",
    "notes",
)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the matrix comes from."""

    command: str
    machine: str
    versions: Mapping[str, str]


def placed(out: Path, text: str) -> str:
    """The text between the marks of an existing file, or alone where there is none."""
    if out.is_file():
        before, begin, rest = out.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            return f"{before}{BEGIN}\n\n{text}\n{END}{after}"
    return f"{BEGIN}\n\n{text}\n{END}\n"


def markdown(matrix: Matrix, head: Head) -> str:
    """Counts, conversions, latencies, then every failure with its whole reason."""
    versions = ", ".join(f"{name} {version}" for name, version in head.versions.items())
    parts = [
        f"`{head.command}` on {head.machine}, with {versions}.",
        _summary(matrix),
        "### Conversion",
        "Operators in the artifact, multiply-adds, seconds of conversion (two exports at a time). "
        "Weights are random and none is zero; the weights that arrived are counted against the "
        "model's.",
        _conversions(matrix),
    ]
    if matrix.targets:
        parts += [
            "### Latency on this machine",
            "Milliseconds, median of about twenty samples in one process, one thread, and after "
            "it the largest error against torch's float32 output as a share of its largest value. "
            "A survey: `opclock measure` gives a latency with an interval.",
            _latencies(matrix),
        ]
    phones = _notes(matrix)
    if phones:
        parts += ["### NNAPI", "What ONNX Runtime's checker says of the form made for it.", phones]
    parts += ["### What failed, and why", _failures(matrix)]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(_escaped(c) for c in line) + " |" for line in lines)


def _portable(message: str) -> str:
    """A message without the place where this machine keeps its packages."""
    return re.sub(r"/\S*/site-packages/", "", message)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _summary(matrix: Matrix) -> str:
    rows = []
    for name in matrix.formats:
        cells = [c for c in matrix.cells if c.format == name]
        converted = [c for c in cells if c.artifact]
        runs: dict[str, list[Run]] = {}
        for cell in cells:
            for target, run in cell.runs.items():
                runs.setdefault(target, []).append(run)
        ran = "; ".join(
            f"{target}: {sum(not r.failure for r in found)} of {len(cells)}"
            for target, found in runs.items()
        )
        seconds = sum(c.artifact.export_ns for c in converted if c.artifact) / 1e9
        rows.append(
            (
                name,
                f"{len(converted)} of {len(cells)}",
                f"{seconds:.0f} s",
                ran or f"not run here ({matrix.elsewhere.get(name, 'not asked for')})",
            )
        )
    return _table(("format", "converted", "in all", "runs"), rows)


def _by_network(matrix: Matrix) -> dict[str, dict[str, Cell]]:
    found: dict[str, dict[str, Cell]] = {n: {} for n in matrix.networks}
    for cell in matrix.cells:
        found[cell.network][cell.format] = cell
    return found


def _conversions(matrix: Matrix) -> str:
    rows = [
        (name, *[_converted(cells[f]) for f in matrix.formats])
        for name, cells in _by_network(matrix).items()
    ]
    return _table(("network", *matrix.formats), rows)


def _converted(cell: Cell) -> str:
    if cell.artifact is None:
        return f"failed ({cell.failure.partition(':')[0]})"
    held = cell.artifact.structure
    inside = f" + {sum(held.delegated.values())}" if held.delegated else ""
    macs = "" if held.macs is None else f", {size(held.macs)}"
    seconds = cell.artifact.export_ns / 1e9
    return f"{sum(held.operators.values())}{inside} op{macs}, {seconds:.1f} s"


def _latencies(matrix: Matrix) -> str:
    rows = []
    for name, cells in _by_network(matrix).items():
        runs = {t: r for cell in cells.values() for t, r in cell.runs.items()}
        rows.append((name, *[_ran(runs.get(t)) for t in matrix.targets]))
    return _table(("network", *matrix.targets), rows)


def _ran(run: Run | None) -> str:
    if run is None:
        return "not converted"
    if run.p50_ns is None:
        return f"failed ({run.failure.partition(':')[0]})"
    error = "not compared" if run.relative_error is None else f"{run.relative_error:.0e}"
    return f"{run.p50_ns / 1e6:.2f} ({error})"


def _notes(matrix: Matrix) -> str:
    rows = []
    for cell in matrix.cells:
        if cell.artifact and "nnapi" in cell.format:
            found = [n for n in cell.artifact.structure.notes if n.startswith("NNAPI")]
            rows.append((cell.network, found[0].removeprefix("NNAPI: ") if found else "no verdict"))
        elif "nnapi" in cell.format:
            rows.append((cell.network, "not converted"))
    return _table(("network", "worth a try on NNAPI"), rows) if rows else ""


def _failures(matrix: Matrix) -> str:
    lines = [
        f"- {c.network}, {c.format}: {_escaped(_portable(c.failure))}"
        for c in matrix.cells
        if c.failure
    ]
    lines += [
        f"- {c.network}, {target}: {_escaped(_portable(run.failure))}"
        for c in matrix.cells
        for target, run in c.runs.items()
        if run.failure
    ]
    return "\n".join(lines) or "Nothing failed."


def csv_text(matrix: Matrix) -> str:
    """One row per network, format and target; a format that runs nowhere here has one row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for cell in matrix.cells:
        runs = cell.runs or {"": Run(failure=matrix.elsewhere.get(cell.format, ""))}
        for target, run in runs.items():
            writer.writerow(_row(cell, target, run))
    return text.getvalue()


def _row(cell: Cell, target: str, run: Run) -> list[object]:
    made = cell.artifact
    held = made.structure if made else None
    return [
        cell.network,
        cell.format,
        "yes" if made else "no",
        _portable(cell.failure or run.failure),
        target or "not run here",
        run.p50_ns,
        None if run.relative_error is None else f"{run.relative_error:.2g}",
        held.parameters if held else None,
        made.model_parameters if made else None,
        sum(held.operators.values()) if held else None,
        sum(held.delegated.values()) if held else None,
        held.macs if held else None,
        made.size_bytes if made else None,
        made.export_ns if made else None,
        "; ".join(held.notes) if held else None,
    ]
