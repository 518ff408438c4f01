"""`baseline`: a comparison kept in a file, and measured again later."""

from __future__ import annotations

import argparse
import dataclasses

from profiler import baseline, comparison, environment, laps, workloads
from profiler.baseline import Baseline
from profiler.commands import DONE, emit, open_store, print_failures, probe
from profiler.commands.compare import judged, wanted
from profiler.comparison import Compared
from profiler.laps import Contest
from profiler.progress import Display
from profiler.types import Protocol, Target, Workload
from reports import comparison as report


def run_baseline_save(options: argparse.Namespace) -> int:
    """Measure, print, and keep the result."""
    targets, networks = wanted(options)
    probe(options.file)
    rules = comparison.rules(len(targets) * len(networks), options.limit, options.count)
    compared = _measure(options, networks, targets, rules, options.again)
    kept = Baseline(
        models=tuple(options.models),
        batch=options.batch,
        shapes=dict(options.shape),
        compared=compared,
        environment=environment.describe(),
    )
    baseline.save(kept, options.file)
    emit(options, kept, report.text(compared))
    return print_failures(compared.failures) if compared.failures else DONE


def run_baseline_check(options: argparse.Namespace) -> int:
    """Measure anew what a baseline holds; earlier rounds do not count."""
    kept = baseline.load(options.file)
    marked = baseline.marks(kept, options.force)
    if options.output:
        probe(options.output)
    targets = laps.named([name.partition(" #")[0] for name in kept.compared.targets])
    found = [w for m in kept.models for w in workloads.resolve(m, kept.batch, kept.shapes)]
    rules = dataclasses.replace(kept.compared.protocol, limit_s=options.limit)
    if options.count is not None:
        rules = dataclasses.replace(rules, min_rounds=options.count, max_rounds=options.count)
    fresh = _measure(options, laps.distinct(found), targets, rules, again=True)
    checked = baseline.check(kept, fresh, marked)
    emit(options, checked, report.checked_text(checked))
    verdicts = {f"{r.network} on {r.target}": r.against for r in checked.rows}
    code = judged(verdicts, comparison.slower(verdicts, options.fail_on), options.fail_on)
    return print_failures(fresh.failures) if fresh.failures else code


def _measure(
    options: argparse.Namespace,
    networks: list[Workload],
    targets: dict[str, Target],
    rules: Protocol,
    again: bool,
) -> Compared:
    with open_store(options) as store, Display() as display:
        return comparison.compare_targets(
            Contest(
                store,
                networks,
                targets,
                next(iter(targets)),
                rules,
                seed=options.seed,
                budget_s=options.budget,
                again=again,
                on_stage=display.stage,
                on_progress=display.update,
            )
        )
