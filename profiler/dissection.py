"""Networks taken apart: timed and profiled, process by process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from profiler import breakdown, devices, formats, plugins, profiling
from profiler.collection import Progress
from profiler.encoding import from_json
from profiler.errors import BadModelFile
from profiler.exporting import Request
from profiler.profiling import Profile
from profiler.statistics import median
from profiler.types import Artifact, Breakdown, Failure, Format, Target, Workload

# So many values make an interval for a difference; a breakdown alone needs fewer.
PROCESSES, PROCESSES_COMPARED = 3, 5
# Where what the operators sum to, as a share of the latency, is further apart than this between
# processes, the machine was too restless: as many processes again are added, one by one.
AGREE = 0.01


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
    subjects: Mapping[str, Subject],
    processes: int,
    limit_s: float,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Breakdown | Failure]:
    """A breakdown for each subject, by the caller's names.

    `processes` times over, every subject in turn is timed and profiled in a fresh process; up to as
    often again while its processes disagree.
    """
    profiles: dict[str, list[Profile]] = {n: [] for n in subjects}
    failed: dict[str, Failure] = {}
    done, total = 0, processes * len(subjects)
    for number in range(2 * processes):
        order = sorted(n for n in subjects if number < processes or not _agree(profiles[n]))
        total = max(total, done + len(order))
        random.Random(f"{seed}-{number}").shuffle(order)
        for name in order:
            waiting = Progress(done, total, "another opclock is working; waiting for it")
            if name not in failed:
                found = _profiled(subjects[name], limit_s, partial(on_progress, waiting))
                if isinstance(found, Profile):
                    profiles[name].append(found)
                else:
                    failed[name] = found
            done += 1
            on_progress(Progress(done, total))
    return {n: failed.get(n) or _breakdown(s, profiles[n]) for n, s in subjects.items()}


def _agree(profiles: Sequence[Profile]) -> bool:
    """Whether the middle half of the processes tells the same of the operators' share."""
    shares = [sum(e.time_ns for e in p.times.executed) / p.plain_ns for p in profiles]
    middle = median(shares) if shares else 0.0
    return not shares or median([abs(s - middle) for s in shares]) <= AGREE


def _profiled(subject: Subject, limit_s: float, on_wait: Callable[[], None]) -> Profile | Failure:
    found = profiling.take(subject.artifact, subject.profiled, subject.target, limit_s, on_wait)
    if isinstance(found, Profile):
        return found
    return Failure(
        subject.workload, str(subject.target), "profile", found.kind, found.message, found.log
    )


def _breakdown(subject: Subject, profiles: Sequence[Profile]) -> Breakdown:
    quiet = [p for p in profiles if p.valid]
    disturbed = len(profiles) - len(quiet)
    return breakdown.by_operator(
        subject.workload,
        subject.target,
        profiles,
        round(median([p.latency_ns for p in quiet or profiles])),
        devices.device(subject.target.device),
        plugins.load("profiler.runtimes", subject.target.runtime).version(),
        [f"{disturbed} of {len(profiles)} processes were disturbed"] if disturbed else [],
    )


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
