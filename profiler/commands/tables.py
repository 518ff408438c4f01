"""`table build`, `show`, `predict` and `check`."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import devices, spaces
from profiler.commands import DONE, FAILED, emit, open_bench, open_store, print_failures, probe
from profiler.encoding import to_json
from profiler.errors import OpclockError, TableError, UsageError
from profiler.progress import Display
from profiler.tables import build, check, networks, table
from profiler.tables import plan as planning
from profiler.tables.networks import Bench
from profiler.tables.table import LatencyTable
from reports.text import bounds, columns, latency

# A network that was exported whole and is further off was not made of a table's blocks.
FAR_PERCENT = 5.0


def run_table_build(options: argparse.Namespace) -> int:
    """Build a table for each space on each target, and write them."""
    wanted = _places(options)
    for out in wanted.values():
        probe(out)
    code = DONE
    summaries = []
    with open_store(options) as store, Display() as display:
        for (space, on), out in wanted.items():
            try:
                bench = open_bench(options, store, display, space, on)
                built = _built(options, bench)
            except OpclockError as error:
                if len(wanted) == 1:
                    raise
                # The other tables are none the worse for it.
                print(f"failed: {space} on {on}: {error}", file=sys.stderr)
                code = FAILED
                continue
            table.save(built, out)
            summaries.append((out, summary_of(built)))
            code = print_failures(bench.failures) if bench.failures else code
    records = [{"path": str(out), **summary} for out, summary in summaries]
    shown = json.dumps(records[0] if len(wanted) == 1 else records, indent=1)
    print(shown if options.json else "\n\n".join(_say(*pair) for pair in summaries))
    return code


def _places(options: argparse.Namespace) -> dict[tuple[str, str], Path]:
    """Where each table goes: a file named with -o, or one for each in the folder named so."""
    pairs = list(dict.fromkeys(itertools.product(options.space, options.on)))
    if len(pairs) == 1:
        return {pairs[0]: options.output or Path(f"{Path(options.space[0]).stem}.table.json")}
    folder = options.output or Path()
    if folder.is_file():
        raise UsageError(f"{folder} is a file; several tables need a folder with -o")
    named = {(space, on): _file_name(space, on) for space, on in pairs}
    return {pair: folder / name for pair, name in named.items()}


def _file_name(space: str, on: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=]+", "-", f"{Path(space).stem}-{on}") + ".json"


def _built(options: argparse.Namespace, bench: Bench) -> LatencyTable:
    usual = build.BRIEF_CLOSURE_NETWORKS if bench.brief else build.CLOSURE_NETWORKS
    count = usual if options.count is None else options.count
    grid = bench.space.narrowed(dict(options.grid)) if options.grid else bench.space

    def make(rows: list[str], many: bool = False) -> build.Plan:
        released = [] if bench.brief else build.smallest_released(bench.space, rows)
        return build.plan(
            bench,
            rows,
            count,
            grid,
            released,
            estimator=options.estimator,
            beside=options.baselines,
            sizes=not options.no_sizes,
            many=many,
        )

    if not options.full and not options.every:
        return build.build_sampled(bench, make, grid, options.target)
    rows = list(grid.keys) if options.full else planning.chosen(grid, options.every)
    wanted = make(rows)
    if len(wanted.chains) > networks.MANY_CHAINS:
        wanted = make(rows, many=True)
        bench.protocol = networks.for_many(bench.protocol)
    return build.build(bench, wanted)


def summary_of(built: LatencyTable) -> dict[str, Any]:
    """A table's head, its entries only counted."""
    sources = [e.source for e in built.entries.values()]
    record = to_json(built)
    beyond = record["provenance"].get("networks_beyond", [])
    for name in ("entries", "provenance", "references", "closure_networks"):
        record.pop(name)
    counts = {source: sources.count(source) for source in sorted(set(sources))}
    return {**record, "entries": counts, "networks_beyond": beyond}


