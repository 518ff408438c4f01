"""The latency table: what it holds, how it is written and read, how a prediction is made.

The file is JSON with one line per entry, so that a difference between two tables can be read.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profiler.encoding import from_json, to_json
from profiler.errors import MissingEntry, TableError, nearest
from profiler.store import write_whole
from profiler.tables.interpolation import family, interpolate, margin, split

SCHEMA = "opclock-table/1"
# A thousand seconds: nothing that a table holds takes as long.
LARGEST_NS = 10**12
SOURCES = ("measured", "interpolated", "imported")


@dataclass(frozen=True, slots=True)
class Size:
    """What a block is, whatever it runs on. `activation_bytes` are all that its operators write,
    `peak_bytes` the most that is alive at once, input and output included; float32, batch 1."""

    parameters: int
    macs: int
    activation_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The latency that one more block adds to a network, in ns, with its 95 % interval.

    `flags` are words: `bends` where latency is not linear in the number of blocks.
    """

    key: str
    ns: int
    low_ns: int
    high_ns: int
    source: str
    rounds: int = 0
    flags: tuple[str, ...] = ()
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A whole network beside its prediction: a line of a closure or of a reference."""

    architecture: str
    predicted_ns: int
    measured_ns: int
    error_percent: float
    repeatability_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Boundary:
    """A change of layout or of precision, of which `ns` of a row's entry are, in one occurrence of
    the row: by the runtime's profiler, `count` operators on average."""

    row: str
    operator: str
    category: str
    count: float
    ns: int


