"""The jobs of a round: which items share a process, one process after the other, what is kept.

Jobs are dealt out in pairs. Both load at the same time, on a core each; then one is timed, and when
it is done the other. Where the system has no locks to wait for, each goes alone.
"""

from __future__ import annotations

import functools
import random
import tempfile
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profiler import environment, processes, turns
from profiler.collection import Collection, Item
from profiler.encoding import from_json, to_json
from profiler.processes import Death, Limits
from profiler.sampling import Calibration
from profiler.statistics import median
from profiler.store import Store, now
from profiler.turns import turn
from profiler.types import Failure, Protocol, Round, Target, Telemetry

# A round in which the canary lies further than this from its own median is not believed.
CANARY_SHARE = 0.2
# Loaded sessions take about this multiple of the artifact's size; two jobs may be loaded at once.
SESSION_SIZE = 2.5
MEMORY_SHARE = 0.25
AT_ONCE = 2 if turns.AVAILABLE else 1
# So many items are shared out to all that load at once, each of which has enough for its circles.
SHARED_OUT = 48
WORKER = "profiler.worker:time_job"


@dataclass(frozen=True, slots=True)
class Job:
    """What a process loads and times, one hand after the other; `seed` decides in what order."""

    hands: list[list[Item]]
    seed: int

    @property
    def items(self) -> list[Item]:
        """All items, each once."""
        return list({i.key: i for hand in self.hands for i in hand}.values())


def dealt(
    run: Collection, items: Sequence[Item], number: int, most: int | None = None
) -> list[list[Job]]:
    """The jobs of the next rounds, at most so many, those together that are loaded at once.

    A process takes one hand of one round; where it may take more rounds than one, a hand of each of
    them, and of hands that have to wait for memory as well.
    """
    name = f"{run.seed}-{number}"
    at_once = AT_ONCE if run.load_together else 1
    count = _hand_count(items, at_once)
    if run.rounds_each > 1 and len(items) >= SHARED_OUT:
        count = max(count, at_once)
    lacking = {i.key: run.rounds_to_take(i, most or run.rounds_each) for i in items}
    rounds = []
    for place in range(max(lacking.values(), default=0)):
        todo = [i for i in items if lacking[i.key] > place]
        rounds.append(_hands(todo, name, place, count, run.in_every_job))
    if run.rounds_each > 1:
        lanes = [[h for hands in rounds for h in hands[n::at_once]] for n in range(at_once)]
        return [[_job_of(lane, f"{name}-{n}") for n, lane in enumerate(lanes) if any(lane)]]
    jobs = [_job_of([h], f"{name}-{n}") for hands in rounds for n, h in enumerate(hands) if h]
    return [jobs[place : place + at_once] for place in range(0, len(jobs), at_once)]


def _job_of(hands: Iterable[list[Item]], name: str) -> Job:
    return Job([h for h in hands if h], random.Random(name).randrange(2**31))