def _say(out: Path, summary: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{n} {source}" for source, n in summary["entries"].items())
    lines = [
        f"{out}: {summary['space']} on {summary['target']}",
        f"entries: {counts}; overhead {latency(summary['overhead_ns'])}; "
        f"scale {summary['scale']:.3f}",
    ]
    closure = summary["closure"]
    if closure:
        lines.append(closure_line(closure))
    else:
        lines.append("unvalidated: no network was measured against it")
    lines += [released_line(n) for n in summary["released"]]
    if summary["boundaries"]:
        lines.append(boundary_line(summary["boundaries"]))
    beyond = summary["networks_beyond"]
    if beyond:
        lines.append(
            f"{len(beyond)} networks have rows that the table lacks, and took no part: "
            f"{', '.join(beyond[:3])}{' ...' if len(beyond) > 3 else ''}"
        )
    return "\n".join(lines)


def released_line(network: Mapping[str, Any]) -> str:
    """What a network that was exported whole takes beside its prediction, in one sentence."""
    error = network["error_percent"]
    said = (
        f"{network['architecture']} exported whole: predicted {latency(network['predicted_ns'])}, "
        f"measured {latency(network['measured_ns'])}, {error:+.2f} % apart"
    )
    if abs(error) <= FAR_PERCENT:
        return said
    return f"{said}: the blocks are not compiled as they are within it; do not trust this table"


def boundary_line(boundaries: Sequence[Mapping[str, Any]]) -> str:
    """Which changes of layout and precision are within entries, in one sentence."""
    operators = ", ".join(dict.fromkeys(b["operator"] for b in boundaries))
    most = max(boundaries, key=lambda b: int(b["ns"]))
    return (
        f"boundaries within entries: {operators}; at the most {latency(most['ns'])} "
        f"({most['operator']} in {most['row']})"
    )


def closure_line(closure: Mapping[str, Any]) -> str:
    """A closure's figures in one sentence."""
    rho = "" if closure["spearman"] is None else f", Spearman {closure['spearman']:.3f}"
    return (
        f"closure on {closure['networks']} networks (seed {closure['seed']}): "
        f"MAPE {closure['mape_percent']:.2f} %, p95 {closure['p95_percent']:.2f} %, "
        f"largest {closure['max_percent']:.2f} %, bias {closure['bias_percent']:+.2f} %{rho}; "
        f"they repeat to {closure['repeatability_percent']:.2f} %"
    )


def run_table_show(options: argparse.Namespace) -> int:
    """Print a table's head and entries."""
    loaded = table.load(options.table)
    chosen = [e for k, e in loaded.entries.items() if k.startswith(options.family)]
    if options.family and not chosen:
        families = sorted({k.rpartition("/")[0] for k in loaded.entries})
        raise TableError(
            f"no entry begins with {options.family!r}; families: {', '.join(families)}"
        )
    rows = [
        (e.key, latency(e.ns), bounds(e.low_ns, e.high_ns), e.source)
        for e in chosen
        if options.family or e.source == "measured"
    ]
    text = _say(options.table, summary_of(loaded))
    body = columns(("entry", "latency", "95 % interval", "source"), rows)
    record = {**summary_of(loaded), "rows": chosen}
    emit(options, record, f"{text}\n\n{body}")
    return DONE


def _architectures(options: argparse.Namespace, space: Any) -> list[str]:
    """Names given, or the lines of files given."""
    names: list[str] = []
    for name in options.archs:
        path = Path(name)
        if path.is_file():
            try:
                text = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{path} is not a list of architectures: {error}") from error
            names += [line.strip() for line in text.splitlines() if line.strip()]
        else:
            names.append(name)
    for name in names:
        space.parse(name)
    return names


def run_table_predict(options: argparse.Namespace) -> int:
    """Predict networks from a table; nothing is measured."""
    loaded = table.load(options.table)
    space = spaces.load(loaded.space)
    names = _architectures(options, space)
    count = options.count or 0
    names += [space.text(a) for a in space.draw(random.Random(options.seed), count)]
    if not names:
        raise UsageError("no network to predict: name some with --archs, or ask for --count N")
    found = [loaded.predict(n, space.rows(space.parse(n)), fill=options.interpolate) for n in names]
    rows = [
        (
            p.name,
            latency(p.latency_ns),
            bounds(p.low_ns, p.high_ns),
            f"{100 * p.coverage.get('measured', 0):.0f} %",
            "" if p.validated else "unvalidated",
        )
        for p in found
    ]
    head = ("network", "predicted", "95 % interval", "measured entries", "")
    record = {
        "table": str(options.table),
        "target": loaded.target,
        "predictions": [{**to_json(p), "predicted_ns": p.latency_ns} for p in found],
    }
    emit(options, record, f"{loaded.target}\n{columns(head, rows)}")
    return DONE


def run_table_check(options: argparse.Namespace) -> int:
    """Measure networks and compare them with the table."""
    loaded = table.load(options.table)
    on = options.on or loaded.target
    if str(devices.target(on)) != loaded.target and not options.force:
        raise TableError(
            f"the table is for {loaded.target}, not {devices.target(on)}; "
            "--force checks it there all the same"
        )
    if options.output:
        probe(options.output)
    with open_store(options) as store, Display() as display:
        bench = open_bench(options, store, display, loaded.space, on)
        names = _architectures(options, bench.space)
        count = options.count if options.count is not None else 0 if names else 8
        result = check.check(bench, loaded, names, options.seed, count, options.force)
    rows = [
        (
            n.architecture,
            latency(n.predicted_ns),
            latency(n.measured_ns),
            f"{n.error_percent:+.2f} %",
            f"{n.repeatability_percent:.2f} %",
        )
        for n in result.networks
    ]
    head = ("network", "predicted", "measured", "error", "repeats to")
    text = "\n".join(
        [
            f"{loaded.target}; speed now against then: {result.speed:.3f}",
            columns(head, rows),
            closure_line(to_json(result.figures)),
            *(f"flag: {f}" for f in result.flags),
        ]
    )
    emit(options, {**to_json(result), "target": loaded.target, "failures": bench.failures}, text)
    if bench.failures:
        return print_failures(bench.failures)
    return FAILED if result.flags else DONE
