"""Measure the cases of experiments on one target: export chains, take shared rounds, add up."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profiler import drift, experiments, exporting, formats, measure, roofline, workloads
from profiler.collection import Collection, Item, Progress, finished
from profiler.experiments import ALONE, FRONT, ONE, WITHOUT, Case, Cost, Line, Rounds
from profiler.exporting import Request
from profiler.roofline import SIZES, Place, Roofline
from profiler.statistics import covers
from profiler.store import Store
from profiler.tables import circles
from profiler.tables.networks import PROTOCOL
from profiler.types import Artifact, Failure, Protocol, Structure, Target, Workload

# Chains are timed as those of tables are, a single run each in turn; in twelve rounds, so that
# forty comparisons that are corrected together could each have a verdict.
ROUNDS = 12
# The roofline's workloads are long, and steady.
ROOF_ROUNDS = 6
HANDS = 2
SIZES_IN_TEXT = re.compile(r"\[([\d,]+)\]$")

Built = Mapping[str, Artifact | Failure]


@dataclass
class Trial:
    """Where and how experiments are measured, and who is told; failures gather here."""

    store: Store
    target: Target
    rounds: int = ROUNDS
    seed: int = 0
    limit_s: float = 120.0
    budget_s: float | None = None
    again: bool = False
    on_stage: Callable[[str], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was built and measured: artifacts or failures by workload's key, rounds likewise."""

    built: Built
    rounds: Mapping[str, Rounds]

    def artifact(self, workload: Workload) -> Artifact | None:
        """The artifact of a workload, if there is one."""
        found = self.built.get(workload.key)
        return found if isinstance(found, Artifact) else None


def run(trial: Trial, wanted: Sequence[Case], alone: bool = True, roof: bool = True) -> Result:
    """Measure cases, those that share an experiment compared with their baselines.

    With `alone` the bare operators too, with `roof` the target's roofline if the store lacks it.
    """
    taken = take(trial, wanted, alone)
    found = measure_roofline(trial) if roof else None
    return Result(str(trial.target), found, lines(wanted, taken, found))


@dataclass(frozen=True, slots=True)
class Result:
    """An experiment on one target."""

    target: str
    roofline: Roofline | None
    lines: tuple[Line, ...]


# Measuring -----------------------------------------------------------------------------------


def take(trial: Trial, wanted: Sequence[Case], alone: bool = True) -> Taken:
    """Export and measure all chains of these cases in shared rounds."""
    parts = {
        c.label: [*experiments.PARTS, *([ALONE] if alone and c.alternative.name != WITHOUT else [])]
        for c in wanted
    }
    every = [c.workload(p) for c in wanted for p in parts[c.label]]
    built = _export(trial, {w.key: w for w in every})
    trial.failures += [
        f for w in every if isinstance(f := built[w.key], Failure) and f.kind != "skipped"
    ]
    rules = _rules(trial, trial.rounds)
    items = {}
    for each in wanted:
        so_far = Taken(built, {})
        if _failure(each, so_far):
            continue
        left_out = [FRONT] if _keeps_shape(each, so_far) else []
        for part in (p for p in parts[each.label] if p not in left_out):
            workload = each.workload(part)
            if artifact := so_far.artifact(workload):
                items[workload.key] = Item.of(
                    workload,
                    artifact,
                    trial.target,
                    rules,
                    circle_bytes=0 if part == ALONE else circles.rounded(circles.NETWORK_BYTES),
                )
    return Taken(built, _collect(trial, rules, items, built))


def measure_roofline(trial: Trial) -> Roofline | None:
    """The target's roofline, from the store or measured now."""
    wanted = {w.key: w for w in roofline.workloads(trial.target)}
    built = _export(trial, wanted)
    trial.failures += [f for k in wanted if isinstance(f := built[k], Failure)]
    rules = _rules(trial, ROOF_ROUNDS)
    items = {
        k: Item.of(w, artifact, trial.target, rules)
        for k, w in wanted.items()
        if isinstance(artifact := built[k], Artifact)
    }
    costs = {k: experiments.cost(r) for k, r in _collect(trial, rules, items, built).items()}
    latencies = [(wanted[k], c.ns) for k, c in costs.items() if c]
    return roofline.roofline(latencies, formats.executed_by(trial.target).precision)


