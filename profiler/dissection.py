"""Networks taken apart: measured without and profiled with a profiler, in turns."""

from __future__ import annotations

import dataclasses
import json
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler import breakdown, devices, formats, measure, plugins, profiling
from profiler.encoding import from_json
from profiler.errors import BadModelFile
from profiler.exporting import Request
from profiler.measure import Collection, Item, Progress
from profiler.profiling import Profile, Unprofiled
from profiler.statistics import median
from profiler.store import Store
from profiler.types import (
    Artifact,
    Breakdown,
    Failure,
    Format,
    Protocol,
    Round,
    Target,
    Workload,
    usable,
)

# The latency without profiler takes fewer samples than `measure`: a profile follows each round.
PROTOCOL = Protocol(visit_samples=4, passes=4)
# So many values make an interval for a difference; a breakdown alone needs fewer.
PROCESSES, PROCESSES_COMPARED = 3, 5


@dataclass(frozen=True, slots=True)
class Subject:
    """A network on a target; `profiled` is its artifact with marks that the profiler needs."""

    workload: Workload
    target: Target
    artifact: Artifact
    profiled: Artifact


def requests(workload: Workload, target: Target) -> tuple[Request, Request]:
    """What has to be exported for a subject: the artifact, and the one to be profiled."""
    made_as = formats.executed_by(target)
    marks = getattr(plugins.load("profiler.runtimes", target.runtime), "PROFILED", {})
    marked = Format(made_as.name, made_as.precision, {**made_as.options, **marks})
    return Request(workload, made_as), Request(workload, marked)


def take_apart(
    store: Store,
    subjects: Mapping[str, Subject],
    processes: int,
    limit_s: float,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Breakdown | Failure]:
    """A breakdown for each subject, by the caller's names.

    `processes` times over, every subject in turn is timed in a fresh process and profiled in
    another, so that what drifts does so for both.
    """
    lap = uuid.uuid4().hex[:12]
    rules = dataclasses.replace(PROTOCOL, limit_s=limit_s)
    runs = {n: _collection(store, s, rules) for n, s in subjects.items()}
    profiles: dict[str, list[Profile]] = {n: [] for n in subjects}
    failed: dict[str, Failure] = {}
    total = 2 * processes * len(subjects)
    done = 0
    for number in range(processes):
        order = sorted(subjects)
        random.Random(f"{seed}-{number}").shuffle(order)
        for name in order:
            run, subject = runs[name], subjects[name]
            waiting = Progress(done, total, "another opclock is working; waiting for it")
            if name not in failed:
                measure.take_lap(run, run.items, number, lap)
                on_progress(Progress(done + 1, total))
                if run.failures:
                    failed[name] = next(iter(run.failures.values()))
            if name not in failed:
                found = profiling.take(
                    subject.artifact,
                    subject.profiled,
                    subject.target,
                    limit_s,
                    lambda note=waiting: on_progress(note),  # type: ignore[misc]
                )
                if isinstance(found, Profile):
                    profiles[name].append(found)
                else:
                    failed[name] = _failure(subject, found)
            done += 2
            on_progress(Progress(done, total))
    return {
        name: failed.get(name)
        or _breakdown(store, subject, runs[name].items[0], profiles[name], lap)
        for name, subject in subjects.items()
    }


def _collection(store: Store, subject: Subject, rules: Protocol) -> Collection:
    item = measure.item(subject.workload, subject.artifact, subject.target, rules)
    return Collection(store, subject.target, rules, [item], None)


def _failure(subject: Subject, found: Unprofiled) -> Failure:
    return Failure(
        subject.workload, str(subject.target), "profile", found.kind, found.message, found.log
    )


def _breakdown(
    store: Store, subject: Subject, item: Item, profiles: Sequence[Profile], lap: str
) -> Breakdown:
    rounds = [r for r in store.rounds(item.key) if r.lap == lap]
    device = devices.device(subject.target.device)
    return breakdown.by_operator(
        subject.workload,
        subject.target,
        profiles,
        _latency_ns(rounds),
        device,
        plugins.load("profiler.runtimes", subject.target.runtime).version(),
        _disturbed(rounds),
    )


def _latency_ns(rounds: Sequence[Round]) -> int:
    """The median of the round medians; of the undisturbed rounds where there are some."""
    return round(median([median(r.samples_ns) for r in usable(rounds)]))


def _disturbed(rounds: Sequence[Round]) -> list[str]:
    count = sum(not r.valid for r in rounds)
    return [f"{count} of {len(rounds)} rounds were disturbed"] if count else []


def unavailable(workload: Workload, target: Target) -> Failure | None:
    """Why there can be no breakdown on a target: its runtime has no profiler."""
    reason = profiling.available(target)
    return Failure(workload, str(target), "profile", "no-profiler", reason) if reason else None


def read(path: Path) -> list[Breakdown]:
    """The breakdowns of a file that `opclock breakdown -o` wrote. Raises BadModelFile."""
    try:
        record: Any = json.loads(path.read_text())
        return [from_json(Breakdown, b) for b in record["breakdowns"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModelFile(f"{path} does not hold breakdowns: {error}") from error
