"""Networks on several targets: who is faster where, by how much, and at what price."""

from __future__ import annotations

import itertools
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profiler import environment, laps, measure
from profiler.laps import Contest, Lane
from profiler.statistics import (
    Comparison,
    compare,
    corrected,
    covers,
    interval,
    median,
    rounds_for,
    unusable,
)
from profiler.store import now
from profiler.types import Artifact, Device, Failure, Protocol, Round

MARGIN = 0.01
NOT_TOLD = "not told"
# Where runtimes say on what they run.
UNIT_WORDS = ("provider", "unit", "device", "backend", "delegate")


@dataclass(frozen=True, slots=True)
class Against:
    """A cell against the baseline's: ratio of latencies, its 95 % interval and the verdict."""

    ratio: float | None
    low: float | None
    high: float | None
    pairs: int
    verdict: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One network on one target; where `failure` says why, the figures are None.

    `medians_ns` are the medians of the undisturbed rounds by lap. `error` is the largest
    difference from torch's float32 output, as a share of its largest value. `fallback_share` is
    the share of operators that no delegate took, None where none is told.
    """

    network: str
    target: str
    failure: str = ""
    latency_ns: int | None = None
    low_ns: int | None = None
    high_ns: int | None = None
    medians_ns: Mapping[str, float] = field(default_factory=dict)
    against: Against | None = None
    load_ns: int | None = None
    first_ns: int | None = None
    peak_bytes: int | None = None
    size_bytes: int | None = None
    error: float | None = None
    asked_precision: str = ""
    actual_precision: str = ""
    asked_unit: str = ""
    actual_unit: str = ""
    fallback_share: float | None = None
    artifact_digest: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RankChange:
    """Two networks whose order depends on the target; both orders are beyond their intervals."""

    first: str
    second: str
    first_faster_on: tuple[str, ...]
    second_faster_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """All cells, by network and then by target. Targets are named as they were written.

    `canaries_ns` are the canary's medians on each target; `versions` those of the runtimes.
    """

    networks: tuple[str, ...]
    targets: tuple[str, ...]
    baseline: str
    created: str
    device: Device
    versions: Mapping[str, str]
    protocol: Protocol
    cells: tuple[Cell, ...]
    rank_changes: tuple[RankChange, ...] = ()
    canaries_ns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def cell(self, network: str, target: str) -> Cell:
        """The cell of a network on a target."""
        return next(c for c in self.cells if (c.network, c.target) == (network, target))


def rules(candidates: int, limit_s: float = 120.0, count: int | None = None) -> Protocol:
    """How a comparison is timed: with many candidates more rounds are needed for any verdict.

    `count` takes exactly so many.
    """
    if count is not None:
        return Protocol(limit_s=limit_s, min_rounds=count, max_rounds=count)
    least = max(Protocol().min_rounds, rounds_for(max(1, candidates)))
    return Protocol(limit_s=limit_s, min_rounds=least, max_rounds=max(Protocol().max_rounds, least))


def compare_targets(contest: Contest) -> Compared:
    """Export, take laps until every interval is narrow, and put the cells together."""
    lanes = laps.lanes_of(contest, laps.export(contest))
    session = uuid.uuid4().hex[:8]
    laps.take_laps(contest, lanes, session)
    laps.measure_memory(contest, lanes)
    since = session if contest.again else ""
    cells: list[Cell] = []
    for workload in contest.networks:
        cells += _row(contest, lanes, workload.name, since)
    return Compared(
        networks=tuple(w.name for w in contest.networks),
        targets=tuple(contest.targets),
        baseline=contest.baseline,
        created=now(),
        device=environment.host(),
        versions=laps.versions(contest),
        protocol=contest.protocol,
        cells=tuple(cells),
        rank_changes=tuple(rank_changes(cells)),
        canaries_ns={lane.name: laps.canaries_ns(contest, lane, since) for lane in lanes},
        failures=tuple(f for w in contest.networks for x in lanes if (f := x.failure(w.name))),
    )


def _row(contest: Contest, lanes: Sequence[Lane], network: str, since: str) -> list[Cell]:
    """A network's cells on all targets."""
    taken = laps.shared_rounds(contest.store, lanes, network, since)
    verdicts = _verdicts(contest, taken)
    cells = []
    for lane in lanes:
        failure = lane.failure(network)
        if failure:
            cells.append(_failed(lane, network, f"{failure.kind}: {failure.message}"))
        elif not taken[lane.name]:
            cells.append(_failed(lane, network, "no round was taken"))
        else:
            rounds, verdict = taken[lane.name], verdicts.get(lane.name)
            cells.append(_cell(contest, lane, network, rounds, verdict))
    return cells


