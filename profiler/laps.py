"""Targets timed in laps: a round on each of them, in shuffled order, before the next on any.

A process holds one runtime, so targets cannot share processes as networks do. What drifts more
slowly than a lap takes does to all of them what it does to one.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from profiler import devices, exporting, formats, measure, plugins, workloads
from profiler.collection import Collection, Item, Progress, finished
from profiler.exporting import Request
from profiler.store import Store
from profiler.types import Artifact, Failure, Protocol, Round, Target, Workload

# For its memory a network is loaded and run once in a process of its own, where no other one has
# left memory behind that it could use again.
ALONE = Protocol(
    warmup_runs=1,
    warmup_floor_ns=0,
    warmup_limit_ns=1,
    sample_floor_ns=1,
    visit_samples=1,
    passes=1,
    min_rounds=1,
    max_rounds=1,
    max_foreign_cores=1e9,
    max_steal=1.0,
)


@dataclass
class Contest:
    """What is to be compared, and how; `targets` by the names that the result gives them."""

    store: Store
    networks: Sequence[Workload]
    targets: Mapping[str, Target]
    baseline: str
    protocol: Protocol = field(default_factory=Protocol)
    seed: int = 0
    budget_s: float | None = None
    again: bool = False
    on_stage: Callable[[str], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None


@dataclass
class Lane:
    """A target with the networks that run on it; `failures` are by network."""

    name: str
    target: Target
    run: Collection
    items: dict[str, Item] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    def failure(self, network: str) -> Failure | None:
        """Why a network has no latency here, if it has none."""
        found = self.items.get(network)
        return self.failures.get(network) or (self.run.failures.get(found.key) if found else None)


def runtime_of(target: Target) -> Any:
    """The plug-in that executes a target."""
    return plugins.load("profiler.runtimes", target.runtime)


def distinct(found: Sequence[Workload]) -> list[Workload]:
    """Each workload once, under a name of its own: two files in two folders may share theirs."""
    kept: dict[str, Workload] = {}
    for workload in {w.key: w for w in found}.values():
        twins = sum(name.partition(" #")[0] == workload.name for name in kept)
        name = f"{workload.name} #{twins + 1}" if twins else workload.name
        kept[name] = dataclasses.replace(workload, label=name)
    return list(kept.values())


def named(texts: Sequence[str]) -> dict[str, Target]:
    """Targets by what was written; one that is written twice is compared with itself."""
    found: dict[str, Target] = {}
    for text in texts:
        twins = sum(name.partition(" #")[0] == text for name in found)
        found[f"{text} #{twins + 1}" if twins else text] = devices.target(text)
    return found


def export(contest: Contest) -> dict[str, Artifact | Failure]:
    """What was built, by workload and format; targets that take the same format share it."""
    requests = {}
    for target in contest.targets.values():
        if runtime_of(target).missing():
            continue
        made_as = formats.executed_by(target)
        for workload in [*contest.networks, workloads.CANARY]:
            requests[f"{workload.key} {made_as}"] = Request(workload, made_as)
    contest.on_stage("exporting")
    done = itertools.count(1)
    waiting = Progress(0, len(requests), "another opclock is timing; waiting for it")
    return exporting.build(
        contest.store,
        requests,
        lambda *_: contest.on_progress(Progress(next(done), len(requests))),
        lambda: contest.on_progress(waiting),
        contest.protocol.limit_s,
        hands=max(1, min(2, os.cpu_count() or 1)),
    )


def lanes_of(contest: Contest, built: Mapping[str, Artifact | Failure]) -> list[Lane]:
    """A lane for each target, with what was built for it."""
    lanes: list[Lane] = []
    for name, target in contest.targets.items():
        twins = sum(lane.target == target for lane in lanes)
        lanes.append(_lane(contest, name, target, built, twins))
    return lanes


def _lane(
    contest: Contest,
    name: str,
    target: Target,
    built: Mapping[str, Artifact | Failure],
    replica: int,
) -> Lane:
    def on_progress(progress: Progress) -> None:
        if progress.note:
            contest.on_progress(progress)

    run = Collection(
        contest.store,
        target,
        contest.protocol,
        [],
        None,
        seed=contest.seed,
        on_progress=on_progress,
    )
    lane = Lane(name, target, run)
    rules = contest.protocol
    for workload in contest.networks:
        made = _made(workload, target, built)
        if isinstance(made, Failure):
            lane.failures[workload.name] = made
        else:
            lane.items[workload.name] = Item.of(workload, made, target, rules, replica)
    canary = _made(workloads.CANARY, target, built)
    if isinstance(canary, Artifact):
        run.canary = Item.of(workloads.CANARY, canary, target, rules, -1 - replica)
    run.items = list(lane.items.values())
    return lane


def _made(
    workload: Workload, target: Target, built: Mapping[str, Artifact | Failure]
) -> Artifact | Failure:
    """What a target executes, or why it cannot."""
    missing = runtime_of(target).missing()
    if missing:
        said = f"{target.runtime} cannot run here: {missing}"
        return Failure(workload, str(target), "run", "missing-package", said)
    made = built[f"{workload.key} {formats.executed_by(target)}"]
    return exporting.as_asked(workload, made, target)


# Laps ------------------------------------------------------------------------------------------


def take_laps(contest: Contest, lanes: Sequence[Lane], session: str) -> None:
    """A round on every target, then the next; a network drops out when all its cells have enough.

    Two laps are taken whatever the budget is.
    """
    contest.on_stage("measuring")
    deadline_s = time.monotonic() + contest.budget_s if contest.budget_s is not None else math.inf
    since = session if contest.again else ""
    for number in range(2 * contest.protocol.max_rounds + 2):
        todo = [w.name for w in contest.networks if not _settled(contest, lanes, w.name, since)]
        late = number >= measure.WHOLE_ROUNDS and time.monotonic() > deadline_s
        if not todo or late:
            return
        order = list(lanes)
        random.Random(f"{contest.seed}-{number}").shuffle(order)
        for place, lane in enumerate(order):
            items = [lane.items[n] for n in todo if n in lane.items and not lane.failure(n)]
            if items:
                measure.take_lap(lane.run, items, number, f"{session}-{number}")
            total = max(contest.protocol.min_rounds, number + 1) * len(order)
            contest.on_progress(Progress(number * len(order) + place + 1, total))


def shared_rounds(
    store: Store, lanes: Sequence[Lane], network: str, since: str = ""
) -> dict[str, dict[str, Round]]:
    """For each target on which the network runs: the rounds of the laps that all of them took.

    By target and lap; only laps of the session `since`, if one is given.
    """
    taken = {
        lane.name: {
            r.lap: r
            for r in store.rounds(lane.items[network].key)
            if r.lap and r.lap.startswith(since)
        }
        for lane in lanes
        if network in lane.items and not lane.failure(network)
    }
    common = set.intersection(*map(set, taken.values())) if taken else set()
    return {t: {n: r for n, r in rounds.items() if n in common} for t, rounds in taken.items()}


def _settled(contest: Contest, lanes: Sequence[Lane], network: str, since: str) -> bool:
    """Whether a network has all the laps that it will get."""
    taken = shared_rounds(contest.store, lanes, network, since)
    reference = taken.get(contest.baseline)
    for rounds in taken.values():
        if len(rounds) >= 2 * contest.protocol.max_rounds:
            continue
        paired = [r for lap, r in rounds.items() if reference is None or reference[lap].valid]
        if not finished(paired, contest.protocol):
            return False
    return True


def measure_memory(contest: Contest, lanes: Sequence[Lane]) -> None:
    """Load and run every item once in a process of its own; what has been is not done again."""
    contest.on_stage("memory")
    wanted = [
        (lane, found)
        for lane in lanes
        for network, found in lane.items.items()
        if not lane.failure(network)
    ]
    for number, (lane, found) in enumerate(wanted):
        own = alone(lane, found)
        measure.collect(Collection(contest.store, lane.target, ALONE, [own], None))
        contest.on_progress(Progress(number + 1, len(wanted)))


def alone(lane: Lane, found: Item) -> Item:
    """The item under which the store keeps what a network does alone in a process."""
    return Item.of(found.workload, found.artifact, lane.target, ALONE)


def canaries_ns(contest: Contest, lane: Lane, since: str) -> tuple[int, ...]:
    """The canary's medians on a target, one for each lap."""
    found: dict[str, int] = {}
    for item in lane.items.values():
        for taken in contest.store.rounds(item.key):
            if taken.lap and taken.lap.startswith(since) and taken.canary_ns and taken.valid:
                found[taken.lap] = taken.canary_ns
    return tuple(found.values())


def versions(contest: Contest) -> dict[str, str]:
    """The versions of the runtimes."""
    return {t.runtime: runtime_of(t).version() for t in contest.targets.values()}
