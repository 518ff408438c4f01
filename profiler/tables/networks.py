"""Sequences of blocks as artifacts: each distinct block is exported once, all else is composed."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from profiler import exporting, formats, jobs, measure, plugins
from profiler.collection import Collection, Item, Progress
from profiler.exporting import Request
from profiler.spaces import Space
from profiler.store import Store, now
from profiler.tables import plan
from profiler.tables.table import Size
from profiler.types import Artifact, Failure, Format, Protocol, Round, Target, Workload

# Rounds of tables: few short visits in many fresh processes, because processes differ more than
# visits do. Chains are run one after the other in circles as large as the networks that they occur
# in: in a network all other blocks have been at the caches since a block ran last. Timed in a row,
# a chain would keep its weights nearer than a network does; in a circle of all chains they would be
# further away, on a machine whose last cache holds a network (docs/METHOD.md has the figures).
PROTOCOL = Protocol(
    warmup_runs=1,
    warmup_floor_ns=0,
    warmup_limit_ns=20_000_000,
    sample_floor_ns=500_000,
    visit_samples=12,
    visit_limit_ns=8_000_000,
    passes=6,
    circles=6,
    circle_laps=2,
    min_rounds=8,
    max_rounds=8,
    half_width=0.0,
)

# For small budgets: more rounds of fewer visits.
BRIEF = dataclasses.replace(PROTOCOL, passes=2, circles=4, circle_laps=1)
BRIEF_S = 180.0

# Of many chains each needs fewer visits: a network's error is the mean of those of its rows.
MANY_CHAINS = 300

LINKS = 12
HANDS = max(1, min(4, os.cpu_count() or 1))


@dataclass
class Bench:
    """All that building and checking have in common: where, on what, how, and who is told."""

    store: Store
    space: Space
    target: Target
    protocol: Protocol
    seed: int = 0
    budget_s: float | None = None
    again: bool = False
    on_stage: Callable[[str], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    failures: list[Failure] = field(default_factory=list)
    composed: list[Artifact] = field(default_factory=list)
    sizes: dict[str, Size] = field(default_factory=dict)
    begun_s: float = field(default_factory=time.monotonic)
    begun_at: str = field(default_factory=now)

    @property
    def brief(self) -> bool:
        """Whether the budget is too small for anything but the essential."""
        return self.budget_s is not None and self.budget_s <= BRIEF_S

    @property
    def left_s(self) -> float | None:
        """What is left of the budget; exporting takes of it too."""
        if self.budget_s is None:
            return None
        return max(0.0, self.budget_s - (time.monotonic() - self.begun_s))

    @property
    def format(self) -> Format:
        """The artifact format of the target's runtime."""
        return formats.executed_by(self.target)


def for_many(protocol: Protocol) -> Protocol:
    """How chains are timed when a build measures more than MANY_CHAINS of them at once.

    In three circles of three laps they scatter less than in two of four, which takes hardly less
    time: what stands around a chain and when it runs make more of a difference than laps do.
    """
    fewer = {"passes": min(2, protocol.passes), "circles": min(3, protocol.circles)}
    laps = max(3, protocol.circle_laps)
    return dataclasses.replace(protocol, **fewer, circle_laps=laps, min_rounds=6, max_rounds=6)


def sequence_name(blocks: Sequence[str]) -> str:
    """One text for a sequence: repeated blocks are counted."""
    parts: list[list[str]] = []
    for block in blocks:
        if parts and parts[-1][0] == block:
            parts[-1].append(block)
        else:
            parts.append([block])
    return " ".join(p[0] if len(p) == 1 else f"{len(p)}*{p[0]}" for p in parts)


def export(
    bench: Bench, keys: Iterable[str], whole: Mapping[str, Workload]
) -> tuple[dict[str, Artifact], dict[str, Item]]:
    """Every distinct block as an artifact, and items for networks that are exported whole.

    Blocks are checked against torch; failures are kept apart. Where the format cannot be composed
    of parts, sequences are exported whole instead, and no block is exported.
    """
    parts = part_format(bench)
    blocks: dict[str, Request] = {}
    if parts is not None:
        found = {k: plan.block(bench.space, k).workload for k in sorted(set(keys))}
        blocks = {k: Request(w, parts, together=True) for k, w in found.items()}
    networks = {n: Request(w, bench.format) for n, w in whole.items()}
    # At once, so that no hand is idle while another one exports a large network.
    requests = {f"network {n}": r for n, r in networks.items()}
    requests |= {f"block {k}": r for k, r in blocks.items()}
    built = _build(bench, requests, "exporting blocks")
    made = {k: built[f"block {k}"] for k in blocks if f"block {k}" in built}
    items = {n: built[f"network {n}"] for n in networks if f"network {n}" in built}
    return _verified(bench, blocks, made), _items(bench, networks, items)


