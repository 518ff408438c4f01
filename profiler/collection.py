"""Workloads that are measured together, and how far their measuring is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from profiler import devices, plugins
from profiler.encoding import digest, to_json
from profiler.statistics import covers, half_width, median
from profiler.store import Store
from profiler.types import Artifact, Failure, Protocol, Round, Target, Workload

# What decides when to stop or what to discard does not decide what a sample is: rounds taken
# under another rule still hold.
RULES = ("min_rounds", "max_rounds", "half_width", "limit_s", "max_foreign_cores", "max_steal")


@dataclass(frozen=True, slots=True)
class Item:
    """A workload with its artifact, and the key under which the store keeps its rounds.

    With `most_rounds` it has enough with so many, whatever the protocol says.
    """

    workload: Workload
    artifact: Artifact
    key: str
    circle_bytes: int = 0
    most_rounds: int | None = None

    @classmethod
    def of(
        cls,
        workload: Workload,
        artifact: Artifact,
        target: Target,
        protocol: Protocol,
        replica: int = 0,
        circle_bytes: int = 0,
    ) -> Item:
        """An item whose key holds all that decides its latency.

        `replica` tells apart a workload and itself, when compared. With `circle_bytes` it is timed
        as within a network of that size: in circles with others (`sampling.circles`).
        """
        runtime = plugins.load("profiler.runtimes", target.runtime)
        device = devices.device(target.device)
        taking = {k: v for k, v in to_json(protocol).items() if k not in RULES}
        parts = [str(target), runtime.version(), device.fingerprint, taking, replica, circle_bytes]
        return cls(workload, artifact, digest(artifact.digest, *parts), circle_bytes)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection is; `note` is set when there is something to say."""

    done: float
    total: float
    note: str = ""


OnProgress = Callable[[Progress], None]


@dataclass
class Collection:
    """A set of items that share their rounds: the state of one run of `measure.collect`.

    `links` are items that have their rounds already and are timed in every process all the
    same: through them the speeds of new processes can be compared with those of earlier ones.
    Processes of one round `load_together` where loading takes long and how long is of no interest.
    Each takes up to `rounds_each` rounds, for each of which it loads everything anew.
    """

    store: Store
    target: Target
    protocol: Protocol
    items: list[Item]
    canary: Item | None
    seed: int = 0
    together: bool = True
    load_together: bool = False
    rounds_each: int = 1
    links: list[Item] = field(default_factory=list)
    budget_s: float | None = None
    on_progress: OnProgress = lambda _: None
    failures: dict[str, Failure] = field(default_factory=dict)
    canaries_ns: list[float] = field(default_factory=list)

    @property
    def in_every_job(self) -> list[Item]:
        """The canary, and what links new processes to earlier ones."""
        extra = [*self.links, *([self.canary] if self.canary else [])]
        return [i for i in extra if i.key not in self.failures]

    @property
    def unfinished(self) -> list[Item]:
        """What lacks rounds and has not failed."""
        return [i for i in self.items if i.key not in self.failures and not self.has_enough(i)]

    def has_enough(self, item: Item) -> bool:
        """Whether an item has all the rounds that it will get."""
        return finished(self.store.rounds(item.key), self.protocol, item.most_rounds)

    def rounds_to_take(self, item: Item, most: int) -> int:
        """How many rounds of an item the next process takes, at most so many."""
        wanted = min(self.protocol.max_rounds, item.most_rounds or self.protocol.max_rounds)
        return max(1, min(wanted - self.store.valid_rounds(item.key), most))

    def fail(self, failed: Item, kind: str, message: str, log: str = "") -> None:
        """Keep that an item failed, here and in the store."""
        failure = Failure(failed.workload, str(self.target), "run", kind, message, log)
        self.failures[failed.key] = failure
        self.store.add_failure(failure, failed.key)

    def progress(self, note: str = "") -> Progress:
        """How many rounds there are, of how many: at least the minimum, as far as can be told."""
        done = float(sum(self.store.valid_rounds(i.key) for i in self.items))
        least = self.protocol.min_rounds
        wanted = sum(min(least, i.most_rounds or least) for i in self.items)
        return Progress(done, max(float(wanted), done), note)


def finished(rounds: Sequence[Round], protocol: Protocol, most: int | None = None) -> bool:
    """Whether a workload has all the rounds that it will get: at most `most`."""
    valid = [median(r.samples_ns) for r in rounds if r.valid]
    most = min(protocol.max_rounds, most or protocol.max_rounds)
    if len(valid) >= most or len(rounds) >= 2 * most:
        return True
    enough = len(valid) >= protocol.min_rounds and covers(len(valid))
    return enough and half_width(valid) <= protocol.half_width
