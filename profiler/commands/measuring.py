"""`export` and `measure`."""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import devices, formats, measure, plugins, workloads
from profiler.collection import Collection, Item, finished
from profiler.commands import (
    DONE,
    emit,
    export_all,
    open_store,
    print_failures,
    probe,
    require_runtime,
)
from profiler.encoding import to_json
from profiler.errors import UsageError
from profiler.exporting import Request, as_asked
from profiler.progress import Display
from profiler.rounds import interval_ns, latency_ns, ratios
from profiler.statistics import judge, quantile
from profiler.store import copy_whole, write_whole
from profiler.types import Artifact, Failure, Measurement, Protocol, Target, Workload
from reports.text import bounds, columns, latency, size


def run_export(options: argparse.Namespace) -> int:
    """Export one model to a file."""
    found = workloads.resolve(options.model, options.batch, dict(options.shape))
    require_taken(found, options)
    if len(found) != 1:
        names = ", ".join(w.name.partition("[")[0] for w in found)
        raise UsageError(f"{options.model} is several workloads: choose one of {names}")
    made_as = formats.parse(options.format)
    with open_store(options) as store, Display() as display:
        requests = {w.key: Request(w, made_as) for w in found}
        (result,) = export_all(store, requests, display, options.limit, options.memory).values()
    if isinstance(result, Failure):
        return print_failures([result])
    suffix = plugins.load("exporters", made_as.name).SUFFIX
    out = options.output or Path(options.model.rpartition("/")[2].replace(":", ".")).with_suffix(
        suffix
    )
    _copy(Path(result.path), out)
    record = {**to_json(result), "path": str(out)}
    text = (
        f"{out}: {sum(result.structure.operators.values())} operators, "
        f"{size(result.structure.parameters)} parameters "
        f"(the model has {size(result.model_parameters)}), {size(result.size_bytes)}B"
    )
    print(json.dumps(record, indent=1) if options.json else text)
    return DONE


def _copy(source: Path, out: Path) -> None:
    for file in source.parent.iterdir():
        if file.name.startswith(source.name):
            place = out.with_name(out.name + file.name.removeprefix(source.name))
            if file.is_dir():
                copy_whole(file, place)
            else:
                write_whole(place, lambda path, f=file: shutil.copyfile(f, path))  # type: ignore[misc]


def protocol(options: argparse.Namespace) -> Protocol:
    """How `measure` measures: the defaults, less what the command line says."""
    count = options.count
    if count is None:
        return Protocol(limit_s=options.limit)
    return Protocol(limit_s=options.limit, min_rounds=count, max_rounds=count)


def run_measure(options: argparse.Namespace) -> int:
    """Measure models in shared rounds; compare the others with the first."""
    target = devices.target(options.on)
    shapes = dict(options.shape)
    found = [w for m in options.models for w in workloads.resolve(m, options.batch, shapes)]
    require_taken(found, options)
    require_runtime(target)
    if options.output:
        probe(options.output)
    rules = protocol(options)
    with open_store(options) as store, Display() as display:
        made_as = formats.executed_by(target)
        requests = {w.key: Request(w, made_as) for w in [*found, workloads.CANARY]}
        built = export_all(store, requests, display, options.limit)
        built |= {w.key: as_asked(w, built[w.key], target) for w in found}
        failures = [f for w in found if isinstance(f := built[w.key], Failure)]
        items = _items(found, built, target, rules)
        display.stage("measuring")
        if options.again:
            store.put_by([i.key for i in items])
        # What has its rounds from earlier is timed beside the new ones, to be compared with them.
        done = [i for i in items if finished(store.rounds(i.key), rules)]
        run = Collection(
            store,
            target,
            rules,
            items,
            _canary(built, target, rules),
            links=done,
            seed=options.seed,
            budget_s=options.budget,
            on_progress=display.update,
        )
        measure.collect(run)
        failures += run.failures.values()
        taken = [
            m
            for i in items
            if i.key not in run.failures and (m := measure.measurement(store, i, target, rules))
        ]
    record = {
        "target": str(target),
        "measurements": [measured(m) for m in taken],
        "comparisons": comparisons(taken),
        "failures": to_json(failures),
    }
    emit(options, record, _measure_text(record))
    return print_failures(failures) if failures else DONE


