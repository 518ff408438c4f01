"""The JSON files that our commands write, told apart by what they hold, for pages about them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from profiler import environment
from profiler.bench import Result
from profiler.comparison import Compared
from profiler.encoding import from_json
from profiler.errors import UsageError
from profiler.observations import Answer
from profiler.statistics import median
from profiler.tables import table
from profiler.tables.check import Checked
from profiler.tables.table import LatencyTable
from profiler.types import Breakdown, Device
from reports import derived

# Words of a comparison that have no number, which JSON writes as null.
NUMBERS = ("ratio", "low", "high")


@dataclass(frozen=True, slots=True)
class Timed:
    """A line of `measure`, as far as a page shows it; `rounds` as they were written."""

    name: str
    median_ns: int
    interval_ns: tuple[int, ...]
    first_ns: int
    load_ns: int
    relative_error: float | None
    flags: tuple[str, ...]
    environment: Mapping[str, Any]
    rounds: tuple[Mapping[str, Any], ...]

    @property
    def medians_ns(self) -> list[float]:
        """The medians of the rounds that were not disturbed."""
        return [median(r["samples_ns"]) for r in self.rounds if not r["flags"]]


@dataclass(frozen=True, slots=True)
class Against:
    """A further model of `measure` beside the first."""

    baseline: str
    name: str
    verdict: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    reason: str = ""
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What `measure` wrote: models on one target."""

    target: str
    measurements: tuple[Timed, ...]
    comparisons: tuple[Against, ...]


