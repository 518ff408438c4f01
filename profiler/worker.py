"""The process that times: one job of many artifacts, one line of results for each.

It loads every artifact of the job, compares first outputs with the framework's, warms up, then
visits all of them in shuffled order, a canary among them; and does all that again for every further
hand. A workload that raises becomes a failure line; one that kills the process has been announced,
so the parent knows which it was.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import random
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from profiler import environment, plugins, sampling
from profiler.encoding import from_json, to_json
from profiler.processes import Channel, one_line
from profiler.sampling import Calibration, Extent
from profiler.turns import Clock
from profiler.types import Protocol, Target

# Largest difference from the framework's float32 output, as a share of its largest value: float32
# kernels that sum in another order stay below 1e-3 on every network we know, and a folded branch
# or a wrong layout is of the order of 1. What computes in fewer bits is further off; the error is
# reported with every measurement.
MAX_RELATIVE_ERROR = {"fp32": 1e-2, "fp16": 5e-2, "bf16": 2e-1, "int8": 5e-1}
# Of a precision that only a new runtime knows.
LOOSEST = max(MAX_RELATIVE_ERROR.values())
# Torch computed the reference outputs from the very same inputs.
INPUT_SEED = 0
# What takes so many times the floor of a clock reading has no copy on its other side.
FAR = 4
UNCALIBRATED = Calibration(0, 1)
# How much of a job is done when all is loaded.
LOADED = 0.3


class WrongOutput(Exception):
    """The runtime's output is not the framework's."""


@dataclass
class Item:
    """One loaded workload and what has been seen of it."""

    key: str
    call: Callable[[], Any]
    elapsed_ns: sampling.Elapsed
    load_ns: int
    first_ns: int
    error: float | None
    actual: Mapping[str, str]
    size_bytes: int
    circle_bytes: int
    peak_bytes: int | None = None
    latency_ns: int = 0
    calibration: Calibration = UNCALIBRATED
    samples_ns: list[int] = field(default_factory=list)
    at_ns: list[int] = field(default_factory=list)

    def notes(self, elapsed_ns: sampling.Elapsed) -> sampling.Elapsed:
        """The same clock, each reading of which is kept as about what an inference takes."""

        def read(call: Callable[[], object], batch: int) -> int:
            took = elapsed_ns(call, batch)
            self.latency_ns = took // batch
            return took

        return read


@dataclass
class Work:
    """What is common to the hands of a job, and which of them it is at."""

    target: Target
    protocol: Protocol
    runtime: Any
    channel: Channel
    generator: random.Random
    hands: int
    hand: int = 0

    def beat(self, share: float) -> None:
        """Tell how far this hand is."""
        self.channel.beat((self.hand + share) / self.hands)

    def fail(self, key: str, error: Exception) -> None:
        """Tell what a workload's own error was, of whatever kind: it becomes a Failure."""
        kind = "wrong-output" if isinstance(error, WrongOutput) else self.runtime.kind_of(error)
        if isinstance(error, MemoryError):
            kind = "out-of-memory"
        self.channel.send({"done": key, "failure": kind, "message": one_line(error)[:2000]})


def time_job(job: Mapping[str, Any], channel: Channel) -> None:
    """Do a job: {target, protocol, seed, items: [{key, path, reference, calibration}]}.

    {hands} are keys of items that are loaded and timed together, one hand after the other; without
    them all are one. {clock, members} if others load beside it.
    """
    target = from_json(Target, job["target"])
    entries = {e["key"]: e for e in job["items"]}
    hands = job.get("hands") or [list(entries)]
    work = Work(
        target,
        from_json(Protocol, job["protocol"]),
        plugins.load("profiler.runtimes", target.runtime),
        channel,
        random.Random(job["seed"]),
        len(hands),
    )
    clock = Clock(job.get("clock", ""), job.get("members", 1), lambda: work.beat(LOADED))
    items: dict[str, Item] = {}
    for number, hand in enumerate(hands):
        work.hand = number
        if number:
            clock.stop()
        clock.load()
        # Not before, because now nobody is timed: the parent keeps what the last hand gave, and
        # what was loaded for it is given back.
        channel.send({"begins": number})
        items.clear()
        items = _load([entries[k] for k in hand if k in entries], work)
        clock.start()
        _time(items, work)
        for key in hand:
            if key in items:
                calibration = dataclasses.asdict(items[key].calibration)
                entries[key] = {**entries[key], "calibration": calibration}
            else:
                entries.pop(key, None)


def _load(wanted: list[Mapping[str, Any]], work: Work) -> dict[str, Item]:
    gc.enable()
    gc.collect()
    work.runtime.start()
    items: dict[str, Item] = {}
    for number, entry in enumerate(wanted):
        work.channel.announce(entry["key"])
        work.beat(LOADED * number / len(wanted))
        try:
            items[entry["key"]] = _prepare(entry, work.runtime, work.target, work.protocol)
        except Exception as error:  # a workload's own
            work.fail(entry["key"], error)
    fresh = {e["key"] for e in wanted if not e.get("calibration")}
    _align(items, fresh, work.protocol.sample_floor_ns)
    return items


def _align(items: Mapping[str, Item], fresh: Set[str], floor_ns: int) -> None:
    """Give workloads that take about as long as one another as many inferences per clock reading.

    Means of two inferences are spread otherwise than single ones: copies of a network just below
    and just above the floor of a reading differ by percents in means and quartiles. What takes far
    longer than the floor is read after each inference, its copies too.
    """
    batches = [i.calibration.batch for i in items.values() if not i.circle_bytes]
    for key, item in items.items():
        own = item.calibration.batch
        if key in fresh and not item.circle_bytes and item.latency_ns < FAR * floor_ns:
            batch = max(b for b in batches if b <= 2 * own)
            item.calibration = dataclasses.replace(item.calibration, batch=batch)