def _verified(
    bench: Bench, requests: Mapping[str, Request], found: Mapping[str, Artifact]
) -> dict[str, Artifact]:
    """The blocks that compute what torch does."""
    target = bench.target
    names = {r.format.name for r in requests.values()} - {bench.format.name}
    if names:
        target = dataclasses.replace(target, options={**target.options, "format": names.pop()})
    items = [Item.of(requests[k].workload, a, target, bench.protocol) for k, a in found.items()]
    wrong = jobs.verify(bench.store, target, bench.protocol, items, HANDS)
    bench.failures += wrong.values()
    bad = {f.workload.key for f in wrong.values()}
    return {k: a for k, a in found.items() if requests[k].workload.key not in bad}


def part_format(bench: Bench) -> Format | None:
    """The format of the parts that the target's artifacts are composed of, or None."""
    exporter = plugins.load("exporters", bench.format.name)
    parts: Format | None = exporter.parts(bench.format) if hasattr(exporter, "compose") else None
    return parts


def compose(
    bench: Bench,
    sequences: Mapping[str, Sequence[str]],
    blocks: Mapping[str, Artifact],
    within: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Item]:
    """Items for sequences of blocks, by the caller's names; what lacks a block is left out.

    Those that are to be timed as within a network have its bytes in `within`.
    """
    if part_format(bench) is None:
        return _exported_whole(bench, sequences, within)
    requests = {}
    for name, keys in sequences.items():
        if all(k in blocks for k in keys):
            parameters = {"space": bench.space.name, "blocks": list(keys)}
            workload = Workload("profiler.tables.networks:compose", parameters, name)
            requests[name] = Request(workload, bench.format, tuple(blocks[k] for k in keys))
    artifacts = _build(bench, requests, "composing chains and networks")
    bench.composed += artifacts.values()
    return _items(bench, requests, artifacts, within)


def _items(
    bench: Bench,
    requests: Mapping[str, Request],
    artifacts: Mapping[str, Artifact],
    within: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Item]:
    target, rules = bench.target, bench.protocol
    return {
        n: Item.of(requests[n].workload, a, target, rules, circle_bytes=within.get(n, 0))
        for n, a in artifacts.items()
    }


def _exported_whole(
    bench: Bench,
    sequences: Mapping[str, Sequence[str]],
    within: Mapping[str, int],
) -> dict[str, Item]:
    """Items for sequences that are chained in torch and go through the exporter each."""
    requests = {}
    for name, keys in sequences.items():
        found = [plan.block(bench.space, k).workload for k in keys]
        blocks = [{"builder": w.builder, "parameters": dict(w.parameters)} for w in found]
        workload = Workload(exporting.SEQUENCE, {"blocks": blocks}, name)
        requests[name] = Request(workload, bench.format)
    artifacts = _build(bench, requests, "exporting chains and networks")
    return _items(bench, requests, artifacts, within)


def real(bench: Bench, workloads: Mapping[str, Workload]) -> dict[str, Item]:
    """Items for whole networks that go through the exporter as they are."""
    requests = {n: Request(w, bench.format) for n, w in workloads.items()}
    return _items(bench, requests, _build(bench, requests, "exporting networks"))


def _build(bench: Bench, requests: Mapping[str, Request], stage: str) -> dict[str, Artifact]:
    if not requests:
        return {}
    bench.on_stage(stage)
    done = 0

    def on_result(_: Request, __: object) -> None:
        nonlocal done
        done += 1
        bench.on_progress(Progress(done, len(requests)))

    waiting = Progress(0, len(requests), "another opclock is timing; waiting for it")
    results = exporting.build(
        bench.store,
        requests,
        on_result,
        lambda: bench.on_progress(waiting),
        bench.protocol.limit_s,
        hands=HANDS,
    )
    bench.failures += [r for r in results.values() if isinstance(r, Failure)]
    return {k: r for k, r in results.items() if isinstance(r, Artifact)}


def take_rounds(
    bench: Bench, items: Sequence[Item], canary: Item | None, links: Sequence[Item] = ()
) -> dict[str, list[Round]]:
    """Measure items in shared rounds. Returns the usable rounds, by key.

    Where some have their rounds from earlier processes, a sample of those (and `links`) is
    timed beside the new ones, so that all processes can be compared.
    """
    bench.on_stage("measuring")
    runtime = plugins.load("profiler.runtimes", bench.target.runtime)
    if bench.again:
        bench.store.put_by([i.key for i in items])
    run = Collection(
        bench.store,
        bench.target,
        bench.protocol,
        list(items),
        canary,
        seed=bench.seed,
        together=False,
        load_together=True,
        rounds_each=getattr(runtime, "ROUNDS_PER_PROCESS", 1),
        links=list(links),
        budget_s=bench.left_s,
        on_progress=bench.on_progress,
    )
    done = [i for i in items if run.has_enough(i)]
    run.links += random.Random(bench.seed).sample(done, min(LINKS, len(done)))
    measure.collect(run)
    bench.failures += run.failures.values()
    return measure.collected(run)


def tidy(bench: Bench) -> None:
    """Delete composed artifacts: they are large, and made again in milliseconds."""
    for artifact in bench.composed:
        shutil.rmtree(Path(artifact.path).parent, ignore_errors=True)
    bench.composed.clear()
