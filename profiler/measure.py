"""Rounds of fresh workers over artifacts, until every interval is narrow enough.

What the store holds already is not measured again. Every finished job is one transaction, so
an interrupted run goes on where it stopped, and two runs at once share their rounds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from profiler import environment, jobs
from profiler.collection import Collection, Item
from profiler.encoding import to_json
from profiler.statistics import covers, half_width, median
from profiler.store import Store
from profiler.types import Measurement, Protocol, Round, Target, usable

# However small the budget: from a single round nothing could be said about the spread.
WHOLE_ROUNDS = 2


def collect(run: Collection) -> None:
    """Take rounds until every item is finished, has failed, or another round would go beyond the
    budget: at least two.

    With `together` all items that lack rounds at the start go on until the last is finished, so
    that they share their processes; otherwise each drops out when it has enough.
    """
    deadline = time.monotonic() + run.budget_s if run.budget_s is not None else None
    started = run.unfinished
    _remember(run, started)
    begun, rounds = time.monotonic(), 0
    for number in range(2 * run.protocol.max_rounds + 2):
        todo = run.unfinished
        enough = rounds >= WHOLE_ROUNDS
        if not todo or (enough and _late(deadline)):
            return
        if run.together:
            todo = [i for i in started if i.key not in run.failures]
        most = _affordable(run.rounds_each, rounds, begun, deadline)
        if not most:
            return
        for dealt in jobs.dealt(run, todo, number, most):
            jobs.take(run, dealt)
            if enough and _late(deadline):
                return
        rounds += most


def take_lap(run: Collection, items: Sequence[Item], number: int, lap: str) -> None:
    """One round of these items, whatever rounds they have already; `lap` is kept with it.

    A process holds one runtime. What is compared across targets is therefore timed in laps: a
    round on each of them before the next round on any.
    """
    _remember(run, items)
    for dealt in jobs.dealt(run, items, number):
        jobs.take(run, dealt, lap)


def _affordable(most: int, taken: int, begun_s: float, deadline_s: float | None) -> int:
    """How many rounds the next processes take: at most so many, and those that time is left for."""
    if deadline_s is None:
        return most
    if taken < WHOLE_ROUNDS:
        return min(most, WHOLE_ROUNDS - taken)
    now_s = time.monotonic()
    return max(0, min(most, int((deadline_s - now_s) / (now_s - begun_s) * taken)))


def _late(deadline_s: float | None) -> bool:
    return deadline_s is not None and time.monotonic() > deadline_s


def _remember(run: Collection, items: Sequence[Item]) -> None:
    """Write down what the keys of the rounds to come stand for."""
    shared = {
        "target": to_json(run.target),
        "protocol": to_json(run.protocol),
        "environment": environment.describe(),
    }
    records = {
        i.key: {"workload": to_json(i.workload), "artifact": to_json(i.artifact), **shared}
        for i in items
    }
    if records:
        run.store.add_measurements(records)


def measurement(
    store: Store, wanted: Item, target: Target, protocol: Protocol
) -> Measurement | None:
    """What the store knows of an item; None when no round is there."""
    rounds = tuple(store.rounds(wanted.key))
    if not rounds:
        return None
    environment_ = store.environment(wanted.key)
    flags = shortcomings(rounds, protocol)
    return Measurement(
        wanted.workload, target, protocol, wanted.artifact, environment_, rounds, flags
    )


def shortcomings(rounds: Sequence[Round], protocol: Protocol) -> tuple[str, ...]:
    """What a measurement of these rounds lacks, in words."""
    valid = [median(r.samples_ns) for r in rounds if r.valid]
    flags = []
    if len(rounds) - len(valid) > len(rounds) / 2:
        flags.append("unstable environment")
    if not covers(len(valid)) or half_width(valid) > protocol.half_width:
        flags.append("not converged")
    if not any(r.canary_ns for r in rounds):
        flags.append("no canary")
    return tuple(flags)


def collected(run: Collection) -> dict[str, list[Round]]:
    """The usable rounds of a collection's items, by key; of those that failed none."""
    kept = [i.key for i in run.items if i.key not in run.failures]
    return {key: usable(rounds) for key in kept if (rounds := run.store.rounds(key))}
