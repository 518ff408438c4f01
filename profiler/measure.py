"""Rounds of fresh workers over artifacts, until every interval is narrow enough.

What the store holds already is not measured again. Every finished job is one transaction, so
an interrupted run goes on where it stopped, and two runs at once share their rounds.
"""

from __future__ import annotations

import dataclasses
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from profiler import devices, environment, plugins, processes
from profiler.encoding import digest, from_json, to_json
from profiler.processes import Death, Limits
from profiler.sampling import Calibration
from profiler.statistics import covers, half_width, median
from profiler.store import Store, now
from profiler.turns import turn
from profiler.types import (
    Artifact,
    Failure,
    Measurement,
    Protocol,
    Round,
    Target,
    Telemetry,
    Workload,
    usable,
)

# What decides when to stop or what to discard does not decide what a sample is: rounds taken
# under another rule still hold.
RULES = ("min_rounds", "max_rounds", "half_width", "limit_s", "max_foreign_cores", "max_steal")
# However small the budget: from a single round nothing could be said about the spread.
WHOLE_ROUNDS = 2
# A round in which the canary lies further than this from its own median is not believed.
CANARY_SHARE = 0.2
# Loaded sessions take about this multiple of the artifact's size.
SESSION_SIZE = 2.5
MEMORY_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Item:
    """A workload with its artifact, and the key under which the store keeps its rounds."""

    workload: Workload
    artifact: Artifact
    key: str
    circle_bytes: int = 0
    composed: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection is; `note` is set when there is something to say."""

    done: float
    total: float
    note: str = ""


OnProgress = Callable[[Progress], None]


@dataclass
class Collection:
    """A set of items that share their rounds: the state of one run of `collect`.

    `links` are items that have their rounds already and are timed in every process all the
    same: through them the speeds of new processes can be compared with those of earlier ones.
    """

    store: Store
    target: Target
    protocol: Protocol
    items: list[Item]
    canary: Item | None
    seed: int = 0
    together: bool = True
    links: list[Item] = field(default_factory=list)
    budget_s: float | None = None
    on_progress: OnProgress = lambda _: None
    failures: dict[str, Failure] = field(default_factory=dict)
    canaries_ns: list[float] = field(default_factory=list)


def item(
    workload: Workload,
    artifact: Artifact,
    target: Target,
    protocol: Protocol,
    replica: int = 0,
    circle_bytes: int = 0,
    composed: bool = False,
) -> Item:
    """An item whose key holds all that decides its latency. `replica` tells apart a workload and
    itself, when compared. With `circle_bytes` it is timed as within a network of that size: in
    circles with others (`sampling.circles`). What a runtime compiles of a `composed` artifact may
    be kept beside it, as both are gone after the build."""
    runtime = plugins.load("profiler.runtimes", target.runtime)
    device = devices.device(target.device)
    taking = {k: v for k, v in to_json(protocol).items() if k not in RULES}
    parts = [str(target), runtime.version(), device.fingerprint, taking, replica, circle_bytes]
    return Item(workload, artifact, digest(artifact.digest, *parts), circle_bytes, composed)


def finished(rounds: Sequence[Round], protocol: Protocol) -> bool:
    """Whether a workload has all the rounds that it will get."""
    valid = [median(r.samples_ns) for r in rounds if r.valid]
    if len(valid) >= protocol.max_rounds or len(rounds) >= 2 * protocol.max_rounds:
        return True
    enough = len(valid) >= protocol.min_rounds and covers(len(valid))
    return enough and half_width(valid) <= protocol.half_width


def collect(run: Collection) -> None:
    """Take rounds until every item is finished, has failed, or the budget is spent: at least two.

    With `together` all items that lack rounds at the start go on until the last is finished, so
    that they share their processes; otherwise each drops out when it has enough.
    """
    deadline = time.monotonic() + run.budget_s if run.budget_s is not None else None
    started = _unfinished(run)
    _remember(run, started)
    for number in range(2 * run.protocol.max_rounds + 2):
        todo = _unfinished(run)
        if not todo or (number >= WHOLE_ROUNDS and _late(deadline)):
            return
        if run.together:
            todo = [i for i in started if i.key not in run.failures]
        for job, seed in _dealt(run, todo, number):
            _take(run, job, seed)
            if number >= WHOLE_ROUNDS and _late(deadline):
                return


def take_lap(run: Collection, items: Sequence[Item], number: int, lap: str) -> None:
    """One round of these items, whatever rounds they have already; `lap` is kept with it.

    A process holds one runtime. What is compared across targets is therefore timed in laps: a
    round on each of them before the next round on any.
    """
    _remember(run, items)
    for job, seed in _dealt(run, items, number):
        _take(run, job, seed, lap)


def verify(
    store: Store, target: Target, protocol: Protocol, items: Sequence[Item]
) -> dict[str, Failure]:
    """Load every artifact once and compare its outputs with torch's; nothing is timed.

    Returns the failures by key: what does not load, and what computes something else.
    """
    once = dataclasses.replace(protocol, passes=0)
    run = Collection(store, target, once, list(items), None)
    by_key = {i.key: i for i in items}

    def make_job(keys: list[str]) -> dict[str, Any]:
        entries = [{**_entry(store, by_key[k]), "calibration": None} for k in keys]
        return {"target": to_json(target), "protocol": to_json(once), "seed": 0, "items": entries}

    def on_line(line: dict[str, Any]) -> None:
        if "failure" in line:
            _fail(run, by_key[line["done"]], line["failure"], line["message"], "")

    def on_death(key: str, death: Death) -> None:
        _fail(run, by_key[key], death.kind, death.message, death.log)

    limits = Limits(protocol.limit_s)
    if by_key:
        with turn(exclusive=False, on_wait=lambda: None):
            processes.run_surviving(
                "profiler.worker:time_job", by_key, make_job, on_line, on_death, limits
            )
    return run.failures


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


def _unfinished(run: Collection) -> list[Item]:
    rest = [i for i in run.items if i.key not in run.failures]
    return [i for i in rest if not finished(run.store.rounds(i.key), run.protocol)]


def _in_every_job(run: Collection) -> list[Item]:
    extra = [*run.links, *([run.canary] if run.canary else [])]
    return [i for i in extra if i.key not in run.failures]


def _dealt(run: Collection, items: Sequence[Item], number: int) -> list[tuple[list[Item], int]]:
    """The jobs of a round, each with its seed."""
    name = f"{run.seed}-{number}"
    jobs = _jobs(items, random.Random(name), _in_every_job(run))
    return [(j, random.Random(f"{name}-{n}").randrange(2**31)) for n, j in enumerate(jobs)]


def _jobs(
    items: Sequence[Item], generator: random.Random, shared: Sequence[Item]
) -> list[list[Item]]:
    """Deal the items out to as few processes as memory allows, at random, the shared to each."""
    memory = environment.memory_bytes() or 8 << 30
    limit = MEMORY_SHARE * memory / SESSION_SIZE
    size = sum(i.artifact.size_bytes for i in items)
    count = max(1, -(-size // int(limit)))
    shuffled = sorted(items, key=lambda i: i.key)
    generator.shuffle(shuffled)
    jobs = [shuffled[place::count] for place in range(count)]
    return [_with(job, shared) for job in jobs if job]


def _with(job: list[Item], shared: Sequence[Item]) -> list[Item]:
    return list({i.key: i for i in [*job, *shared]}.values())


def _take(run: Collection, job: list[Item], seed: int, lap: str = "") -> None:
    """One job in a fresh process, its results kept in one transaction."""
    by_key = {i.key: i for i in job}
    lines: list[Mapping[str, Any]] = []
    started_at, process = now(), uuid.uuid4().hex[:12]
    before = _done(run)

    def make_job(keys: list[str]) -> dict[str, Any]:
        entries = [_entry(run.store, by_key[k]) for k in keys]
        return {
            "target": to_json(run.target),
            "protocol": to_json(run.protocol),
            "seed": seed,
            "items": entries,
        }

    def on_line(line: dict[str, Any]) -> None:
        if "share" in line:
            part = line["share"] * len(job)
            run.on_progress(Progress(before + part, _total(run, before)))
        elif "failure" in line:
            _fail(run, by_key[line["done"]], line["failure"], line["message"], "")
        elif "samples_ns" in line:
            lines.append(line)

    def on_death(key: str, death: Death) -> None:
        _fail(run, by_key[key], death.kind, death.message, death.log)

    limits = Limits(run.protocol.limit_s)
    waiting = Progress(before, _total(run, before), "another opclock is working; waiting for it")
    with turn(exclusive=True, on_wait=lambda: run.on_progress(waiting)):
        # Whoever had the turn before may have done this very work.
        extra = {i.key for i in _in_every_job(run)}
        rest = [i for i in job if i.key not in extra] or job
        if not lap and all(finished(run.store.rounds(i.key), run.protocol) for i in rest):
            return
        processes.run_surviving(
            "profiler.worker:time_job", by_key, make_job, on_line, on_death, limits
        )
    _keep(run, lines, started_at, process, lap)
    run.on_progress(Progress(_done(run), _total(run, _done(run))))


def _entry(store: Store, wanted: Item) -> dict[str, Any]:
    calibration = store.calibration(wanted.key)
    return {
        "key": wanted.key,
        "path": wanted.artifact.path,
        "compiled": wanted.artifact.path + ".compiled" if wanted.composed else "",
        "reference": wanted.artifact.reference,
        "size_bytes": wanted.artifact.size_bytes,
        "circle_bytes": wanted.circle_bytes,
        "calibration": to_json(calibration) if calibration else None,
    }


def _fail(run: Collection, failed: Item, kind: str, message: str, log: str) -> None:
    failure = Failure(failed.workload, str(run.target), "run", kind, message, log)
    run.failures[failed.key] = failure
    run.store.add_failure(failure, failed.key)


def _keep(
    run: Collection, lines: list[Mapping[str, Any]], started_at: str, process: str, lap: str
) -> None:
    canary_ns = None
    canary_flags: list[str] = []
    if run.canary is not None:
        found = [line for line in lines if line["done"] == run.canary.key]
        if found:
            canary_ns = round(median(found[0]["samples_ns"]))
            canary_flags = _canary_flags(run.canaries_ns, canary_ns)
            run.canaries_ns.append(canary_ns)
    rounds = []
    for line in lines:
        telemetry = from_json(Telemetry, line["telemetry"])
        limits = (run.protocol.max_foreign_cores, run.protocol.max_steal)
        flags = [*environment.disturbances(telemetry, *limits), *canary_flags]
        taken = Round(
            process=process,
            started_at=started_at,
            samples_ns=tuple(line["samples_ns"]),
            batch=line["batch"],
            warmup=line["calibration"]["warmup"],
            load_ns=line["load_ns"],
            first_ns=line["first_ns"],
            actual=line["actual"],
            telemetry=telemetry,
            canary_ns=canary_ns,
            error=line["error"],
            flags=tuple(flags),
            peak_bytes=line["peak_bytes"],
            lap=lap,
            at_ns=tuple(line["at_ns"]),
        )
        rounds.append((line["done"], taken))
    calibrations = [(line["done"], Calibration(**line["calibration"])) for line in lines]
    run.store.add_job(rounds, calibrations)


def _canary_flags(earlier: Sequence[float], canary_ns: int) -> list[str]:
    """Against the canary in this run's earlier processes; of other days nothing follows."""
    if len(earlier) < 3:
        return []
    change = canary_ns / median(earlier) - 1
    return [f"the canary was {change:+.0%} off"] if abs(change) > CANARY_SHARE else []


def _done(run: Collection) -> float:
    return float(sum(run.store.valid_rounds(i.key) for i in run.items))


def _total(run: Collection, done: float) -> float:
    """What will be done in the end, as far as that can be told: at least the minimum."""
    wanted = run.protocol.min_rounds * len(run.items)
    return max(float(wanted), done)


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
