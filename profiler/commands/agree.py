"""`agree`: our latency beside the one of the runtime's own tool."""

from __future__ import annotations

import argparse
import sys

from profiler import agreement, devices, formats, workloads
from profiler.commands import (
    DONE,
    FAILED,
    emit,
    export_all,
    open_store,
    print_failures,
    require_runtime,
)
from profiler.errors import UsageError, WorkloadFailed
from profiler.exporting import Request
from profiler.progress import Display
from profiler.types import Failure
from reports.text import columns, latency


def run_agree(options: argparse.Namespace) -> int:
    """Measure in turns with each runtime's own tool."""
    targets = [devices.target(text) for text in options.on]
    for target in targets:
        require_runtime(target)
        if not agreement.has_tool(target):
            raise UsageError(f"opclock knows no tool of {target.runtime}'s own")
    found = [w for name in options.models for w in workloads.resolve(name)]
    rows, failures, problems = [], [], []
    with open_store(options) as store, Display() as display:
        requests = {
            f"{w.key} {t}": Request(w, formats.executed_by(t)) for w in found for t in targets
        }
        built = export_all(store, requests, display, options.limit, options.memory)
        failures = [b for b in built.values() if isinstance(b, Failure)]
        for workload in found:
            for target in targets:
                artifact = built[f"{workload.key} {target}"]
                if isinstance(artifact, Failure):
                    continue
                display.stage(f"{workload.name} on {target.runtime}")
                try:
                    rows.append(
                        agreement.agree(
                            store, workload, artifact, target, options.count, display.update
                        )
                    )
                except WorkloadFailed as error:
                    problems.append(str(error))
    record = {
        "agreements": [{**_plain(row), "ratio": row.ratio} for row in rows],
        "failures": failures,
        "problems": problems,
    }
    emit(options, record, _text(rows))
    for problem in problems:
        print(f"failed: {problem}", file=sys.stderr)
    if failures:
        return print_failures(failures)
    return FAILED if problems else DONE


def _plain(row: agreement.Agreement) -> dict[str, object]:
    return {
        "name": row.name,
        "target": row.target,
        "ours_ns": row.ours_ns,
        "theirs_ns": row.theirs_ns,
    }


def _text(rows: list[agreement.Agreement]) -> str:
    lines = [
        (
            row.name,
            row.target,
            ", ".join(latency(n) for n in row.ours_ns),
            ", ".join(latency(n) for n in row.theirs_ns),
            f"{row.ratio:.3f}",
        )
        for row in rows
    ]
    return columns(("name", "target", "opclock", "the runtime's own tool", "ratio"), lines)
