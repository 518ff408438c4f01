"""Profiles: what each operator of an artifact takes, in child processes of their own.

In every process the artifact is loaded twice, once as it is measured and once under the runtime's
profiler. Both take turns, so that the latency without profiler and the operators' times are of the
same process in the same second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from profiler import environment, plugins, processes, sampling
from profiler.encoding import from_json, to_json
from profiler.errors import BadProfile, NoProfiler
from profiler.processes import Channel, Death, Limits, one_line
from profiler.statistics import median, quiet_mean
from profiler.turns import turn
from profiler.types import Artifact, OperatorTimes, Protocol, Source, Target
from profiler.worker import WrongOutput, compare, random_feeds

# The profiled inferences last about so long, and are at least and at most so many.
LASTS_NS = 400_000_000
FEWEST_RUNS, MOST_RUNS = 12, 300
WARMUP_RUNS = 3
WARMUP_NS = 60_000_000
# What times are brought to one speed by: of the plain inferences, what the times are of the others.
LEVELS: Mapping[str, Callable[[Sequence[int]], float]] = {
    "quiet": quiet_mean,
    "median": median,
    "mean": fmean,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """One process's profile, and the same process's latency without profiler.

    `latency_ns` is its median, `plain_ns` what compares with the times: of the same level.
    `sources` are the source operators by which modules are found; empty where none are known.
    `flags` say what disturbed it.
    """

    times: OperatorTimes
    sources: tuple[Source, ...]
    plain_ns: int
    latency_ns: int
    runs: int
    flags: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether nothing disturbed it."""
        return not self.flags


@dataclass(frozen=True, slots=True)
class Unprofiled:
    """Why there is no profile."""

    kind: str
    message: str
    log: str = ""


def available(target: Target) -> str | None:
    """Why a target's runtime has no profile, in a sentence; None when it has one."""
    runtime = plugins.load("profiler.runtimes", target.runtime)
    if hasattr(runtime, "profile"):
        return None
    reason = getattr(runtime, "NO_PROFILE", "opclock knows no profiler of it")
    return (
        f"{target.runtime} does not tell the time of its operators: {reason}; what a block takes "
        "can be measured as the slope of chains: opclock table build"
    )


def take(
    artifact: Artifact,
    profiled: Artifact,
    target: Target,
    limit_s: float,
    on_wait: Callable[[], None],
) -> Profile | Unprofiled:
    """A profile in a fresh process; `profiled` is the artifact with marks for the profiler."""
    found: list[Profile | Unprofiled] = []
    job = {
        "path": artifact.path,
        "profiled": profiled.path,
        "reference": artifact.reference,
        "format": profiled.format.name,
        "target": to_json(target),
    }

    def on_line(line: dict[str, Any]) -> None:
        if "profile" in line:
            found.append(from_json(Profile, line["profile"]))
        elif "failure" in line:
            found.append(Unprofiled(line["failure"], line["message"]))

    def on_death(_key: str, death: Death) -> None:
        found.append(Unprofiled(death.kind, death.message, death.log))

    with turn(exclusive=True, on_wait=on_wait):
        processes.run_surviving(
            "profiler.profiling:profile_job",
            {"profile": job},
            lambda _: job,
            on_line,
            on_death,
            Limits(limit_s),
        )
    return found[-1]


def profile_job(job: Mapping[str, Any], channel: Channel) -> None:
    """In the child: one profile, a line for it."""
    channel.announce("profile")
    target = from_json(Target, job["target"])
    runtime = plugins.load("profiler.runtimes", target.runtime)
    try:
        line = {"profile": to_json(_profile(job, runtime, target))}
    except (NoProfiler, BadProfile) as error:
        line = {"failure": "no-profile", "message": str(error)}
    except WrongOutput as error:
        line = {"failure": "wrong-output", "message": str(error)}
    except Exception as error:  # a runtime may raise anything
        line = {"failure": runtime.kind_of(error), "message": one_line(error)[:2000]}
    channel.send({"done": "profile", **line})


def _profile(job: Mapping[str, Any], runtime: Any, target: Target) -> Profile:
    runtime.start()
    exporter = plugins.load("exporters", job["format"])
    sources = exporter.sources(Path(job["profiled"])) if hasattr(exporter, "sources") else []
    session = runtime.load(job["path"], target)
    feeds = random_feeds(session.inputs)
    elapsed_ns = getattr(session, "elapsed_ns", sampling.elapsed_ns)
    call = session.bind(feeds)
    outputs = call()
    if job["reference"]:
        compare(session.outputs(outputs), job["reference"], target.precision)
    warm_ns = _warm_up(call, elapsed_ns)
    runs = int(min(MOST_RUNS, max(FEWEST_RUNS, LASTS_NS / warm_ns)))
    turns = sampling.Turns(call, runs, elapsed_ns)
    before = environment.read_counters()
    times = runtime.profile(job["profiled"], target, feeds, sources, turns, WARMUP_RUNS)
    if not turns.plain_ns:
        # Under a profiler that records whatever runs, there are no turns.
        _warm_up(call, elapsed_ns)
        for _ in turns:
            pass
    telemetry = environment.quietness(before, environment.read_counters())
    limits = Protocol()
    used = {name for e in times.executed for name in (*e.sources, *e.beside)}
    return Profile(
        times,
        tuple(_short(s) for s in sources if s.name in used),
        round(LEVELS[times.level](turns.plain_ns)),
        round(median(turns.plain_ns)),
        runs,
        tuple(environment.disturbances(telemetry, limits.max_foreign_cores, limits.max_steal)),
    )


def _short(source: Source) -> Source:
    """Without its tensors, which have done their work by now."""
    return dataclasses.replace(source, inputs=(), outputs=())


def _warm_up(call: Callable[[], Any], elapsed_ns: sampling.Elapsed) -> int:
    """Run until it has run often and long enough; returns the last latency in ns."""
    spent, count, last = 0, 0, 1
    while count < WARMUP_RUNS or spent < WARMUP_NS:
        last = max(1, elapsed_ns(call, 1))
        spent += last
        count += 1
    return last
