"""`observations`: what the paper saw on one telephone, put to each target."""

from __future__ import annotations

import argparse

from profiler import observations
from profiler.commands import DONE, emit, open_store, print_failures
from profiler.commands.bench import open_targets, open_trial
from profiler.progress import Display
from profiler.types import Failure
from reports import experiments as report


def run_observations(options: argparse.Namespace) -> int:
    """Measure what the observations ask for on each target, and judge."""
    found = {}
    failures: list[Failure] = []
    targets = open_targets(options)
    with open_store(options) as store, Display() as display:
        for target in targets:
            trial = open_trial(options, store, display, target)
            found[str(target)] = observations.observe(trial)
            failures += trial.failures
    apart = observations.disagreements(found)
    record = {"targets": found, "apart": apart, "failures": failures}
    emit(options, record, report.answers(found, apart))
    return print_failures(failures) if failures else DONE
