"""Many architectures at once: where each value stands among those of its field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from profiler.errors import BadArchitecture
from profiler.spaces import Architecture, Space
from profiler.tables.occurrences import Array, unfit

# Combinations of values that are tried out to know beforehand which do not fit together.
MOST_TRIED = 50_000


class Positions:
    """From architectures of a space, written in any form, to positions of their values."""

    def __init__(self, space: Space) -> None:
        import numpy

        self.space = space
        lists = [numpy.array(v, dtype=float) for v in space.fields.values()]
        counts = numpy.array([len(v) for v in lists])
        self._values = numpy.concatenate(lists)
        self._starts = (numpy.cumsum(counts) - counts)[:, None]
        self._last = (counts - 1)[:, None]
        self._first = numpy.array([v[0] for v in lists])[:, None]
        steps = numpy.array([v[1] - v[0] if len(v) > 1 else 1.0 for v in lists])[:, None]
        self._per_value = 1 / steps
        # Most fields have values in equal steps, all of which are found at once.
        self._uneven = [
            (row, numpy.argsort(own), numpy.sort(own))
            for row, own in enumerate(lists)
            if not numpy.allclose(own, own[0] + steps[row, 0] * numpy.arange(len(own)))
        ]
        found = unfit(space, MOST_TRIED)
        self._unfit = (self.strides(found[0]), found[1].ravel()) if found else None

    def strides(self, fields: Sequence[str]) -> Array:
        """What a position in each field counts for in a flat array over these fields, C order."""
        import numpy

        names = list(self.space.fields)
        found = numpy.zeros(len(names))
        step = 1
        for field in reversed(fields):
            found[names.index(field)] = step
            step *= len(self.space.fields[field])
        return found

    def read(self, architectures: Any) -> Array:
        """An array (architectures, fields) of values.

        Takes such an array of any number type, a sequence of architectures, or one of texts.
        Raises BadArchitecture, with the row, on what is none.
        """
        import numpy

        count = len(self.space.fields)
        if not isinstance(architectures, numpy.ndarray):
            rows = [self._parse(row, a) for row, a in enumerate(architectures)]
            architectures = numpy.array(rows, dtype=float).reshape(len(rows), count)
        if architectures.ndim != 2 or architectures.shape[1] != count:
            raise BadArchitecture(
                f"architectures of {self.space.name} are an array (number, {count}), a column for "
                f"each of {', '.join(self.space.fields)}; this one is {architectures.shape}"
            )
        if architectures.dtype.kind not in "iuf":
            raise BadArchitecture(f"architectures are numbers, not {architectures.dtype}")
        return architectures

    def _parse(self, row: int, architecture: str | Architecture) -> Architecture:
        count = len(self.space.fields)
        try:
            if isinstance(architecture, str):
                return self.space.parse(architecture)
        except BadArchitecture as error:
            raise BadArchitecture(f"row {row}: {error}") from None
        if len(architecture) != count:
            raise BadArchitecture(f"row {row} has {len(architecture)} values, not {count}")
        return architecture

    def of(self, architectures: Array, start: int = 0) -> Array:
        """Positions (fields, architectures), float64, of values (architectures, fields).

        Raises BadArchitecture with the row, counted from `start`, and the field that is wrong.
        """
        import numpy

        values = numpy.ascontiguousarray(architectures.T, dtype=float)
        found = numpy.rint((values - self._first) * self._per_value)
        for row, order, ordered in self._uneven:
            at = numpy.searchsorted(ordered, values[row]).clip(max=len(ordered) - 1)
            found[row] = order[at]
        # fmax and fmin take the bound where a value is no number.
        found = numpy.fmin(numpy.fmax(found, 0), self._last)
        known = self._known(architectures.dtype).take((found + self._starts).astype(numpy.intp))
        right = known == values
        if not right.all():
            self._refuse(architectures, int(right.all(axis=0).argmin()), start)
        self._check_fit(architectures, found, start)
        return found

    def _known(self, kind: Any) -> Array:
        """The values as this type of number holds them: 0.1 is not the same in every one."""
        return self._values.astype(kind).astype(float) if kind.kind == "f" else self._values

    def _check_fit(self, architectures: Array, positions: Array, start: int) -> None:
        import numpy

        if self._unfit is None:
            names = list(self.space.fields)
            for row, values in enumerate(architectures.tolist()):
                if self.space.fault(dict(zip(names, values, strict=True))):
                    self._refuse(architectures, row, start)
            return
        strides, wrong = self._unfit
        if not wrong.any():
            return
        hit = wrong.take((strides @ positions).astype(numpy.intp))
        if hit.any():
            self._refuse(architectures, int(hit.argmax()), start)

    def _refuse(self, architectures: Array, row: int, start: int) -> None:
        written = tuple(
            int(v) if math.isfinite(v) and v == int(v) else v for v in architectures[row].tolist()
        )
        try:
            self.space.values(written)
        except BadArchitecture as error:
            raise BadArchitecture(f"row {start + row}: {error}") from None
        raise BadArchitecture(f"row {start + row} is no architecture of {self.space.name}")

    def architecture(self, positions: Array) -> Architecture:
        """The architecture whose values have these positions (fields,)."""
        return tuple(
            values[int(at)]
            for values, at in zip(self.space.fields.values(), positions, strict=True)
        )
