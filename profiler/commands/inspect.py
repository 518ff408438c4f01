"""`inspect`: what artifacts hold, side by side."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from profiler import formats, inspection, plugins, workloads
from profiler.commands import DONE, FAILED, emit, export_all, open_store
from profiler.errors import UsageError
from profiler.exporting import Request
from profiler.inspection import SOURCE, Inspected, Unreadable
from profiler.operators import CATEGORIES, by_category
from profiler.progress import Display
from profiler.types import Artifact, Failure
from reports.text import columns, size


def run_inspect(options: argparse.Namespace) -> int:
    """Print the structure of artifacts, or of models in several formats."""
    files = {t: Path(t) for t in options.things if _is_file(t)}
    wanted: dict[str, tuple[str, Sequence[str]]] = {
        t: (str(p), inspection.formats_of(p)) for t, p in files.items()
    }
    models = [t for t in options.things if t not in files]
    if files and options.format:
        raise UsageError("--format is for models; a file has its format")
    failures: list[Failure] = []
    with contextlib.ExitStack() as opened:
        if models:
            store = opened.enter_context(open_store(options))
            display = opened.enter_context(Display())
            requests = _requests(models, options)
            built = export_all(store, requests, display, options.limit, options.memory)
            failures = [r for r in built.values() if isinstance(r, Failure)]
            made = {k: r for k, r in built.items() if isinstance(r, Artifact)}
            wanted |= {k: (a.path, (a.format.name,)) for k, a in made.items()}
        found = inspection.read(wanted)
    good = [f for f in found.values() if isinstance(f, Inspected)]
    bad = [f for f in found.values() if isinstance(f, Unreadable)]
    record = {"inspected": good, "unreadable": bad, "failures": failures}
    emit(options, record, _text(good) if good else "nothing could be read")
    for failure in failures:
        print(
            f"failed: {failure.workload.name}, {failure.target}: {failure.message}", file=sys.stderr
        )
    for one in bad:
        print(f"failed: {one.name}: {one.message}", file=sys.stderr)
    return FAILED if bad or failures else DONE


def _is_file(thing: str) -> bool:
    """A model by name has no file's ending; .onnx and .pt2 without --format are artifacts."""
    suffixes = {plugins.load("exporters", n).SUFFIX for n in plugins.names("exporters")}
    return Path(thing).exists() or any(thing.endswith(s) for s in suffixes)


def _requests(models: Sequence[str], options: argparse.Namespace) -> dict[str, Request]:
    """Every model in torch's own form first, then in each format that is asked for."""
    texts = dict.fromkeys([SOURCE, *(options.format or ["onnx"])])
    made_as = {text: formats.parse(text) for text in texts}
    return {
        _column(workload.name, text, len(models)): Request(workload, wanted)
        for name in models
        for workload in workloads.resolve(name, options.batch)
        for text, wanted in made_as.items()
    }


def _column(name: str, text: str, models: int) -> str:
    return text if models == 1 else f"{name} {text}"


def _text(found: Sequence[Inspected]) -> str:
    parts = [_facts(found), _categories(found)]
    parts += [_operators(f) for f in found]
    for one in found:
        parts += [f"{one.name}: {s}" for s in (*one.structure.notes, *one.verdicts)]
    source = next((f for f in found if f.format == SOURCE), None)
    for one in found:
        if source and one is not source and one.format != "aoti":
            against = "; ".join(inspection.against_source(source.structure, one.structure))
            parts.append(f"{one.name} against torch's graph: {against}")
    return "\n".join(parts)


def _facts(found: Sequence[Inspected]) -> str:
    rows = []
    for one in found:
        held = one.structure
        weights = ", ".join(f"{size(n)} {k}" for k, n in held.weights.items())
        macs = "not in the file" if held.macs is None else size(held.macs)
        rows.append(
            (
                one.name,
                one.format,
                f"{size(one.size_bytes)}B",
                held.precision,
                size(held.parameters),
                macs,
                weights,
                ", ".join(held.inputs),
                ", ".join(held.outputs),
            )
        )
    head = (
        "what",
        "format",
        "size",
        "precision",
        "parameters",
        "MACs",
        "holds",
        "inputs",
        "outputs",
    )
    return columns(head, rows) + "\n"


def _categories(found: Sequence[Inspected]) -> str:
    counts = [inspection.counts(f.structure) for f in found]
    rows = [
        (category, *[str(c[category] or "") for c in counts])
        for category in CATEGORIES
        if any(c[category] for c in counts)
    ]
    rows.append(("operators in all", *[str(sum(c.values())) for c in counts]))
    return columns(("operators by kind", *[f.name for f in found]), rows) + "\n"


def _operators(one: Inspected) -> str:
    lines = [f"{one.name}:"]
    for category, members in by_category(one.structure.operators).items():
        lines.append(f"  {category}: " + ", ".join(f"{n} {c}" for n, c in members.items()))
    for category, members in by_category(one.structure.delegated).items():
        listed = ", ".join(f"{n} {c}" for n, c in members.items())
        lines.append(f"  inside delegates, {category}: {listed}")
    return "\n".join(lines)