def _rules(trial: Trial, rounds: int) -> Protocol:
    return dataclasses.replace(
        PROTOCOL, min_rounds=rounds, max_rounds=rounds, limit_s=trial.limit_s
    )


def _export(trial: Trial, wanted: Mapping[str, Workload]) -> dict[str, Artifact | Failure]:
    """Artifacts or failures of the workloads and of the canary, by key."""
    trial.on_stage("exporting")
    made_as = formats.executed_by(trial.target)
    canary = workloads.CANARY
    requests = {w.key: Request(w, made_as) for w in [*wanted.values(), canary]}
    done = 0

    def on_result(*_: object) -> None:
        nonlocal done
        done += 1
        trial.on_progress(Progress(done, len(requests)))

    waiting = Progress(0, len(requests), "another opclock is timing; waiting for it")
    built = exporting.build(
        trial.store,
        requests,
        on_result,
        lambda: trial.on_progress(waiting),
        trial.limit_s,
        hands=HANDS,
    )
    return {k: _as_asked(requests[k].workload, b, trial.target) for k, b in built.items()}


def _as_asked(workload: Workload, built: exporting.Result, target: Target) -> exporting.Result:
    """A Failure in another precision; what holds no weights has none of its own."""
    if isinstance(built, Artifact) and not built.structure.parameters:
        return built
    return exporting.as_asked(workload, built, target)


def _collect(
    trial: Trial, rules: Protocol, items: Mapping[str, Item], built: Built
) -> dict[str, Rounds]:
    """Round medians by workload's key; what was measured earlier is timed beside the new."""
    if not items:
        return {}
    trial.on_stage("measuring")
    if trial.again:
        trial.store.put_by([i.key for i in items.values()])
    canary = built[workloads.CANARY.key]
    done = [i for i in items.values() if finished(trial.store.rounds(i.key), rules)]
    collection = Collection(
        trial.store,
        trial.target,
        rules,
        list(items.values()),
        Item.of(workloads.CANARY, canary, trial.target, rules, replica=-1)
        if isinstance(canary, Artifact)
        else None,
        seed=trial.seed,
        links=done,
        budget_s=trial.budget_s,
        on_progress=trial.on_progress,
    )
    measure.collect(collection)
    trial.failures += collection.failures.values()
    levels = drift.levels_ns(measure.collected(collection))
    return {key: levels[i.key] for key, i in items.items() if i.key in levels}


# Adding up -----------------------------------------------------------------------------------


def lines(wanted: Sequence[Case], taken: Taken, roof: Roofline | None) -> tuple[Line, ...]:
    """A line for every case: costs, structure, comparison with its baseline."""
    units = {c.label: r for c in wanted if (r := unit_rounds(c, taken))}
    partners = {c.label: experiments.partner(c, c.alternative.baseline, wanted) for c in wanted}
    pairs = {
        c.label: b.label
        for c in wanted
        if (b := partners[c.label]) and b is not c and {c.label, b.label} <= set(units)
        if c.alternative.name != WITHOUT
    }
    verdicts = experiments.compared(units, pairs)
    found = []
    for each in wanted:
        line = _line(each, wanted, taken, units, roof)
        baseline = pairs.get(each.label, "")
        found.append(
            dataclasses.replace(line, baseline=baseline, comparison=verdicts.get(each.label))
        )
    return tuple(found)


def unit_rounds(case: Case, taken: Taken) -> dict[str, float]:
    """What one unit costs in every process that timed its chains; empty when there is none."""
    if taken.artifact(case.workload(ONE)) is None or taken.artifact(case.workload(FRONT)) is None:
        return {}
    weighing = experiments.weights(_keeps_shape(case, taken))
    rounds = {p: taken.rounds.get(case.workload(p).key, {}) for p in weighing}
    return experiments.combined(weighing, rounds)


