"""Operator experiments: alternatives at the values of their axes, and what each costs in context.

The cost of an operator is what one more unit of it adds to a chain, as docs/EXPERIMENTS.md says:
a weighted sum of latencies of chains, taken in the same process. Operators, multiply-adds and
weights of a unit are the same weighted sum over the chains' artifacts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from profiler import plugins
from profiler.errors import UnknownName, UsageError
from profiler.roofline import Place
from profiler.statistics import Comparison, compare, corrected, interval, median, unusable
from profiler.types import Workload

# Units in the longer chain; the shorter has one.
UNITS = 4
FRONT, ONE, MANY, ALONE = "front", "one", "many", "alone"
CHAINS: dict[str, dict[str, Any]] = {
    FRONT: {"chain": 0},
    ONE: {"chain": 1},
    MANY: {"chain": UNITS},
    ALONE: {"alone": True},
}
# What a unit's cost is summed from.
PARTS = (FRONT, ONE, MANY)
# An alternative of this name is the unit without its operator: the others are counted from it.
WITHOUT = "without"

# By process: a latency or a cost, ns. By name: how often, of one unit.
Rounds = Mapping[str, float]
Counts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A function of an experiment; `baseline` is the one that it is compared with."""

    experiment: str
    name: str
    axes: Mapping[str, tuple[Any, ...]]
    baseline: str


