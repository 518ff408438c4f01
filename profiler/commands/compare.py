"""`compare`: networks on several targets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from profiler import comparison, laps, workloads
from profiler.commands import DONE, FAILED, emit, open_store, print_failures, probe
from profiler.commands.measuring import require_taken
from profiler.comparison import Against, Compared
from profiler.encoding import to_json
from profiler.errors import UnknownName
from profiler.laps import Contest
from profiler.progress import Display
from profiler.store import write_whole
from profiler.types import Target, Workload
from reports import comparison as report
from reports import comparison_plots as plots
from reports.published import beside, published


def run_compare(options: argparse.Namespace) -> int:
    """Measure in laps, print who is faster where, write what was asked for."""
    targets, networks = wanted(options)
    baseline = options.baseline or next(iter(targets))
    if baseline not in targets:
        raise UnknownName("target of this comparison", baseline, targets)
    for out in (options.output, options.csv, options.markdown, options.plot):
        if out:
            probe(out)
    if options.plot:
        plots.check(options.plot)
    with open_store(options) as store, Display() as display:
        contest = Contest(
            store,
            networks,
            targets,
            baseline,
            comparison.rules(len(targets) - 1, options.limit, options.count),
            seed=options.seed,
            budget_s=options.budget,
            again=options.again,
            on_stage=display.stage,
            on_progress=display.update,
        )
        compared = comparison.compare_targets(contest)
    _write(options, compared)
    found = {f"{c.network} on {c.target}": c.against for c in compared.cells if c.against}
    code = judged(found, comparison.slower(found, options.fail_on), options.fail_on)
    return print_failures(compared.failures) if compared.failures else code


def wanted(options: argparse.Namespace) -> tuple[dict[str, Target], list[Workload]]:
    """The targets and networks that a command line names."""
    targets = laps.named([text for texts in options.on for text in texts])
    shapes = dict(options.shape)
    found = [w for m in options.models for w in workloads.resolve(m, options.batch, shapes)]
    require_taken(found, options)
    return targets, laps.distinct(found)


def _write(options: argparse.Namespace, compared: Compared) -> None:
    others = beside(compared, published()) if options.published else None
    if options.csv:
        rows = report.csv_text(compared)
        write_whole(options.csv, lambda path: path.write_text(rows, encoding="utf-8"))
    if options.markdown:
        tables = report.markdown(compared, others)
        write_whole(options.markdown, lambda path: path.write_text(tables, encoding="utf-8"))
    if options.plot:
        plots.draw(compared, options.plot)
    record = {**to_json(compared), "published": others}
    emit(options, record, report.text(compared, others))


def judged(found: Mapping[str, Against], slow: list[str], share: float | None) -> int:
    """The exit code of --fail-on; what could not be judged is said, and fails nothing."""
    if share is None:
        return DONE
    for name in slow:
        print(f"slower by at least {share:.1%}: {name}", file=sys.stderr)
    unsure = [n for n, a in found.items() if a.verdict in ("AMBIGUOUS", "UNUSABLE")]
    for name in unsure:
        print(f"not judged: {name}: {found[name].reason}", file=sys.stderr)
    return FAILED if slow else DONE
