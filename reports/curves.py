"""A table's entries as curves: the time of a block over its width, for pages and pictures alike.

A family's entries that have one number in their last part are one curve. Where they have more, the
number with the most values is the width, and what the others are makes a panel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profiler.tables.interpolation import Place, split
from profiler.tables.table import Entry, LatencyTable

# Numbers smaller than this are expansions; widths are larger.
LEAST_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class Family:
    """Entries of one kind of block, by panel and within it by width, the narrowest first.

    `axis` says what the width is. The one panel of a family without others has no name.
    """

    name: str
    axis: str
    panels: Mapping[str, tuple[tuple[float, Entry], ...]]


def families(table: LatencyTable) -> list[Family]:
    """The families that have two widths at least, in the order of the table."""
    grouped: dict[tuple[str, int], list[tuple[Place, Entry]]] = {}
    for key, entry in table.entries.items():
        name, place = split(key)
        if place is not None:
            grouped.setdefault((name, len(place)), []).append((place, entry))
    found = [_family(name, rows) for (name, _), rows in grouped.items()]
    return [f for f in found if len({width for p in f.panels.values() for width, _ in p}) > 1]


def _family(name: str, rows: list[tuple[Place, Entry]]) -> Family:
    count = len(rows[0][0])
    values = [{place[i] for place, _ in rows} for i in range(count)]
    axis = max(range(count), key=lambda i: len(values[i]))
    named = [_number_name(values, i) for i in range(count)]
    panels: dict[tuple[float, ...], list[tuple[float, Entry]]] = {}
    for place, entry in rows:
        others = place[:axis] + place[axis + 1 :]
        panels.setdefault(others, []).append((place[axis], entry))
    others_named = named[:axis] + named[axis + 1 :]
    return Family(
        name,
        named[axis],
        {
            ", ".join(f"{v:g} {n}" for v, n in zip(others, others_named, strict=True)): tuple(
                sorted(points, key=lambda p: p[0])
            )
            for others, points in sorted(panels.items())
        },
    )


def _number_name(values: list[set[float]], place: int) -> str:
    """What a number of the last part is: channels, before or after, or an expansion."""
    widths = [i for i, found in enumerate(values) if max(found) >= LEAST_CHANNELS]
    if place not in widths:
        return "expansion"
    if len(widths) == 1:
        return "channels"
    names = {widths[0]: "channels before", widths[-1]: "channels after"}
    return names.get(place, f"number {place + 1}")
