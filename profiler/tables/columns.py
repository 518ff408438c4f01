"""A space laid out for looking up: parts joined to few groups, one flat array over all of them.

A group has a place for each combination of its fields' values; the places of all groups stand
behind each other in a column. An architecture has one place in each group.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.spaces import Space
from profiler.tables.occurrences import Array, Occurrences
from profiler.tables.positions import Positions

# Combinations of a group, so few that what is looked up stays in a core's cache.
MOST_COMBINATIONS = 16_384


@dataclass(frozen=True, slots=True)
class Group:
    """Parts whose rows are added up beforehand, over all fields that any of them reads."""

    fields: tuple[str, ...]
    shape: tuple[int, ...]
    parts: tuple[Occurrences, ...]


class Columns:
    """Where an architecture is found in columns, and how columns are made of the parts."""

    def __init__(self, positions: Positions, parts: Sequence[Occurrences]) -> None:
        import numpy

        self.groups = _grouped(positions.space, parts)
        sizes = numpy.array([math.prod(g.shape) for g in self.groups], float)
        self._strides = numpy.stack([positions.strides(g.fields) for g in self.groups])
        self._offsets = (numpy.cumsum(sizes) - sizes)[:, None]

    def places(self, positions: Array) -> Array:
        """Places (groups, architectures) of architectures with these positions."""
        import numpy

        return (self._strides @ positions + self._offsets).astype(numpy.intp)

    def added(self, array: Callable[[Occurrences], Array | None]) -> Array:
        """A column of sums over parts; parts for which `array` gives None add nothing."""
        import numpy

        return self._laid(array, numpy.add)

    def largest(self, array: Callable[[Occurrences], Array]) -> Array:
        """A column of the largest of the parts."""
        import numpy

        return self._laid(array, numpy.maximum)

    def _laid(self, array: Callable[[Occurrences], Array | None], join: Any) -> Array:
        import numpy

        flat = []
        for group in self.groups:
            found = [(part, array(part)) for part in group.parts]
            spanned = [_spanned(a, part, group) for part, a in found if a is not None]
            whole = functools.reduce(join, spanned) if spanned else numpy.int64(0)
            flat.append(numpy.broadcast_to(whole, group.shape).ravel())
        return numpy.concatenate(flat)


def _spanned(array: Array, part: Occurrences, group: Group) -> Array:
    """A part's array with all fields of its group, of length 1 along those it does not read."""
    lengths = dict(zip(part.fields, part.shape, strict=True))
    return array.reshape([lengths.get(f, 1) for f in group.fields])


def _grouped(space: Space, parts: Sequence[Occurrences]) -> list[Group]:
    """Groups of parts: each joins the one that it makes the least larger, the largest first."""

    def size(fields: set[str]) -> int:
        return math.prod(len(space.fields[f]) for f in fields)

    groups: list[tuple[set[str], list[Occurrences]]] = []
    for part in sorted(parts, key=lambda p: -math.prod(p.shape)):
        own = set(part.fields)
        choices = [
            (size(fields | own) / size(fields), number)
            for number, (fields, _) in enumerate(groups)
            if size(fields | own) <= max(MOST_COMBINATIONS, size(fields))
        ]
        if choices:
            fields, members = groups[min(choices)[1]]
            fields |= own
            members.append(part)
        else:
            groups.append((own, [part]))
    ordered = [(tuple(f for f in space.fields if f in own), members) for own, members in groups]
    return [
        Group(fields, tuple(len(space.fields[f]) for f in fields), tuple(members))
        for fields, members in ordered
    ]
