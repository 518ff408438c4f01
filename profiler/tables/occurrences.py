"""How often each row occurs at which values of a space's fields, as NumPy arrays.

A space's parts depend on few fields each, so all their combinations fit into small arrays. What
an architecture takes is then looked up and added, without a look at its rows.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profiler.spaces import Part, Space, Value

Array = Any


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The rows of all parts that read the same fields, which are in the order of the space.

    `shape` has the number of each field's values. The row `keys[rows[i]]` occurs `counts[i]`
    times at `places[i]`: a combination of values, numbered in C order over `shape`.
    """

    fields: tuple[str, ...]
    shape: tuple[int, ...]
    places: Array
    rows: Array
    counts: Array

    def total(self, weights: Array) -> Array:
        """The sum of the weights of all rows at each combination; shaped `shape`, float64."""
        return self.added(weights[self.rows] * self.counts)

    def added(self, amounts: Array) -> Array:
        """The sum of an amount for each occurrence at each combination; shaped `shape`."""
        import numpy

        size = math.prod(self.shape)
        return numpy.bincount(self.places, amounts, size)[:size].reshape(self.shape)

    def of(self, chosen: Array) -> Occurrences:
        """Those of some rows only: `chosen` tells of each key whether it is one of them."""
        here = chosen[self.rows]
        return replace(
            self, places=self.places[here], rows=self.rows[here], counts=self.counts[here]
        )

    def largest(self, weights: Array) -> Array:
        """The largest weight of the rows at each combination, 0 without rows; shaped `shape`."""
        import numpy

        found = numpy.zeros(math.prod(self.shape))
        with numpy.errstate(invalid="ignore"):  # a weight that is no number stays one
            numpy.maximum.at(found, self.places, weights[self.rows])
        return found.reshape(self.shape)


def occurrences(space: Space) -> tuple[tuple[str, ...], list[Occurrences]]:
    """The keys of a space, and where they occur: one for each set of fields that parts read."""
    together: dict[tuple[str, ...], list[Part]] = {}
    for part in space.parts:
        fields = tuple(f for f in space.fields if f in part.fields)
        together.setdefault(fields, []).append(part)
    numbers: dict[str, int] = {}
    found = [_occurrences(space, fields, parts, numbers) for fields, parts in together.items()]
    return tuple(numbers), found


def _occurrences(
    space: Space, fields: tuple[str, ...], parts: Sequence[Part], numbers: dict[str, int]
) -> Occurrences:
    import numpy

    values = [space.fields[f] for f in fields]
    found: list[tuple[int, int, int]] = []
    for place, combination in enumerate(itertools.product(*values)):
        at = dict(zip(fields, combination, strict=True))
        keys = [k for part in parts for k in part.rows(*(at[f] for f in part.fields))]
        found += [(place, numbers.setdefault(k, len(numbers)), n) for k, n in Counter(keys).items()]
    places, rows, counts = numpy.array(found, dtype=numpy.int64).reshape(-1, 3).T.copy()
    return Occurrences(fields, tuple(map(len, values)), places, rows, counts)


def unfit(space: Space, most: int) -> tuple[tuple[str, ...], Array] | None:
    """Which values do not fit together: the fields that `fault` reads, and True where it objects.

    The fields are found by following `fault` along every way that it can take. None when it
    reads so many that they have more than `most` combinations.
    """
    import numpy

    read: set[str] = set()
    waiting: list[dict[str, Value]] = [{}]
    for _ in range(most):
        if not waiting:
            break
        known = waiting.pop()
        try:
            space.fault(_Known(space.fields, known))
        except _NotKnown as error:
            read.add(error.field)
            waiting += [{**known, error.field: v} for v in space.fields[error.field]]
    fields = tuple(f for f in space.fields if f in read)
    values = [space.fields[f] for f in fields]
    if waiting or math.prod(map(len, values)) > most:
        return None
    first = {name: own[0] for name, own in space.fields.items()}
    wrong = [
        space.fault({**first, **dict(zip(fields, combination, strict=True))}) is not None
        for combination in itertools.product(*values)
    ]
    return fields, numpy.array(wrong).reshape(tuple(map(len, values)))


class _NotKnown(Exception):
    """`fault` reads a field that has no value yet."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class _Known(Mapping[str, Value]):
    """Values of some fields; reading another one raises _NotKnown."""

    def __init__(self, fields: Mapping[str, object], known: Mapping[str, Value]) -> None:
        self._fields = fields
        self._known = known

    def __getitem__(self, field: str) -> Value:
        if field in self._fields and field not in self._known:
            raise _NotKnown(field)
        return self._known[field]

    def __iter__(self) -> Any:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)
