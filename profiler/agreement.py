"""Our latency against the runtime's own tool, in turns, each in a process of its own.

Whoever doubts a latency can see it beside the one that the engine's makers would report: the tool
that comes with the engine, or, where none does, the plainest loop around it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from profiler import measure, plugins, processes
from profiler.collection import Collection, Item, Progress
from profiler.encoding import from_json, to_json
from profiler.errors import WorkloadFailed
from profiler.processes import Channel, Death, Limits, one_line
from profiler.statistics import median
from profiler.store import Store
from profiler.turns import turn
from profiler.types import Artifact, Protocol, Target, Workload

LIMIT_S = 300.0
# One round of ours in each turn.
PROTOCOL = Protocol(min_rounds=1, max_rounds=1)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Medians in turns; `ratio` is ours to theirs, the median over the turns."""

    name: str
    target: str
    ours_ns: tuple[int, ...]
    theirs_ns: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """The median of the turns' ratios."""
        return median([a / b for a, b in zip(self.ours_ns, self.theirs_ns, strict=True)])


def has_tool(target: Target) -> bool:
    """Whether the target's runtime knows a tool of its own."""
    return hasattr(plugins.load("profiler.runtimes", target.runtime), "own_tool")


def agree(
    store: Store,
    workload: Workload,
    artifact: Artifact,
    target: Target,
    turns: int,
    on_progress: Callable[[Progress], None],
) -> Agreement:
    """Take turns. Raises WorkloadFailed when either side fails."""
    ours: list[int] = []
    theirs: list[int] = []
    for number in range(turns):
        # Neither always goes first.
        if number % 2 == 0:
            ours.append(_ours(store, workload, artifact, target))
            theirs.append(_theirs(artifact, target))
        else:
            theirs.append(_theirs(artifact, target))
            ours.append(_ours(store, workload, artifact, target))
        on_progress(Progress(number + 1, turns))
    return Agreement(workload.name, str(target), tuple(ours), tuple(theirs))


def _ours(store: Store, workload: Workload, artifact: Artifact, target: Target) -> int:
    item = Item.of(workload, artifact, target, PROTOCOL)
    # Rounds that are there already were not taken in this minute.
    fresh = Item(workload, artifact, f"{item.key}-{uuid.uuid4().hex[:8]}")
    run = Collection(store, target, PROTOCOL, [fresh], None)
    measure.collect(run)
    for failure in run.failures.values():
        raise WorkloadFailed(f"{workload.name} on {target}: {failure.message}")
    (taken, *_) = store.rounds(fresh.key)
    return round(median(taken.samples_ns))


def _theirs(artifact: Artifact, target: Target) -> int:
    found: list[int] = []
    problems: list[str] = []
    job = {"path": artifact.path, "target": to_json(target)}

    def on_line(line: dict[str, Any]) -> None:
        if "p50_ns" in line:
            found.append(line["p50_ns"])
        elif "failure" in line:
            problems.append(line["failure"])

    def on_death(_: str, death: Death) -> None:
        problems.append(death.message)

    with turn(exclusive=True, on_wait=lambda: None):
        processes.run_surviving(
            "profiler.agreement:tool_job",
            {"tool": None},
            lambda _: job,
            on_line,
            on_death,
            Limits(LIMIT_S),
        )
    if problems:
        raise WorkloadFailed(f"{target.runtime}'s own tool: {problems[0]}")
    return found[0]


def tool_job(job: Mapping[str, Any], channel: Channel) -> None:
    """In the child: run the tool once."""
    target = from_json(Target, job["target"])
    runtime = plugins.load("profiler.runtimes", target.runtime)
    channel.announce("tool")
    try:
        channel.send({"done": "tool", "p50_ns": round(runtime.own_tool(job["path"], target))})
    except Exception as error:  # a tool may fail in any way
        channel.send({"done": "tool", "failure": one_line(error)})