def _line(
    case: Case,
    wanted: Sequence[Case],
    taken: Taken,
    units: Mapping[str, Rounds],
    roof: Roofline | None,
) -> Line:
    line = Line(case.label, case.alternative.name, dict(case.parameters))
    failure = _failure(case, taken)
    if failure:
        if failure.kind == "skipped":
            return dataclasses.replace(line, skipped=failure.message)
        return dataclasses.replace(line, failure=failure.message)
    unit = experiments.cost(units.get(case.label, {}))
    held = {p: a.structure for p in experiments.PARTS if (a := taken.artifact(case.workload(p)))}
    weighing = experiments.weights(_keeps_shape(case, taken))
    without = experiments.partner(case, WITHOUT, wanted)
    operators = _operators(case, taken)
    operator = None
    if without and without is not case and without.label in units:
        operator = experiments.cost(experiments.less(units[case.label], units[without.label]))
        around = _operators(without, taken)
        names = dict.fromkeys([*operators, *around])
        rest = {n: round(operators.get(n, 0) - around.get(n, 0), 3) for n in names}
        operators = {n: count for n, count in rest.items() if count}
    macs = _macs(weighing, held)
    moved = _bytes_moved(weighing, held, taken.artifact(case.workload(ONE)))
    return dataclasses.replace(
        line,
        unit=unit,
        operator=operator,
        alone=experiments.cost(taken.rounds.get(case.workload(ALONE).key, {})),
        operators=operators,
        macs=macs,
        bytes_moved=moved,
        roof=_place(roof, macs, moved, unit),
        notes=_notes(unit),
    )


def _place(
    roof: Roofline | None, macs: int | None, moved: int | None, unit: Cost | None
) -> Place | None:
    if roof is None or macs is None or moved is None or unit is None:
        return None
    return roofline.place(roof, macs, moved, unit.ns)


def _failure(case: Case, taken: Taken) -> Failure | None:
    """Why a case has no cost: the first of its chains that failed."""
    found = [taken.built.get(case.workload(p).key) for p in experiments.PARTS]
    return next((f for f in found if isinstance(f, Failure)), None)


def _notes(unit: Cost | None) -> tuple[str, ...]:
    if unit is None:
        return ("not measured",)
    notes = [] if covers(unit.rounds) else [f"{unit.rounds} rounds; an interval needs 6"]
    if unit.low_ns <= 0:
        notes.append("smaller than its noise")
    return tuple(notes)


def _keeps_shape(case: Case, taken: Taken) -> bool:
    """Whether a unit gives what it takes: its chain gives what the front alone does."""
    front, one = (taken.artifact(case.workload(p)) for p in (FRONT, ONE))
    if front is None or one is None:
        return True
    return _sizes(front.structure.outputs) == _sizes(one.structure.outputs)


def _sizes(described: Iterable[str]) -> list[list[int]]:
    """Shapes of inputs or outputs: `x: fp32[1,3,224,224]`."""
    found = [SIZES_IN_TEXT.search(text) for text in described]
    return [[int(n) for n in match[1].split(",")] for match in found if match]


def _operators(case: Case, taken: Taken) -> dict[str, float]:
    """What the exporter made of one unit: operators by name, inside delegates or not."""
    weighing = experiments.weights(_keeps_shape(case, taken))
    counts = {}
    for part in weighing:
        artifact = taken.artifact(case.workload(part))
        counts[part] = _names(artifact.structure) if artifact else {}
    return experiments.counted(weighing, counts)


def _names(held: Structure) -> dict[str, int]:
    names = {n: c for n, c in held.operators.items() if not n.startswith("delegate")}
    for name, count in held.delegated.items():
        names[name] = names.get(name, 0) + count
    return names


def _macs(weighing: Mapping[str, float], held: Mapping[str, Structure]) -> int | None:
    known = {p: held[p].macs for p in weighing if p in held}
    if len(known) < len(weighing) or None in known.values():
        return None
    return round(sum(weighing[p] * macs for p, macs in known.items() if macs is not None))


def _bytes_moved(
    weighing: Mapping[str, float], held: Mapping[str, Structure], one: Artifact | None
) -> int | None:
    """Input, output and weights of one unit in the precision that it is stored in."""
    if one is None or len(held) < 3:
        return None
    number = SIZES.get(one.format.precision, SIZES["fp32"])
    ends = [_sizes(held[part].outputs) for part in (FRONT, ONE)]
    if not all(ends):
        return None
    moved = sum(number * math.prod(sizes) for shapes in ends for sizes in shapes)
    stored = {p: _weight_bytes(held[p]) for p in weighing}
    return round(moved + sum(weighing[p] * n for p, n in stored.items()))


def _weight_bytes(held: Structure) -> int:
    return sum(n * SIZES.get(kind, SIZES["fp32"]) for kind, n in held.weights.items())
