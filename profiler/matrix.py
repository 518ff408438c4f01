"""Every network through every format and runtime: what converts, what runs, and how fast.

A survey, not a measurement: few samples in one round, one thread, so that hundreds of cells take
a quarter of an hour. Everything lies in the store, so that an interrupted survey goes on where it
stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from profiler import formats, measure, plugins, workloads
from profiler.collection import Collection, Item, Progress
from profiler.exporting import Request
from profiler.store import Store
from profiler.types import Artifact, Failure, Format, Protocol, Target, Workload, usable

PROTOCOL = Protocol(
    warmup_runs=3,
    warmup_floor_ns=50_000_000,
    warmup_limit_ns=500_000_000,
    visit_samples=8,
    visit_limit_ns=150_000_000,
    passes=2,
    min_rounds=1,
    max_rounds=1,
)
# Exported, but not to be executed by a runtime of its own: a phone's.
ONLY_CONVERTED = ("onnx:profile=nnapi,gelu=tanh",)


@dataclass(frozen=True, slots=True)
class Run:
    """One artifact on one target: the median of all samples and the error against torch."""

    p50_ns: int | None = None
    relative_error: float | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One network in one format, and on the runtimes that take the format."""

    network: str
    format: str
    artifact: Artifact | None = None
    failure: str = ""
    runs: Mapping[str, Run] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Matrix:
    """All cells; `elsewhere` says for each format that no runtime here takes where it would run."""

    networks: tuple[str, ...]
    formats: tuple[str, ...]
    targets: tuple[str, ...]
    cells: tuple[Cell, ...]
    elsewhere: Mapping[str, str]


def default_formats() -> list[str]:
    """Every format of the exporters that are available here, and the form for NNAPI."""
    names = [n for n in plugins.names("exporters") if not plugins.load("exporters", n).missing()]
    # .ort holds the same graph as ONNX.
    return [n for n in names if n != "ort"] + [f for f in ONLY_CONVERTED if "onnx" in names]


def default_targets(wanted: Sequence[str]) -> list[str]:
    """The runtimes that run here and take one of these formats, on one thread."""
    found = []
    for name in plugins.names("profiler.runtimes"):
        runtime = plugins.load("profiler.runtimes", name)
        if not runtime.missing() and runtime.FORMATS[0] in wanted:
            found.append(f"host/{name}")
    return found


def elsewhere(wanted: Sequence[str], targets: Sequence[Target]) -> dict[str, str]:
    """For each format that none of the targets takes: what its runtime says that it needs."""
    taken = {str(formats.executed_by(t)) for t in targets}
    missing = {}
    for text in wanted:
        made_as = formats.parse(text)
        if str(made_as) in taken:
            continue
        needs = [
            f"{name}: {runtime.missing() or 'not asked for'}"
            for name in plugins.names("profiler.runtimes")
            if made_as.name in (runtime := plugins.load("profiler.runtimes", name)).FORMATS
        ]
        phone = "ONNX Runtime with NNAPI: needs an Android phone"
        missing[text] = phone if text in ONLY_CONVERTED else "; ".join(needs)
    return missing


def requests(found: Sequence[Workload], wanted: Sequence[str]) -> dict[str, Request]:
    """What has to be exported, by `network format`; the canary for every format that runs."""
    made_as = {text: formats.parse(text) for text in wanted}
    return {
        _key(workload, text): Request(workload, chosen)
        for text, chosen in made_as.items()
        for workload in [*found, workloads.CANARY]
    }


def _key(workload: Workload, text: str) -> str:
    return f"{workload.key} {text}"


def survey(
    store: Store,
    found: Sequence[Workload],
    wanted: Sequence[str],
    targets: Sequence[Target],
    built: Mapping[str, Artifact | Failure],
    recall_failures: bool,
    on_stage: Callable[[str], None],
    on_progress: Callable[[Progress], None],
) -> Matrix:
    """Run on every target what was built for it, and put the cells together."""
    runs: dict[str, dict[str, Run]] = {}
    for target in targets:
        made_as = formats.executed_by(target)
        text = next((t for t in wanted if formats.parse(t) == made_as), None)
        if text is None:
            continue
        on_stage(f"measuring on {target.runtime}")
        short = f"{target.device}/{target.runtime}"
        chosen = {w.name: built[_key(w, text)] for w in found}
        artifacts = {n: a for n, a in chosen.items() if isinstance(a, Artifact)}
        canary = built[_key(workloads.CANARY, text)]
        by_name = {w.name: w for w in found}
        for name, run in _measured(
            store, {n: (by_name[n], a) for n, a in artifacts.items()}, canary, target,
            recall_failures, on_progress,
        ).items():  # fmt: skip
            runs.setdefault(f"{name} {text}", {})[short] = run
    cells = [
        _cell(w.name, text, built[_key(w, text)], runs.get(f"{w.name} {text}", {}))
        for w in found
        for text in wanted
    ]
    names = tuple(f"{t.device}/{t.runtime}" for t in targets)
    return Matrix(
        tuple(w.name for w in found),
        tuple(wanted),
        names,
        tuple(cells),
        elsewhere(wanted, targets),
    )


def _cell(name: str, text: str, built: Artifact | Failure, runs: Mapping[str, Run]) -> Cell:
    if isinstance(built, Failure):
        return Cell(name, text, failure=f"{built.kind}: {built.message}")
    return Cell(name, text, built, runs=runs)


def _measured(
    store: Store,
    artifacts: Mapping[str, tuple[Workload, Artifact]],
    canary: Artifact | Failure,
    target: Target,
    recall_failures: bool,
    on_progress: Callable[[Progress], None],
) -> dict[str, Run]:
    items = {n: Item.of(w, a, target, PROTOCOL) for n, (w, a) in artifacts.items()}
    known = {n: store.failure(i.key) for n, i in items.items()} if recall_failures else {}
    todo = [i for n, i in items.items() if not known.get(n)]
    watch = None
    if isinstance(canary, Artifact):
        watch = Item.of(workloads.CANARY, canary, target, PROTOCOL, replica=-1)
    run = Collection(store, target, PROTOCOL, todo, watch, together=False, on_progress=on_progress)
    measure.collect(run)
    return {n: _run(store, i, known.get(n) or run.failures.get(i.key)) for n, i in items.items()}


def _run(store: Store, item: Item, failure: Failure | None) -> Run:
    if failure:
        return Run(failure=f"{failure.kind}: {failure.message}")
    taken = store.rounds(item.key)
    if not taken:
        return Run(failure="no round was taken")
    samples = sorted(s for r in usable(taken) for s in r.samples_ns)
    errors = [r.error for r in taken if r.error is not None]
    return Run(samples[len(samples) // 2], max(errors, default=None))


def versions(made_as: Sequence[Format]) -> dict[str, str]:
    """What made and ran the artifacts."""
    found: dict[str, str] = {}
    for chosen in made_as:
        found |= plugins.load("exporters", chosen.name).versions()
    for name in plugins.names("profiler.runtimes"):
        runtime = plugins.load("profiler.runtimes", name)
        if not runtime.missing():
            found.setdefault(name, runtime.version())
    return dict(sorted(found.items()))