def _time(items: dict[str, Item], work: Work) -> None:
    protocol, channel = work.protocol, work.channel
    gc.collect()
    gc.disable()
    before = environment.read_counters()
    begun = time.perf_counter_ns()
    extents = {k: Extent(i.size_bytes, i.circle_bytes) for k, i in items.items()}
    cache_bytes = environment.last_cache_bytes() or math.inf
    order = sampling.schedule(extents, protocol, work.generator, cache_bytes)
    for number, place in enumerate(order):
        work.beat(LOADED + (1 - LOADED) * number / len(order))
        # The first lap of a circle brings its weights to where those of a network would be.
        untimed = int(place.circle and place.untimed)
        for lap in range(protocol.circle_laps + untimed if place.circle else 1):
            for key in (*place.keys, *place.beside):
                if key not in items:
                    continue
                channel.announce(key)
                try:
                    if lap < untimed or key in place.beside:
                        items[key].call()
                    else:
                        _visit(items[key], protocol, begun, place.untimed)
                except Exception as error:  # a workload's own
                    del items[key]
                    work.fail(key, error)
    telemetry = environment.quietness(before, environment.read_counters())
    for item in items.values():
        channel.send(
            {
                "done": item.key,
                "hand": work.hand,
                "samples_ns": item.samples_ns,
                "at_ns": item.at_ns,
                "calibration": dataclasses.asdict(item.calibration),
                "batch": batch_of(item),
                "load_ns": item.load_ns,
                "first_ns": item.first_ns,
                "error": item.error,
                "actual": dict(item.actual),
                "peak_bytes": item.peak_bytes,
                "telemetry": to_json(telemetry),
            }
        )


def _visit(item: Item, protocol: Protocol, begun: int, untimed: bool) -> None:
    """One visit; in a circle a single timed run."""
    at = time.perf_counter_ns() - begun
    if item.circle_bytes:
        taken = [max(1, item.elapsed_ns(item.call, 1))]
    else:
        taken = sampling.visit(item.call, batch_of(item), protocol, item.elapsed_ns, untimed)
    item.samples_ns += taken
    item.at_ns += [at] * len(taken)


def batch_of(item: Item) -> int:
    """Inferences per clock reading: one in a circle."""
    return 1 if item.circle_bytes else item.calibration.batch


def _prepare(entry: Mapping[str, Any], runtime: Any, target: Target, protocol: Protocol) -> Item:
    held = environment.restart_peak()
    before = time.perf_counter_ns()
    session = runtime.load(entry["path"], target)
    loaded = time.perf_counter_ns()
    call = session.bind(random_feeds(session.inputs))
    started = time.perf_counter_ns()
    outputs = call()
    first = time.perf_counter_ns()
    peak = environment.peak_bytes()
    error = None
    if entry.get("reference"):
        error = compare(session.outputs(outputs), entry["reference"], target.precision)
    elapsed_ns = getattr(session, "elapsed_ns", sampling.elapsed_ns)
    item = Item(
        entry["key"],
        call,
        elapsed_ns,
        loaded - before,
        first - started,
        error,
        session.actual,
        int(entry.get("size_bytes", 0)),
        int(entry.get("circle_bytes", 0)) if protocol.circles else 0,
        None if held is None or peak is None else max(0, peak - held),
    )
    if entry.get("calibration"):
        item.calibration = Calibration(**entry["calibration"])
        sampling.warm_up(call, item.calibration.warmup)
    elif protocol.passes and not item.circle_bytes:
        item.calibration = sampling.calibrate(call, protocol, item.notes(elapsed_ns))
    return item


def random_feeds(inputs: list[tuple[str, tuple[int, ...], str]]) -> dict[str, Any]:
    """Inputs by name: normal random floats, small random integers, of a fixed seed.

    Zeros would lie: the time of a GELU may depend on the values.
    """
    import numpy

    generator = numpy.random.default_rng(INPUT_SEED)
    feeds = {}
    for name, shape, kind in inputs:
        if kind.startswith("float"):
            feeds[name] = generator.standard_normal(shape, dtype="float32").astype(kind)
        elif kind == "bool":
            feeds[name] = generator.integers(0, 2, shape).astype(kind)
        else:
            feeds[name] = generator.integers(0, 8, shape).astype(kind)
    return feeds


def compare(outputs: list[Any], reference: str, precision: str = "fp32") -> float:
    """The largest relative error over all outputs. Raises WrongOutput beyond the tolerance."""
    import numpy

    worst = 0.0
    with numpy.load(reference, allow_pickle=False) as expected:
        if len(outputs) != len(expected.files):
            raise WrongOutput(f"{len(outputs)} outputs, torch gives {len(expected.files)}")
        for number, got in enumerate(outputs):
            want = expected[f"output{number}"]
            if got.shape != want.shape:
                raise WrongOutput(f"output {number} has shape {got.shape}, torch's {want.shape}")
            if not got.size:
                continue
            if not numpy.isfinite(got.astype("float64")).all():
                raise WrongOutput(f"output {number} is infinite or undefined, torch's is not")
            largest = float(numpy.abs(want).max()) or 1.0
            difference = numpy.abs(got.astype("float64") - want.astype("float64"))
            worst = max(worst, float(difference.max()) / largest)
    if not worst <= MAX_RELATIVE_ERROR.get(precision, LOOSEST):
        raise WrongOutput(f"the output differs from torch's by {worst:.2g} of its largest value")
    return worst
