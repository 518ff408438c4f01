"""`breakdown`: where a network's time goes."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import breakdown, dissection, laps, workloads
from profiler.commands import (
    DONE,
    emit,
    export_all,
    open_store,
    print_failures,
    probe,
    require_runtime,
)
from profiler.commands.measuring import require_taken
from profiler.dissection import PROCESSES, PROCESSES_COMPARED, Subject
from profiler.exporting import Request, as_asked
from profiler.progress import Display
from profiler.store import Store, write_whole
from profiler.types import Artifact, Breakdown, Failure, Target, Workload
from reports import breakdown as report
from reports import breakdown_plots as plots

Pair = tuple[Breakdown, Breakdown]


def run_breakdown(options: argparse.Namespace) -> int:
    """Take networks apart, print the parts, write what was asked for."""
    files = [Path(m) for m in options.models if m.endswith(".json")]
    names = [m for m in options.models if not m.endswith(".json")]
    for out in (options.output, options.csv, options.trace, options.plot, options.sunburst):
        if out:
            probe(out)
    for picture in (options.plot, options.sunburst):
        if picture:
            plots.check(picture)
    found = [b for file in files for b in dissection.read(file)]
    failures: list[Failure] = []
    if names:
        taken, failures = _taken_apart(names, options)
        found += taken
    differences = [
        (pair, breakdown.align(*pair, options.by or "module", options.depth, options.force))
        for pair in pairs(found)
    ]
    _write(options, found)
    record = {
        "breakdowns": found,
        "closure": [breakdown.closure(b) for b in found],
        "coverage": [breakdown.coverage(b) for b in found],
        "differences": [
            {"left": report.name_of(a), "right": report.name_of(b), "parts": parts}
            for (a, b), parts in differences
        ],
        "failures": failures,
    }
    view = report.View(options.by or "operator", options.depth, options.sort, options.top)
    texts = [report.text(b, view) for b in found]
    texts += [report.differences_text(*pair, parts, view) for pair, parts in differences]
    emit(options, record, "\n\n".join(texts) or "nothing was taken apart")
    return print_failures(failures) if failures else DONE


def pairs(found: Sequence[Breakdown]) -> list[Pair]:
    """What is compared: two breakdowns, or of more each of a network with its first."""
    if len(found) == 2:
        return [(found[0], found[1])]
    by_network: dict[str, list[Breakdown]] = {}
    for one in found:
        by_network.setdefault(one.workload.key, []).append(one)
    return [(group[0], other) for group in by_network.values() for other in group[1:]]


def _taken_apart(
    names: Sequence[str], options: argparse.Namespace
) -> tuple[list[Breakdown], list[Failure]]:
    targets = laps.named([text for texts in options.on for text in texts])
    for target in targets.values():
        require_runtime(target)
    shapes = dict(options.shape)
    resolved = [w for m in names for w in workloads.resolve(m, options.batch, shapes)]
    require_taken(resolved, options)
    networks = laps.distinct(resolved)
    wanted = {
        f"{w.name} on {name}": (w, target)
        for w, (name, target) in itertools.product(networks, targets.items())
    }
    refused = {n: f for n, (w, t) in wanted.items() if (f := dissection.unavailable(w, t))}
    with open_store(options) as store, Display() as display:
        subjects, failed = _exported(
            store, {n: p for n, p in wanted.items() if n not in refused}, options, display
        )
        display.stage("profiling")
        processes = options.count or (PROCESSES if len(wanted) == 1 else PROCESSES_COMPARED)
        results = dissection.take_apart(
            subjects, processes, options.limit, options.seed, display.update
        )
    results |= {**failed, **refused}
    ordered = [results[n] for n in wanted]
    return (
        [r for r in ordered if isinstance(r, Breakdown)],
        [r for r in ordered if isinstance(r, Failure)],
    )


def _exported(
    store: Store,
    wanted: Mapping[str, tuple[Workload, Target]],
    options: argparse.Namespace,
    display: Display,
) -> tuple[dict[str, Subject], dict[str, Failure]]:
    """The subjects whose artifacts could be made, and the failures of the others."""
    asked = {name: dissection.requests(*pair) for name, pair in wanted.items()}
    requests: dict[str, Request] = {r.recipe: r for both in asked.values() for r in both}
    built = export_all(store, requests, display, max(options.limit, 600.0))
    subjects: dict[str, Subject] = {}
    failures: dict[str, Failure] = {}
    for name, (workload, target) in wanted.items():
        made: list[Any] = [as_asked(workload, built[r.recipe], target) for r in asked[name]]
        failed = [m for m in made if isinstance(m, Failure)]
        artifacts = [m for m in made if isinstance(m, Artifact)]
        if failed:
            failures[name] = failed[0]
        else:
            subjects[name] = Subject(workload, target, artifacts[0], artifacts[1])
    return subjects, failures


def _write(options: argparse.Namespace, found: Sequence[Breakdown]) -> None:
    if options.csv:
        rows = report.csv_text(found)
        write_whole(options.csv, lambda path: path.write_text(rows, encoding="utf-8"))
    if options.trace:
        trace = report.trace_text(found)
        write_whole(options.trace, lambda path: path.write_text(trace, encoding="utf-8"))
    if options.plot and found:
        plots.draw_bars(found, options.plot)
    if options.sunburst and found:
        plots.draw_rings(found, options.sunburst)
