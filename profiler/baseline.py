"""A comparison that is kept in a file, and measured again later: has anything become slower?

No process takes rounds of both days, so nothing is paired. What the machine itself did in between
shows in the canary, the same small network in every process of both days: by as much as it moved,
a network must move beyond the margin before it has a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profiler import environment
from profiler.comparison import MARGIN, Against, Cell, Compared, as_against
from profiler.encoding import from_json, to_json
from profiler.errors import UsageError
from profiler.statistics import Comparison, compare_apart, corrected, unusable
from profiler.store import write_whole

SCHEMA = "opclock-baseline/1"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was measured, and what must be written on the command line to measure it again."""

    models: tuple[str, ...]
    batch: int
    shapes: Mapping[str, tuple[int, ...]]
    compared: Compared
    environment: Mapping[str, Any] = field(default_factory=dict)
    schema: str = SCHEMA


@dataclass(frozen=True, slots=True)
class Row:
    """One network on one target, then and now; `notes` say what else has changed."""

    network: str
    target: str
    then_ns: int | None
    now_ns: int | None
    against: Against
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """All rows; `canaries` are the canary's ratios by target, `marks` concern every row."""

    then: str
    now: str
    rows: tuple[Row, ...]
    canaries: Mapping[str, float]
    marks: tuple[str, ...] = ()


def save(baseline: Baseline, path: Path) -> None:
    """Write a baseline. Raises OutputError."""
    text = json.dumps(to_json(baseline), indent=1, allow_nan=False)
    write_whole(path, lambda place: place.write_text(text + "\n"))


def load(path: Path) -> Baseline:
    """Read a baseline. Raises UsageError on anything else."""
    try:
        record = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a whole baseline: {error}") from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"{path} is not a baseline of this opclock ({SCHEMA}), but {schema!r}")
    try:
        return from_json(Baseline, record)
    except ValueError as error:
        raise UsageError(f"{path} is not a whole baseline: {error}") from error


def marks(kept: Baseline, force: bool) -> tuple[str, ...]:
    """What concerns every row. Raises UsageError on another machine, unless forced."""
    then, here = kept.compared.device, environment.host()
    if then.fingerprint == here.fingerprint:
        return ()
    said = f"then on {then.description}, now on {here.description}"
    if not force:
        raise UsageError(
            f"the baseline is of another machine ({said}); --force compares all the same"
        )
    return (f"ANOTHER MACHINE: {said}",)


def check(baseline: Baseline, fresh: Compared, marked: tuple[str, ...] = ()) -> Checked:
    """Every cell of a baseline against the same one measured afresh, corrected for all of them."""
    kept = baseline.compared
    canaries = canary_ratios(kept, fresh)
    cells = {(c.network, c.target): c for c in fresh.cells}
    pairs = {}
    for number, then in enumerate(kept.cells):
        absent = Cell(then.network, then.target, "not measured now")
        pairs[str(number)] = (then, cells.get((then.network, then.target), absent))
    verdicts = corrected({n: _compare(*pair, canaries) for n, pair in pairs.items()})
    rows = [
        Row(
            then.network,
            then.target,
            then.latency_ns,
            now.latency_ns,
            as_against(verdicts[name]),
            _notes(then, now),
        )
        for name, (then, now) in pairs.items()
    ]
    changed = _changed_versions(baseline, fresh)
    return Checked(kept.created, fresh.created, tuple(rows), canaries, (*marked, *changed))


def _changed_versions(baseline: Baseline, fresh: Compared) -> list[str]:
    then = {**baseline.environment.get("packages", {}), **baseline.compared.versions}
    now = {**environment.packages(), **fresh.versions}
    return [
        f"{name} {version} then, {now.get(name, 'absent')} now"
        for name, version in then.items()
        if now.get(name) != version
    ]


def canary_ratios(kept: Compared, fresh: Compared) -> dict[str, float]:
    """How much longer the canary takes now, by target; only where both days have enough rounds."""
    found = {
        name: compare_apart(then, fresh.canaries_ns.get(name, ()))
        for name, then in kept.canaries_ns.items()
    }
    return {name: c.ratio for name, c in found.items() if c.verdict != "UNUSABLE"}


def _compare(then: Cell, now: Cell, canaries: Mapping[str, float]) -> Comparison:
    if then.failure or now.failure:
        when = "now" if now.failure else "then"
        return unusable(f"failed {when}: {now.failure or then.failure}")
    unstable = [
        day for day, c in (("then", then), ("now", now)) if "unstable environment" in c.flags
    ]
    if unstable:
        return unusable(f"unstable environment {' and '.join(unstable)}")
    margin = MARGIN + abs(canaries.get(then.target, 1.0) - 1)
    return compare_apart(list(then.medians_ns.values()), list(now.medians_ns.values()), margin)


def _notes(then: Cell, now: Cell) -> tuple[str, ...]:
    if then.failure or now.failure or then.artifact_digest == now.artifact_digest:
        return ()
    return ("the artifact is another one",)