def _hand_count(items: Sequence[Item], at_once: int) -> int:
    """Among how many hands the items of a round are dealt out: as few as memory allows, and if
    several, then so many that none loads alone."""
    memory = environment.memory_bytes() or 8 << 30
    limit = MEMORY_SHARE * memory / SESSION_SIZE
    size = sum(i.artifact.size_bytes for i in items)
    count = max(1, -(-size // int(limit)))
    return count + (-count % at_once if count > 1 else 0)


def _hands(
    items: Sequence[Item], name: str, place: int, count: int, shared: Sequence[Item]
) -> list[list[Item]]:
    """Deal the items of a round out at random, the shared to each hand.

    What is calibrated stays with the process that calibrated it; what stands in circles gets new
    neighbours in every round.
    """
    plain = sorted((i for i in items if not i.circle_bytes), key=lambda i: i.key)
    circling = sorted((i for i in items if i.circle_bytes), key=lambda i: i.key)
    random.Random(name).shuffle(plain)
    random.Random(f"{name} {place}").shuffle(circling)
    hands = [[*plain[n::count], *circling[n::count]] for n in range(count)]
    return [list({i.key: i for i in [*hand, *shared]}.values()) if hand else [] for hand in hands]


def take(run: Collection, jobs: Sequence[Job], lap: str = "") -> None:
    """Jobs in fresh processes, the results of each kept in one transaction."""
    waiting = run.progress(note="another opclock is working; waiting for it")
    with (
        turn(exclusive=True, on_wait=lambda: run.on_progress(waiting)),
        tempfile.TemporaryDirectory(prefix="opclock-clock-") as folder,
    ):
        # Whoever had the turn before may have done this very work.
        wanted = [j for j in jobs if lap or not _done_meanwhile(run, j)]
        clock = str(Path(folder, "clock")) if len(wanted) > 1 else ""
        together = _Together(run, lap, clock, len(wanted))
        processes.together([functools.partial(together.take, j) for j in wanted])


def _done_meanwhile(run: Collection, job: Job) -> bool:
    extra = {i.key for i in run.in_every_job}
    rest = [i for i in job.items if i.key not in extra] or job.items
    return all(run.has_enough(i) for i in rest)


class _Together:
    """Jobs that are loaded at once: what they tell comes from a thread for each."""

    def __init__(self, run: Collection, lap: str, clock: str, members: int) -> None:
        self._run = run
        self._lap = lap
        self._clock = clock
        self._members = members
        self._lock = threading.Lock()
        self._before = run.progress()
        self._shares: dict[int, float] = {}

    def take(self, job: Job) -> None:
        run, by_key = self._run, {i.key: i for i in job.items}
        lines: list[Mapping[str, Any]] = []
        started_at, process = now(), uuid.uuid4().hex[:12]
        expected = sum(len(hand) for hand in job.hands)

        def keep() -> None:
            for number in sorted({line["hand"] for line in lines}):
                taken = [line for line in lines if line["hand"] == number]
                _keep(run, taken, started_at, f"{process}-{number}", self._lap)
            lines.clear()

        def make_job(keys: list[str]) -> dict[str, Any]:
            entries = [_entry(run.store, by_key[k]) for k in keys]
            wanted = set(keys)
            hands = [[i.key for i in hand if i.key in wanted] for hand in job.hands]
            more = {"hands": hands, "clock": self._clock, "members": self._members}
            return {**_job(run.target, run.protocol, job.seed, entries), **more}

        def on_line(line: dict[str, Any]) -> None:
            with self._lock:
                if "share" in line:
                    self._shares[job.seed] = line["share"] * expected
                    self._tell()
                elif "failure" in line:
                    run.fail(by_key[line["done"]], line["failure"], line["message"])
                elif "samples_ns" in line:
                    lines.append(line)
                elif line.get("begins"):
                    keep()

        def on_death(key: str, death: Death) -> None:
            with self._lock:
                run.fail(by_key[key], death.kind, death.message, death.log)

        limits = Limits(run.protocol.limit_s)
        try:
            processes.run_surviving(WORKER, by_key, make_job, on_line, on_death, limits)
        finally:
            turns.leave(self._clock, len(job.hands))
        with self._lock:
            keep()
            self._shares[job.seed] = float(expected)
            self._tell()

    def _tell(self) -> None:
        """Tell how far it is; the store is not asked, somebody may be timed."""
        taken = sum(self._shares.values())
        self._run.on_progress(replace(self._before, done=self._before.done + taken))


def verify(
    store: Store, target: Target, protocol: Protocol, items: Sequence[Item], hands: int = 1
) -> dict[str, Failure]:
    """Load every artifact once and compare its outputs with torch's; nothing is timed.

    Returns the failures by key: what does not load, and what computes something else.
    """
    once = replace(protocol, passes=0)
    run = Collection(store, target, once, list(items), None)
    by_key = {i.key: i for i in items}
    lock = threading.Lock()

    def make_job(keys: list[str]) -> dict[str, Any]:
        entries = [{**_entry(store, by_key[k]), "calibration": None} for k in keys]
        return _job(target, once, 0, entries)

    def on_line(line: dict[str, Any]) -> None:
        if "failure" in line:
            with lock:
                run.fail(by_key[line["done"]], line["failure"], line["message"])

    def on_death(key: str, death: Death) -> None:
        with lock:
            run.fail(by_key[key], death.kind, death.message, death.log)

    def load(keys: list[str]) -> None:
        mine = {k: by_key[k] for k in keys}
        limits = Limits(protocol.limit_s)
        processes.run_surviving(WORKER, mine, make_job, on_line, on_death, limits)

    with turn(exclusive=False, on_wait=lambda: None):
        dealt = processes.chunks(list(by_key), hands)
        processes.together([functools.partial(load, keys) for keys in dealt])
    return run.failures


def _job(
    target: Target, protocol: Protocol, seed: int, entries: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "target": to_json(target),
        "protocol": to_json(protocol),
        "seed": seed,
        "items": entries,
    }


def _entry(store: Store, wanted: Item) -> dict[str, Any]:
    calibration = store.calibration(wanted.key)
    return {
        "key": wanted.key,
        "path": wanted.artifact.path,
        "reference": wanted.artifact.reference,
        "size_bytes": wanted.artifact.size_bytes,
        "circle_bytes": wanted.circle_bytes,
        "calibration": to_json(calibration) if calibration else None,
    }


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