def _failed(lane: Lane, network: str, failure: str) -> Cell:
    asked = lane.target
    return Cell(network, lane.name, failure, asked_precision=asked.precision, asked_unit=asked.unit)


def _cell(
    contest: Contest,
    lane: Lane,
    network: str,
    by_lap: Mapping[str, Round],
    verdict: Comparison | None,
) -> Cell:
    artifact = lane.items[network].artifact
    rounds = list(by_lap.values())
    medians = medians_ns(by_lap)
    low, high = interval(list(medians.values()))
    actual = rounds[-1].actual
    alone = contest.store.rounds(laps.alone(lane, lane.items[network]).key)
    return Cell(
        network,
        lane.name,
        latency_ns=round(median(list(medians.values()))),
        low_ns=round(low),
        high_ns=round(high),
        medians_ns=medians,
        against=as_against(verdict) if verdict else None,
        load_ns=round(median([r.load_ns for r in rounds])),
        first_ns=round(median([r.first_ns for r in rounds])),
        peak_bytes=alone[-1].peak_bytes if alone else None,
        size_bytes=artifact.size_bytes,
        error=max((r.error for r in rounds if r.error is not None), default=None),
        asked_precision=lane.target.precision,
        actual_precision=actual.get("precision", artifact.structure.precision),
        asked_unit=lane.target.unit,
        actual_unit=next((actual[w] for w in UNIT_WORDS if w in actual), NOT_TOLD),
        fallback_share=fallback_share(artifact, actual),
        artifact_digest=artifact.digest,
        flags=measure.shortcomings(rounds, contest.protocol),
    )


def medians_ns(rounds: Mapping[str, Round]) -> dict[str, float]:
    """The medians of the undisturbed rounds by lap; of all rounds where none is."""
    valid = {lap: r for lap, r in rounds.items() if r.valid} or rounds
    return {lap: median(r.samples_ns) for lap, r in valid.items()}


def fallback_share(artifact: Artifact, actual: Mapping[str, str]) -> float | None:
    """The share of operators that no delegate took; None where neither file nor runtime tells."""
    told = re.fullmatch(r"(\d+) of (\d+) operators", actual.get("delegated", ""))
    if told and int(told[2]):
        return 1 - int(told[1]) / int(told[2])
    held = artifact.structure
    inside = sum(held.delegated.values())
    outside = sum(n for name, n in held.operators.items() if not name.startswith("delegate"))
    return outside / (inside + outside) if inside else None


def _verdicts(contest: Contest, taken: Mapping[str, Mapping[str, Round]]) -> dict[str, Comparison]:
    """Each target against the baseline, corrected for their number."""
    reference = taken.get(contest.baseline)
    if not reference:
        return {}
    sides = {
        name: measure.shortcomings(list(rounds.values()), contest.protocol)
        for name, rounds in taken.items()
    }
    found = {}
    for name, rounds in taken.items():
        unstable = [s for s in (contest.baseline, name) if "unstable environment" in sides[s]]
        if unstable:
            found[name] = unusable(f"unstable environment on {' and '.join(unstable)}")
        else:
            found[name] = compare(medians_ns(reference), medians_ns(rounds), MARGIN)
    del found[contest.baseline]
    return corrected(found)


def as_against(found: Comparison) -> Against:
    """A comparison without NaN, as results hold it."""
    figures = (found.ratio, found.low, found.high)
    ratio, low, high = (None if math.isnan(v) else v for v in figures)
    return Against(ratio, low, high, found.pairs, found.verdict, found.reason)


def rank_changes(cells: Sequence[Cell]) -> list[RankChange]:
    """Pairs of networks that change places between targets, where intervals stand apart on both.

    A cell of too few rounds, or from an unstable environment, has no interval to stand apart.
    """
    cells = [
        c for c in cells if covers(len(c.medians_ns)) and "unstable environment" not in c.flags
    ]
    networks = list(dict.fromkeys(c.network for c in cells))
    found = []
    for first, second in itertools.combinations(networks, 2):
        ahead, behind = _faster_on(cells, first, second), _faster_on(cells, second, first)
        if ahead and behind:
            found.append(RankChange(first, second, ahead, behind))
    return found


def _faster_on(cells: Sequence[Cell], one: str, other: str) -> tuple[str, ...]:
    highs = {c.target: c.high_ns for c in cells if c.network == one}
    lows = {c.target: c.low_ns for c in cells if c.network == other}
    return tuple(
        target
        for target, high in highs.items()
        if high is not None and (low := lows.get(target)) is not None and high < low
    )


def slower(found: Mapping[str, Against], share: float | None) -> list[str]:
    """The names that are SLOWER, and by at least this share; none when no share is given."""
    if share is None:
        return []
    return [
        name
        for name, against in found.items()
        if against.verdict == "SLOWER" and (against.ratio or 0.0) >= 1 + share
    ]
