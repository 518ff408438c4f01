"""`bench`: alternatives of an operator, in context and alone."""

from __future__ import annotations

import argparse
import math
from typing import Any

from profiler import bench, devices, experiments
from profiler.bench import Trial
from profiler.commands import (
    DONE,
    emit,
    open_store,
    print_failures,
    probe,
    require_runtime,
)
from profiler.encoding import to_json
from profiler.progress import Display
from profiler.store import Store
from profiler.types import Failure, Target
from reports import experiments as report


def run_bench(options: argparse.Namespace) -> int:
    """Measure every alternative of an experiment on each target."""
    cases = experiments.cases(options.name, dict(options.axis))
    targets = open_targets(options)
    results = []
    failures: list[Failure] = []
    with open_store(options) as store, Display() as display:
        for target in targets:
            trial = open_trial(options, store, display, target)
            results.append(bench.run(trial, cases, roof=not options.no_roofline))
            failures += trial.failures
    record = without_nan(
        {"experiment": options.name, "results": to_json(results), "failures": to_json(failures)}
    )
    emit(options, record, report.results(results))
    return print_failures(failures) if failures else DONE


def open_targets(options: argparse.Namespace) -> list[Target]:
    """The targets that were asked for, each once. Raises when one cannot run here."""
    targets = list(dict.fromkeys(str(devices.target(text)) for text in options.on))
    found = [devices.target(text) for text in targets]
    for target in found:
        require_runtime(target)
    if options.output:
        probe(options.output)
    return found


def open_trial(
    options: argparse.Namespace, store: Store, display: Display, target: Target
) -> Trial:
    """Where experiments are measured, as the command line describes it."""
    return Trial(
        store,
        target,
        rounds=options.count or bench.ROUNDS,
        seed=options.seed,
        limit_s=options.limit,
        budget_s=options.budget,
        again=options.again,
        on_stage=lambda stage: display.stage(f"{target.runtime}: {stage}"),
        on_progress=display.update,
    )


def without_nan(value: Any) -> Any:
    """The same with None for what is not a number, which JSON does not know."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
