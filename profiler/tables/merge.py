"""Several tables of the same thing as one.

Each entry comes from the table that knows it best: measured rather than imported, then by more
rounds, then by the narrower interval. What was interpolated is interpolated anew, between the
entries of all. The closures are dropped: no closure has seen these entries together.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from profiler.encoding import to_json
from profiler.errors import TableError, UsageError
from profiler.store import now
from profiler.tables.build import fill
from profiler.tables.table import Entry, LatencyTable, Network

IDENTITY = ("space", "target", "device", "runtime_version", "batch")
BEST_FIRST = ("measured", "imported", "interpolated")
DROPPED = "closures were dropped: check the merged table before it is trusted"


def merge(tables: Sequence[LatencyTable]) -> LatencyTable:
    """All entries of tables of one space, target, device, runtime version and batch.

    Where they have different scales these are multiplied in. What a call costs is the first
    table's, references are those of all. Raises TableError naming what differs.
    """
    if len(tables) < 2:
        raise UsageError("two tables at the least make a merged one")
    first = tables[0]
    for other in tables[1:]:
        _require_same(first, other)
    scaled = any(_scales(t) != _scales(first) for t in tables)
    held = [_unscaled(t) if scaled else dict(t.entries) for t in tables]
    chosen = {k: _best(k, held) for k in dict.fromkeys(k for h in held for k in h)}
    taken = Counter(n for k, n in chosen.items() if held[n][k].source != "interpolated")
    return dataclasses.replace(
        first,
        created=now(),
        scale=1.0 if scaled else first.scale,
        family_scales={} if scaled else first.family_scales,
        entries=_refilled({k: held[n][k] for k, n in chosen.items()}),
        references=_references(tables),
        closure=None,
        closure_networks=(),
        released=(),
        boundaries=(),
        provenance={
            "merged": [_origin(t, taken[n]) for n, t in enumerate(tables)],
            "closure": DROPPED,
        },
    )


def _require_same(first: LatencyTable, other: LatencyTable) -> None:
    left, right = to_json(first), to_json(other)
    differ = [
        f"{name} ({json.dumps(left[name])} and {json.dumps(right[name])})"
        for name in IDENTITY
        if left[name] != right[name]
    ]
    if differ:
        raise TableError(f"tables of different things are not merged: {', '.join(differ)}")


def _scales(table: LatencyTable) -> tuple[float, Mapping[str, float]]:
    return table.scale, dict(table.family_scales)


def _unscaled(table: LatencyTable) -> dict[str, Entry]:
    """The entries with their scales multiplied in."""
    found = {}
    for key, entry in table.entries.items():
        scale = table.scale_of(key)
        ns, low, high = (round(v * scale) for v in (entry.ns, entry.low_ns, entry.high_ns))
        found[key] = dataclasses.replace(entry, ns=max(1, ns), low_ns=low, high_ns=max(1, high))
    return found


def _best(key: str, held: Sequence[Mapping[str, Entry]]) -> int:
    """Which table knows an entry best; the first of equals."""

    def rank(number: int) -> tuple[int, int, float]:
        entry = held[number][key]
        width = (entry.high_ns - entry.low_ns) / entry.ns
        return BEST_FIRST.index(entry.source), -entry.rounds, width

    return min((n for n, h in enumerate(held) if key in h), key=rank)


def _refilled(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The same entries, interpolated ones between all the others; as they were where none are."""
    known = {k: e for k, e in entries.items() if e.source != "interpolated"}
    filled = fill(list(entries), known)
    return {
        k: dataclasses.replace(filled[k], size=e.size) if k in filled else e
        for k, e in entries.items()
    }


def _references(tables: Sequence[LatencyTable]) -> tuple[Network, ...]:
    """The references of all, as their own tables predicted them; the first of one name."""
    found: dict[str, Network] = {}
    for table in tables:
        for network in table.references:
            found.setdefault(network.architecture, network)
    return tuple(found.values())


def _origin(table: LatencyTable, taken: int) -> dict[str, Any]:
    names = ("created", "overhead_ns", "scale", "family_scales", "closure", "provenance")
    record = to_json(table)
    return {**{n: record[n] for n in names}, "entries_taken": taken}
