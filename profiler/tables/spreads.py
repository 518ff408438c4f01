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
        import numpy

        classes = _by_parts(parts, spreads)
        alone = numpy.zeros(len(spreads), bool)
        for numbers, rows in classes.items():
            alone[rows] = len(numbers) == 1
        self._alone = columns.added(
            lambda part: part.added((numpy.where(alone, spreads, 0)[part.rows] * part.counts) ** 2)
        )
        self._together = [
            _together(positions, columns, [parts[n] for n in numbers], rows, spreads)
            for numbers, rows in classes.items()
            if len(numbers) > 1
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
    """Rows that occur in the same several parts. At given values of the fields that all of these
    read, few of the rows can occur; each has a slot in a word.

    `words` are columns, `groups` those in which they are not 0. `squares` has for each word the
    squared half widths (slots, values of the common fields), which `strides` finds.
    """

    groups: Array
    strides: Array
    bits: int
    words: tuple[Array, ...]
    squares: tuple[Array, ...]

    def squared(self, positions: Array, places: Array) -> Array:
        """The squared half width of what these rows add, (architectures,)."""
        import numpy

        at = (self.strides @ positions).astype(numpy.intp)
        places = places[self.groups]
        found = numpy.zeros(len(at))
        for word, squares in zip(self.words, self.squares, strict=True):
            shifts = self.bits * numpy.arange(len(squares))[:, None]
            counts = word.take(places).sum(axis=0) >> shifts & ((1 << self.bits) - 1)
            found += (counts * counts * squares.take(at, axis=1)).sum(axis=0)
        return found


def _by_parts(parts: Sequence[Occurrences], spreads: Array) -> dict[tuple[int, ...], list[int]]:
    """Uncertain rows by the numbers of the parts in which they occur."""
    owners: dict[int, list[int]] = {}
    for number, part in enumerate(parts):
        for row in dict.fromkeys(part.rows.tolist()):
            owners.setdefault(row, []).append(number)
    found: dict[tuple[int, ...], list[int]] = {}
    for row, numbers in owners.items():
        if spreads[row]:
            found.setdefault(tuple(numbers), []).append(row)
    return found


def _together(
    positions: Positions,
    columns: Columns,
    parts: Sequence[Occurrences],
    chosen: Sequence[int],
    spreads: Array,
) -> _Together:
    import numpy

    space = positions.space
    common = tuple(f for f in space.fields if all(f in p.fields for p in parts))
    among = numpy.isin(numpy.arange(len(spreads)), chosen)
    members = {id(part): part.of(among) for part in parts}
    # Each pair of common values and row, as one number.
    pairs = {name: _at(m, common) * len(spreads) + m.rows for name, m in members.items()}
    known = numpy.unique(numpy.concatenate(list(pairs.values())))
    at, rows = known // len(spreads), known % len(spreads)
    slots = numpy.arange(len(known)) - numpy.searchsorted(at, at)
    slots_of = {name: slots[numpy.searchsorted(known, own)] for name, own in pairs.items()}
    bits = int(sum(m.counts.max() for m in members.values())).bit_length()
    per_word = WORD_BITS // bits
    words, squares = [], []
    for first in range(0, int(slots.max()) + 1, per_word):
        here = (slots >= first) & (slots < first + per_word)
        own = numpy.zeros((slots[here].max() - first + 1, _size(space.fields[f] for f in common)))
        own[slots[here] - first, at[here]] = spreads[rows[here]] ** 2
        squares.append(own)
        packed = {name: _packed(m, slots_of[name] - first, bits) for name, m in members.items()}
        words.append(columns.added(lambda p, packed=packed: packed.get(id(p))))  # type: ignore[misc]
    groups = [n for n, g in enumerate(columns.groups) if any(id(p) in members for p in g.parts)]
    return _Together(
        numpy.array(groups), positions.strides(common), bits, tuple(words), tuple(squares)
    )


def _packed(part: Occurrences, slots: Array, bits: int) -> Array:
    """How often each row with a slot in the word occurs at each combination, int64."""
    import numpy

    inside = (slots >= 0) & (slots < WORD_BITS // bits)
    found = numpy.zeros(math.prod(part.shape), numpy.int64)
    numpy.add.at(found, part.places[inside], part.counts[inside] << slots[inside] * bits)
    return found


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
