"""How uncertain sums of entries are: exactly as for one architecture, for many at once.

An entry that a network has n times is wrong n times by the same amount, so the half widths of a
row's occurrences are added, and those of different rows squared and added. Rows that occur in
several parts have to be counted before they are squared: the counts of all rows that an
architecture can have there travel side by side in one whole number, some bits for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from profiler.tables.columns import Columns
from profiler.tables.occurrences import Array, Occurrences
from profiler.tables.positions import Positions

WORD_BITS = 62


class Spread:
    """Half widths (ns) of sums of entries, from the half widths of the rows."""

    def __init__(
        self, positions: Positions, columns: Columns, parts: Sequence[Occurrences], spreads: Array
    ) -> None:
        uncertain = [p for p in parts if spreads[p.rows].any()]
        sharing = _sharing(uncertain)
        alone = {id(members[0]) for members in sharing if len(members) == 1}
        self._alone = columns.added(
            lambda p: p.added((spreads[p.rows] * p.counts) ** 2) if id(p) in alone else None
        )
        self._together = [
            _together(positions, columns, members, spreads)
            for members in sharing
            if len(members) > 1
        ]

    def of(self, positions: Array, places: Array) -> Array:
        """Half widths (architectures,) at positions (fields, ...) and places (groups, ...)."""
        import numpy

        squared = self._alone.take(places).sum(axis=0, dtype=float)
        for together in self._together:
            squared += together.squared(positions, places)
        return numpy.sqrt(squared)


@dataclass(frozen=True, slots=True)
class _Together:
    """Parts that share rows. At given values of the fields that all of them read, few rows can
    occur; each has a slot in a word.

    `words` are columns, `groups` those in which they are not 0. `squares` has for each word the
    squared half widths (slots, values of the common fields), which `strides` finds.
    """

    groups: Array
    strides: Array
    bits: int
    words: tuple[Array, ...]
    squares: tuple[Array, ...]

    def squared(self, positions: Array, places: Array) -> Array:
        """The squared half width of what these parts add, (architectures,)."""
        import numpy

        at = (self.strides @ positions).astype(numpy.intp)
        places = places[self.groups]
        found = numpy.zeros(len(at))
        for word, squares in zip(self.words, self.squares, strict=True):
            shifts = self.bits * numpy.arange(len(squares))[:, None]
            counts = word.take(places).sum(axis=0) >> shifts & ((1 << self.bits) - 1)
            found += (counts * counts * squares.take(at, axis=1)).sum(axis=0)
        return found


def _sharing(parts: Iterable[Occurrences]) -> list[list[Occurrences]]:
    """Parts together with all others that have rows in common with them."""
    found: list[tuple[set[int], list[Occurrences]]] = []
    for part in parts:
        rows, members = set(part.rows.tolist()), [part]
        apart = []
        for other in found:
            if other[0] & rows:
                rows, members = other[0] | rows, other[1] + members
            else:
                apart.append(other)
        found = [*apart, (rows, members)]
    return [members for _, members in found]


def _together(
    positions: Positions, columns: Columns, members: Sequence[Occurrences], spreads: Array
) -> _Together:
    import numpy

    space = positions.space
    common = tuple(f for f in space.fields if all(f in p.fields for p in members))
    # Each pair of common values and row, as one number.
    pairs = {id(p): _at(p, common) * len(spreads) + p.rows for p in members}
    known = numpy.unique(numpy.concatenate(list(pairs.values())))
    at, rows = known // len(spreads), known % len(spreads)
    slots = numpy.arange(len(known)) - numpy.searchsorted(at, at)
    bits = int(sum(p.counts.max(initial=0) for p in members)).bit_length()
    per_word = WORD_BITS // bits
    words, squares = [], []
    for first in range(0, int(slots.max()) + 1, per_word):
        here = (slots >= first) & (slots < first + per_word)
        own = numpy.zeros((slots[here].max() - first + 1, _size(space.fields[f] for f in common)))
        own[slots[here] - first, at[here]] = spreads[rows[here]] ** 2
        squares.append(own)
        packed = {}
        for part in members:
            slot = slots[numpy.searchsorted(known, pairs[id(part)])] - first
            inside = (slot >= 0) & (slot < per_word)
            packed[id(part)] = numpy.zeros(math.prod(part.shape), numpy.int64)
            amounts = part.counts[inside] << slot[inside] * bits
            numpy.add.at(packed[id(part)], part.places[inside], amounts)
        words.append(columns.added(lambda p, packed=packed: packed.get(id(p))))  # type: ignore[misc]
    ids = set(pairs)
    groups = [n for n, g in enumerate(columns.groups) if any(id(p) in ids for p in g.parts)]
    return _Together(
        numpy.array(groups), positions.strides(common), bits, tuple(words), tuple(squares)
    )


def _at(part: Occurrences, common: Sequence[str]) -> Array:
    """At which combination of some of its fields each occurrence of a part is."""
    import numpy

    found = numpy.zeros(len(part.places), numpy.int64)
    rest = part.places
    steps = {}
    for field, length in zip(reversed(part.fields), reversed(part.shape), strict=True):
        steps[field], rest = (rest % length, length), rest // length
    for field in common:
        position, length = steps[field]
        found = found * length + position
    return found


def _size(values: Iterable[Sequence[object]]) -> int:
    return math.prod(map(len, values))