@dataclass(frozen=True, slots=True)
class Closure:
    """How well the table predicts networks that took no part in it."""

    seed: int
    networks: int
    mape_percent: float
    p95_percent: float
    max_percent: float
    bias_percent: float
    rms_percent: float
    spearman: float | None
    kendall: float | None
    repeatability_percent: float


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """A table for one space on one target, of networks of this batch. `scale` multiplies the sum
    of entries, `family_scales` those of a family once more; `overhead_ns` is what a call costs
    apart from them. `references` are whole networks by which a later run sees how fast the
    machine is then. `released` went through the exporter whole, as their users' do: all other
    networks are composed of the very blocks of which the table is made."""

    space: str
    target: str
    device: Mapping[str, str]
    runtime_version: str
    created: str
    overhead_ns: int
    scale: float
    entries: Mapping[str, Entry]
    references: tuple[Network, ...] = ()
    closure: Closure | None = None
    closure_networks: tuple[Network, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    family_scales: Mapping[str, float] = field(default_factory=dict)
    released: tuple[Network, ...] = ()
    boundaries: tuple[Boundary, ...] = ()

    def scale_of(self, key: str) -> float:
        """What an entry is multiplied with in a network."""
        return self.scale * self.family_scales.get(family(key), 1.0)

    def predict(self, name: str, blocks: Sequence[str], fill: bool = False) -> Prediction:
        """The latency of a network from the keys of its blocks.

        A key that the table does not hold raises MissingEntry, which names it and its nearest;
        with `fill` it is interpolated between its neighbours instead, where it has them.
        """
        counts = Counter(blocks)
        held = {k: self.entries.get(k) or self._absent(k, fill) for k in counts}
        parts = {k: self.scale_of(k) * held[k].ns * n for k, n in counts.items()}
        # fsum is exact, so the order of the blocks plays no part.
        total = self.overhead_ns + math.fsum(parts.values())
        kinds = dict.fromkeys(SOURCES, 0.0)
        for key, part in parts.items():
            kinds[held[key].source] += part / total
        spread = math.sqrt(
            math.fsum((_spread(held[k]) * self.scale_of(k) * n) ** 2 for k, n in counts.items())
        )
        half = max(spread, self._closure_margin() * total)
        return Prediction(
            name=name,
            latency_ns=round(total),
            low_ns=round(total - half),
            high_ns=round(total + half),
            coverage={k: round(v, 6) for k, v in kinds.items() if v},
            interpolated=tuple(k for k in counts if held[k].source == "interpolated"),
            validated=self.closure is not None,
        )

    def _absent(self, key: str, fill: bool) -> Entry:
        known = {k: float(e.ns) for k, e in self.entries.items()}
        value = interpolate(key, known) if fill else None
        if value is None:
            close = ", ".join(nearest_keys(key, self.entries)) or "none of its family"
            how = "" if fill else "; --interpolate fills gaps between neighbours"
            raise MissingEntry(f"the table has no entry {key!r}; nearest: {close}{how}")
        measured = {k: v for k, v in known.items() if self.entries[k].source != "interpolated"}
        return interpolated(key, value, margin(key, measured))

    def _closure_margin(self) -> float:
        """Half the prediction interval as a share: twice the closure's root mean square."""
        return 2 * self.closure.rms_percent / 100 if self.closure else 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted latency: 95 % interval, and which share of it rests on what."""

    name: str
    latency_ns: int
    low_ns: int
    high_ns: int
    coverage: Mapping[str, float]
    interpolated: tuple[str, ...]
    validated: bool


def interpolated(key: str, value: float, share: float) -> Entry:
    """An entry between measured ones, `share` of its value off at the most."""
    share = min(share, 1.0)
    ns = max(1, round(value))
    high = max(ns, round(value * (1 + share)))
    return Entry(key, ns, min(ns, round(value * (1 - share))), high, "interpolated")


def _spread(entry: Entry) -> float:
    return (entry.high_ns - entry.low_ns) / 2


def nearest_keys(key: str, known: Mapping[str, object], count: int = 3) -> list[str]:
    """Keys of the same family with the nearest channels; failing that, the most alike text."""
    family, wanted = split(key)
    found = []
    for other in known:
        head, place = split(other)
        if head == family and place and wanted and len(place) == len(wanted):
            gap = sum(abs(a - b) for a, b in zip(place, wanted, strict=True))
            found.append((gap, other))
    return [k for _, k in sorted(found)[:count]] or nearest(key, known, count)


# Writing and reading ----------------------------------------------------------------------------


def save(table: LatencyTable, path: Path) -> None:
    """Write a table, whole or not at all."""
    write_whole(path, lambda place: place.write_text(render(table)))


def render(table: LatencyTable) -> str:
    """The file's text."""
    record = to_json(table)
    entries = [e for _, e in sorted(record.pop("entries").items(), key=lambda p: _order(p[0]))]
    lists = {name: record.pop(name) for name in ("references", "closure_networks", "released")}
    if not record["boundaries"]:
        del record["boundaries"]
    else:
        lists["boundaries"] = record.pop("boundaries")
    lines = ["{", f' "schema": {json.dumps(SCHEMA)},']
    lines += [f" {json.dumps(k)}: {json.dumps(v)}," for k, v in record.items()]
    for name, rows in {**lists, "entries": entries}.items():
        lines += [f' "{name}": [', ",\n".join("  " + json.dumps(r) for r in rows), " ],"]
    lines[-1] = " ]"
    return "\n".join(line for line in lines if line) + "\n}\n"


def _order(key: str) -> tuple[Any, ...]:
    return tuple(
        (0, int(p), "") if p.isdecimal() and len(p) < 10 else (1, 0, p)
        for p in key.replace("-", "/").split("/")
    )


def load(path: Path) -> LatencyTable:
    """Read a table. Raises TableError on anything that must not be used: each problem is named."""
    with _uncollected():
        return _loaded(path)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without collections of garbage, which would go through all entries again and again: a quarter
    of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _loaded(path: Path) -> LatencyTable:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error
    try:
        record = json.loads(text)
    except ValueError as error:
        raise TableError(f"{path} is not a whole table: {error}") from error
    if not isinstance(record, dict) or record.pop("schema", None) != SCHEMA:
        raise TableError(f"{path} is not a table of the form {SCHEMA}")
    problems = faults(record.get("entries"))
    if problems:
        shown = "\n  ".join(problems[:10])
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise TableError(f"{path} must not be used:\n  {shown}{more}")
    record["entries"] = {e["key"]: e for e in record["entries"]}
    try:
        table = from_json(LatencyTable, record)
    except ValueError as error:
        raise TableError(f"{path} is not a whole table: {error}") from error
    if not (math.isfinite(table.scale) and table.scale > 0 and table.overhead_ns >= 0):
        raise TableError(f"{path} must not be used: its scale or overhead is not a positive number")
    if table.closure and not all(map(math.isfinite, _figures(table.closure))):
        raise TableError(f"{path} must not be used: its closure has a figure that is no number")
    return table


def _figures(closure: Closure) -> list[float]:
    return [v for v in to_json(closure).values() if v is not None]


def faults(entries: Any) -> list[str]:
    """What is wrong with the entries of a file, a line for each problem."""
    if not isinstance(entries, list):
        return ["it has no list of entries"]
    found = []
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
            found.append(f"entry {number} has no key")
            continue
        key = entry["key"]
        if key in seen:
            found.append(f"{key} is there twice")
        seen.add(key)
        for name in ("ns", "low_ns", "high_ns"):
            value = entry.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                found.append(f"{key}: {name} is missing or no number")
            elif not -LARGEST_NS < value < LARGEST_NS:
                shown = value if isinstance(value, float) else "far too large"
                found.append(f"{key}: {name} is {shown}")
            elif value < 0 or (name == "ns" and value == 0):
                found.append(f"{key}: {name} is {value}; a block cannot take that")
        if not found and not entry["low_ns"] <= entry["ns"] <= entry["high_ns"]:
            found.append(f"{key}: its interval does not hold its value")
        if entry.get("source") not in SOURCES:
            found.append(
                f"{key}: source {entry.get('source')!r} is not one of {', '.join(SOURCES)}"
            )
    return found
