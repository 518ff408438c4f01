"""`matrix`: every network through every format and every runtime that runs here."""

from __future__ import annotations

import argparse
import json

from profiler import devices, environment, formats, matrix, plugins, workloads
from profiler.commands import DONE, FAILED, export_all, made, open_store, probe, require_runtime
from profiler.encoding import to_json
from profiler.progress import Display
from profiler.store import write_whole
from profiler.types import Artifact
from reports import matrix as report


def run_matrix(options: argparse.Namespace) -> int:
    """Convert, run and write down."""
    for out in (options.output, options.csv):
        if out:
            probe(out)
    names = options.networks or [
        n.name for n in plugins.load("benchmarks.models", "papers").NETWORKS
    ]
    found = [w for name in names for w in workloads.resolve(name)]
    wanted = options.formats or matrix.default_formats()
    for text in wanted:
        formats.parse(text)
    texts = matrix.default_targets(wanted) if options.on is None else options.on
    targets = [devices.target(text) for text in texts]
    for target in targets:
        require_runtime(target)
    recall = not options.again
    with open_store(options) as store, Display() as display:
        requests = matrix.requests(found, wanted)
        built = export_all(store, requests, display, options.limit, options.memory, recall)
        surveyed = matrix.survey(
            store, found, wanted, targets, built, recall, display.stage, display.update
        )
    made_as = [formats.parse(text) for text in wanted]
    head = report.Head(
        command=made(options)["command"],
        machine=environment.host().description,
        versions=matrix.versions(made_as),
    )
    text = report.markdown(surveyed, head)
    if options.csv:
        rows = report.csv_text(surveyed)
        write_whole(options.csv, lambda path: path.write_text(rows))
    if options.output:
        whole = report.placed(options.output, text)
        write_whole(options.output, lambda path: path.write_text(whole))
    print(json.dumps(to_json(surveyed), indent=1) if options.json else text)
    failed = [c for c in surveyed.cells if not isinstance(c.artifact, Artifact)]
    failed += [c for c in surveyed.cells if any(r.failure for r in c.runs.values())]
    return FAILED if failed else DONE