@dataclass(frozen=True, slots=True)
class Case:
    """An alternative at values of its axes."""

    alternative: Alternative
    parameters: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What a person reads: `activation.gelu[channels=96]`."""
        values = ",".join(f"{k}={v}" for k, v in self.parameters.items())
        return f"{self.alternative.experiment}.{self.alternative.name}[{values}]"

    def workload(self, part: str) -> Workload:
        """One of the chains that determine the cost, or the bare operator."""
        builder = f"benchmarks.operators.{self.alternative.experiment}:{self.alternative.name}"
        return Workload(builder, {**self.parameters, **CHAINS[part]}, f"{self.label} {part}")


def alternatives(experiment: str) -> dict[str, Alternative]:
    """The alternatives of an experiment by name, in the order of its file. Raises UnknownName."""
    module = plugins.load("benchmarks.operators", experiment)
    functions = {n: f for n, f in vars(module).items() if hasattr(f, "axes")}
    found: dict[str, Alternative] = {}
    baseline = ""
    for name, function in functions.items():
        if not baseline or hasattr(function, "baseline"):
            baseline = name
        found[name] = Alternative(experiment, name, dict(function.axes), baseline)
    return found


def cases(experiment: str, changes: Mapping[str, Sequence[str]] | None = None) -> list[Case]:
    """Every alternative at every combination of its axes' values.

    `changes` replaces the values of axes by those that a person wrote. Raises UsageError on an
    axis that no alternative has, and on a value that is not of its axis' kind.
    """
    found = alternatives(experiment)
    known = list(dict.fromkeys(name for a in found.values() for name in a.axes))
    for name in changes or {}:
        if name not in known:
            said = f"its axes are {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{experiment} has no axis {name!r}; {said}")
    return [
        Case(alternative, dict(zip(alternative.axes, values, strict=True)))
        for alternative in found.values()
        for values in itertools.product(*_values(alternative, changes or {}))
    ]


def _values(
    alternative: Alternative, changes: Mapping[str, Sequence[str]]
) -> Iterable[tuple[Any, ...]]:
    for name, defaults in alternative.axes.items():
        if name not in changes:
            yield defaults
            continue
        kind = type(defaults[0])
        try:
            yield tuple(dict.fromkeys(kind(text) for text in changes[name]))
        except ValueError as error:
            wanted = {int: "whole numbers", float: "numbers"}.get(kind, kind.__name__)
            raise UsageError(f"axis {name} takes {wanted}: {error}") from error


def case(experiment: str, name: str, **parameters: Any) -> Case:
    """One alternative; axes that are not given have their first value. Raises UnknownName."""
    found = alternatives(experiment)
    if name not in found:
        raise UnknownName(f"alternative of {experiment}", name, found)
    first = {axis: values[0] for axis, values in found[name].axes.items()}
    return Case(found[name], {**first, **parameters})


def partner(of: Case, name: str, among: Iterable[Case]) -> Case | None:
    """The first case of the alternative `name` whose values agree on all axes that both have."""
    for other in among:
        shared = set(of.parameters) & set(other.parameters)
        if other.alternative.name == name and all(
            of.parameters[axis] == other.parameters[axis] for axis in shared
        ):
            return other
    return None


# What a unit costs ---------------------------------------------------------------------------


def weights(keeps_shape: bool) -> dict[str, float]:
    """How a unit's cost is summed from chains.

    A unit that keeps its shape: the slope from one to many. One that changes it stands once
    before one or many cheap followers: the chain of one, less a follower (the slope), less the
    front.
    """
    slope = 1 / (UNITS - 1)
    if keeps_shape:
        return {MANY: slope, ONE: -slope}
    return {ONE: 1 + slope, MANY: -slope, FRONT: -1.0}


def combined(weighing: Mapping[str, float], rounds: Mapping[str, Rounds]) -> dict[str, float]:
    """The weighted sum in every process that timed all the parts, ns."""
    shared = set.intersection(*(set(rounds[part]) for part in weighing))
    return {
        p: sum(weight * rounds[part][p] for part, weight in weighing.items())
        for p in sorted(shared)
    }


def less(rounds: Rounds, other: Rounds) -> dict[str, float]:
    """The difference in every process that has both, ns."""
    return {p: rounds[p] - other[p] for p in rounds if p in other}


def counted(weighing: Mapping[str, float], counts: Mapping[str, Mapping[str, int]]) -> Counts:
    """The weighted sum of counts by name; what comes out as nothing is left out."""
    names = dict.fromkeys(name for part in weighing for name in counts[part])
    sums = {n: sum(w * counts[p].get(n, 0) for p, w in weighing.items()) for n in names}
    return {n: round(v, 3) for n, v in sums.items() if abs(v) > 1e-6}


@dataclass(frozen=True, slots=True)
class Cost:
    """A time with its interval from round values, ns; `rounds` says from how many.

    A difference may be below zero where the noise exceeds it.
    """

    ns: float
    low_ns: float
    high_ns: float
    rounds: int


def cost(values: Rounds) -> Cost | None:
    """The median over processes and its order-statistic interval; None where there is none."""
    if not values:
        return None
    low, high = interval(list(values.values()))
    return Cost(median(list(values.values())), low, high, len(values))


def against(baseline: Rounds, candidate: Rounds) -> Comparison:
    """Compare two costs, paired by process. A cost that is not above zero has no ratio."""
    if any(v <= 0 for v in (*baseline.values(), *candidate.values())):
        return unusable("a cost is smaller than its noise")
    return compare(baseline, candidate)


def compared(units: Mapping[str, Rounds], pairs: Mapping[str, str]) -> dict[str, Comparison]:
    """Candidates against their baselines, corrected together (Holm); `pairs` names both."""
    return corrected({c: against(units[b], units[c]) for c, b in pairs.items()})


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of one case on one target.

    `unit` is the cost in context of the whole unit, `operator` that of its operator alone (where
    the experiment has an alternative without it), `alone` the latency of the operator as a
    network of its own. `operators` are what the exporter made of the operator (else of the unit),
    by name. `bytes_moved` are the unit's input, output and weights: what no cache can spare.
    """

    case: str
    name: str
    parameters: Mapping[str, Any]
    skipped: str = ""
    failure: str = ""
    unit: Cost | None = None
    operator: Cost | None = None
    alone: Cost | None = None
    baseline: str = ""
    comparison: Comparison | None = None
    operators: Mapping[str, float] = field(default_factory=dict)
    macs: int | None = None
    bytes_moved: int | None = None
    roof: Place | None = None
    notes: tuple[str, ...] = ()
