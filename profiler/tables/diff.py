"""Two tables beside each other: how far entries moved, and what else is not the same.

Entries are compared as networks read them, with their scales. The median ratio is the common factor
of speed; what moves beside it has changed in itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from profiler.encoding import to_json
from profiler.statistics import median
from profiler.tables.table import LatencyTable

# Beyond this share an entry has moved.
MOVED = 0.10
# What says nothing but what the entries say.
LEFT_OUT = ("entries", "references", "closure_networks", "released", "boundaries")


@dataclass(frozen=True, slots=True)
class Move:
    """An entry of both tables, scaled; `outside`: each value is outside the other's interval."""

    key: str
    old_ns: int
    new_ns: int
    ratio: float
    outside: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same. Shares are of the keys that both have; `moves` begin with the largest.

    `median_ratio` is new to old, None without a common key. `moved_beside_share` are the entries
    that moved when each is divided by it. `changed` holds the old and the new of all other facts.
    """

    common: int
    median_ratio: float | None
    moved_share: float
    moved_beside_share: float
    outside_share: float
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    changed: Mapping[str, tuple[Any, Any]]
    moves: tuple[Move, ...]


def diff(old: LatencyTable, new: LatencyTable) -> Difference:
    """Compare two tables."""
    moves = [_move(k, old, new) for k in old.entries if k in new.entries]
    middle = median([m.ratio for m in moves]) if moves else None
    return Difference(
        common=len(moves),
        median_ratio=middle,
        moved_share=_share(abs(m.ratio - 1) > MOVED for m in moves),
        moved_beside_share=_share(abs(m.ratio / (middle or 1) - 1) > MOVED for m in moves),
        outside_share=_share(m.outside for m in moves),
        only_old=tuple(k for k in old.entries if k not in new.entries),
        only_new=tuple(k for k in new.entries if k not in old.entries),
        changed=_changed(old, new),
        moves=tuple(sorted(moves, key=lambda m: -max(m.ratio, 1 / m.ratio))),
    )


def _move(key: str, old: LatencyTable, new: LatencyTable) -> Move:
    before, old_low, old_high = _figures(old, key)
    after, new_low, new_high = _figures(new, key)
    inside = old_low <= after <= old_high or new_low <= before <= new_high
    return Move(key, round(before), round(after), after / before, not inside)


def _figures(table: LatencyTable, key: str) -> tuple[float, float, float]:
    entry, scale = table.entries[key], table.scale_of(key)
    return entry.ns * scale, entry.low_ns * scale, entry.high_ns * scale


def _share(marks: Iterable[bool]) -> float:
    found = list(marks)
    return sum(found) / len(found) if found else 0.0


def _changed(old: LatencyTable, new: LatencyTable) -> dict[str, tuple[Any, Any]]:
    before, after = dict(_facts(to_json(old))), dict(_facts(to_json(new)))
    names = [*before, *(n for n in after if n not in before)]
    return {n: (before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)}


def _facts(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every fact of a head by its path: `device.fingerprint`, `provenance.protocol.passes`."""
    for name, value in record.items():
        if not prefix and name in LEFT_OUT:
            continue
        if isinstance(value, dict) and value:
            yield from _facts(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