def require_taken(found: Sequence[Workload], options: argparse.Namespace) -> None:
    """Raise UsageError when --shape or --batch was given and no model takes it."""
    if options.shape and not any("shapes" in w.parameters for w in found):
        raise UsageError("--shape is for .onnx files and your own functions; none is given")
    if options.batch != 1 and not any("batch" in w.parameters for w in found):
        raise UsageError("--batch is for timm's models; none is given")


def _items(
    found: Sequence[Workload],
    built: Mapping[str, Artifact | Failure],
    target: Target,
    rules: Protocol,
) -> list[Item]:
    items: list[Item] = []
    for workload in found:
        artifact = built[workload.key]
        if isinstance(artifact, Artifact):
            twins = sum(i.workload == workload for i in items)
            items.append(Item.of(workload, artifact, target, rules, replica=twins))
    return items


def _canary(
    built: Mapping[str, Artifact | Failure], target: Target, rules: Protocol
) -> Item | None:
    artifact = built[workloads.CANARY.key]
    if isinstance(artifact, Failure):
        return None
    return Item.of(workloads.CANARY, artifact, target, rules, replica=-1)


def measured(taken: Measurement) -> dict[str, Any]:
    """A measurement's JSON form: derived figures first, raw rounds last."""
    low, high = interval_ns(taken)
    valid = [r for r in taken.rounds if r.valid]
    unbatched = [s for r in valid for s in r.samples_ns if r.batch == 1]
    record = to_json(taken)
    rounds = record.pop("rounds")
    return {
        "name": taken.workload.name,
        "median_ns": latency_ns(taken),
        "interval_ns": [low, high],
        "valid_rounds": len(valid),
        "converged": "not converged" not in taken.flags,
        "first_ns": round(quantile([r.first_ns for r in taken.rounds], 0.5)),
        "load_ns": round(quantile([r.load_ns for r in taken.rounds], 0.5)),
        "p90_ns": round(quantile(unbatched, 0.9)) if unbatched else None,
        "p99_ns": round(quantile(unbatched, 0.99)) if unbatched else None,
        "relative_error": max((r.error for r in taken.rounds if r.error is not None), default=None),
        "actual": dict(taken.rounds[-1].actual),
        **record,
        "rounds": rounds,
    }


def comparisons(taken: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Each further measurement against the first."""
    found = []
    for other in taken[1:]:
        result = judge(ratios(taken[0], other))
        record = {k: None if _nan(v) else v for k, v in to_json(result).items()}
        found.append({"baseline": taken[0].workload.name, "name": other.workload.name, **record})
    return found


def _nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _measure_text(record: Mapping[str, Any]) -> str:
    verdicts = [None, *record["comparisons"]]
    rows = []
    for line, verdict in zip(record["measurements"], verdicts, strict=False):
        ratio = f"{verdict['ratio']:.3f}" if verdict and verdict["ratio"] else ""
        rows.append(
            (
                line["name"],
                latency(line["median_ns"]),
                bounds(*line["interval_ns"]),
                str(line["valid_rounds"]),
                latency(line["first_ns"]),
                latency(line["load_ns"]),
                ratio,
                verdict["verdict"] if verdict else "",
                ", ".join([*line["flags"], *([verdict["reason"]] if verdict else [])]),
            )
        )
    if not rows:
        return f"{record['target']}: nothing was measured"
    head = ("name", "latency", "95 % interval", "rounds", "first", "load", "ratio", "", "notes")
    return f"{record['target']}\n{columns(head, rows)}"