@dataclass(frozen=True, slots=True)
class Benched:
    """What `bench` wrote: an experiment on some targets."""

    experiment: str
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Observed:
    """What `observations` wrote: answers by target, and where targets lie apart."""

    targets: Mapping[str, tuple[Answer, ...]]
    apart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A file's content: its `kind`, the nouns, the command that makes it again, the machines.

    `recorded` tells whether the command stood in the file or was made up from the content.
    """

    path: Path
    kind: str
    content: Any
    command: str
    recorded: bool
    devices: tuple[Device, ...] = ()
    created: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[str, ...] = ()


Record = dict[str, Any]


def _compared(record: Record) -> Compared:
    found = from_json(Compared, _known(Compared, record))
    for cell in found.cells:
        if cell.network not in found.networks or cell.target not in found.targets:
            raise ValueError(f"{cell.network} on {cell.target} is not among what was compared")
    if found.baseline not in found.targets:
        raise ValueError(f"the baseline {found.baseline!r} is not among the targets")
    return found


def _breakdowns(record: Record) -> tuple[Breakdown, ...]:
    found = tuple(from_json(Breakdown, b) for b in record["breakdowns"])
    if any(b.total_ns <= 0 for b in found):
        raise ValueError("a latency is not above zero")
    return found


def _benched(record: Record) -> Benched:
    lines = [line for result in record["results"] for line in result["lines"]]
    for line in lines:
        found = line.get("comparison") or {}
        found |= {k: math.nan for k in NUMBERS if k in found and found[k] is None}
    return from_json(Benched, _known(Benched, record))


def _observed(record: Record) -> Observed:
    return from_json(Observed, _known(Observed, record))


def _checked(record: Record) -> Checked:
    return from_json(Checked, _known(Checked, record))


def _measured(record: Record) -> Measured:
    lines = [_known(Timed, line) for line in record["measurements"]]
    found = from_json(Measured, {**_known(Measured, record), "measurements": lines})
    for line in found.measurements:
        if len(line.interval_ns) != 2 or not all(map(math.isfinite, line.medians_ns)):
            raise ValueError(f"{line.name} has no interval or no rounds")
    return found


def _known(kind: type, record: Record) -> Record:
    """The fields that a noun has: what a command says besides is not its content."""
    return {f.name: record[f.name] for f in fields(kind) if f.name in record}


# The kind: the fields by which it is known, and what reads it.
KINDS: dict[str, tuple[tuple[str, ...], Callable[[Record], Any]]] = {
    "comparison": (("cells", "networks", "targets", "baseline"), _compared),
    "breakdown": (("breakdowns",), _breakdowns),
    "bench": (("experiment", "results"), _benched),
    "observations": (("targets", "apart"), _observed),
    "table check": (("speed", "networks", "table_ns", "figures"), _checked),
    "measurement": (("measurements", "comparisons"), _measured),
}


def read(path: Path) -> Run:
    """A file that one of our commands wrote, or a table.

    Raises UsageError, with the file's name, on anything else, TableError on a table that must not
    be used.
    """
    record = _record(path)
    if record.get("schema") == table.SCHEMA:
        return _of_table(path, table.load(path))
    # A baseline is a comparison that was kept.
    if isinstance(record.get("compared"), dict):
        record = {**record["compared"], "environment": record.get("environment")}
    for kind, (marks, decode) in KINDS.items():
        if all(mark in record for mark in marks):
            try:
                return _run(path, kind, decode(record), record)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                raise UsageError(f"{path} is not a whole {kind}: {error}") from error
    known = ", ".join([*KINDS, "table"])
    raise UsageError(f"{path} is none of what a report shows: {known}")


def _record(path: Path) -> Record:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no whole JSON: {error}") from error
    if not isinstance(record, dict):
        raise UsageError(f"{path} holds no object, but {type(record).__name__}")
    return record


def _of_table(path: Path, found: LatencyTable) -> Run:
    device = Device(*(str(found.device.get(k, "")) for k in ("name", "description", "fingerprint")))
    made = found.provenance.get("environment")
    return Run(
        path,
        "table",
        found,
        derived.of_table(found, path),
        False,
        (device,) if device.fingerprint else (),
        found.created,
        made if isinstance(made, Mapping) else {},
        tuple(str(line) for line in found.provenance.get("failures", ())),
    )


def _run(path: Path, kind: str, content: Any, record: Record) -> Run:
    made = record.get("made")
    made = made if isinstance(made, dict) else {}
    command = made.get("command")
    devices = _devices(content)
    if not devices and made.get("device"):
        devices = (from_json(Device, made["device"]),)
    described = record.get("environment") or made.get("environment") or _described(content)
    return Run(
        path,
        kind,
        content,
        command if isinstance(command, str) else derived.command(kind, content, path),
        isinstance(command, str),
        devices,
        str(made.get("created") or getattr(content, "created", "")),
        described if isinstance(described, Mapping) else {},
        tuple(_failure(f) for f in record.get("failures") or ()),
    )


def _devices(content: Any) -> tuple[Device, ...]:
    """The machines that a content names, each once."""
    found: list[Device] = []
    if isinstance(content, Compared):
        found = [content.device]
    elif isinstance(content, Measured):
        described = [m.environment.get("hardware") for m in content.measurements]
        found = [environment.device_of(h) for h in described if h]
    elif isinstance(content, tuple):
        found = [b.device for b in content if b.device]
    return tuple({d.fingerprint: d for d in found}.values())


def _described(content: Any) -> Mapping[str, Any]:
    if isinstance(content, Measured) and content.measurements:
        return content.measurements[0].environment
    return {}


def _failure(found: Mapping[str, Any]) -> str:
    workload = found.get("workload") or {}
    name = workload.get("label") or workload.get("builder") or "a workload"
    told = (name, found.get("target"), found.get("stage"), found.get("kind"), found.get("message"))
    return ": ".join(str(part) for part in told if part)


def require_one_machine(runs: Sequence[Run], force: bool) -> tuple[str, ...]:
    """The machines that runs come from where they are several, else none.

    Raises UsageError on several, unless `force`: latencies of two machines are no comparison.
    """
    found = {d.fingerprint: d.description for run in runs for d in run.devices}
    if len(found) < 2:
        return ()
    if not force:
        each = "; ".join(f"{r.path}: {machine(r)}" for r in runs if r.devices)
        raise UsageError(
            f"these runs come from {len(found)} machines ({each}); --force puts them on one page, "
            "marked"
        )
    return tuple(f"{text} ({print_[:6]})" for print_, text in found.items())


def machine(run: Run) -> str:
    """Where a run was taken, with a part of the fingerprint: two machines may be called alike."""
    return ", ".join(f"{d.description} ({d.fingerprint[:6]})" for d in run.devices)
