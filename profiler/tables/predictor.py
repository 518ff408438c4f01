"""Predictions for millions of architectures: a table and a space as arrays to look up and add.

Parts of the space are laid together to few groups of fields, each with an array over all
combinations of its values. An architecture's latency is then one number from each group.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.errors import MissingEntry, TableError, UsageError
from profiler.spaces import Architecture, Space
from profiler.tables.columns import Columns
from profiler.tables.interpolation import family, interpolate, margin
from profiler.tables.occurrences import Array, occurrences
from profiler.tables.positions import Positions
from profiler.tables.spreads import Spread
from profiler.tables.table import Entry, LatencyTable, interpolated

POLICIES = ("raise", "interpolate")
# Architectures at once: what is computed in between stays in a core's cache.
CHUNK = 2048


@dataclass(frozen=True, slots=True)
class Predictions:
    """Latencies of architectures, arrays (architectures,) in the order asked for.

    `latency_ns` and its 95 % interval are int64. `coverage` is the share of the latency that rests
    on entries of each source, float64; what is left is the overhead of a call. The figures hold
    for networks of this batch on this target; without `validated` no network was ever measured
    against the table.
    """

    latency_ns: Array
    low_ns: Array
    high_ns: Array
    coverage: Mapping[str, Array]
    target: str
    batch: int
    validated: bool
    unit: str = "ns"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What architectures are, int64 arrays (architectures,); float32 and this batch.

    Parameters, multiply-adds and bytes written are sums over the rows, `peak_bytes` is that of the
    row that needs most.
    """

    parameters: Array
    macs: Array
    activation_bytes: Array
    peak_bytes: Array
    batch: int = 1


class Predictor:
    """A table's predictions for architectures of a space, vectorised.

    They are those of `LatencyTable.predict`, with the same interval. A row that the table lacks
    raises MissingEntry once an architecture needs it; with `policy="interpolate"` it is filled
    where it lies between known ones. Raises TableError when the table is of another space.
    """

    def __init__(self, table: LatencyTable, space: Space, policy: str = "raise") -> None:
        if policy not in POLICIES:
            raise UsageError(f"policy {policy!r} is not one of {', '.join(POLICIES)}")
        if table.space != space.name:
            raise TableError(f"the table is for the space {table.space}, not {space.name}")
        self.table = table
        self.space = space
        self._fill = policy == "interpolate"
        keys, parts = occurrences(space)
        self._positions = Positions(space)
        self._columns = Columns(self._positions, parts)
        self._entries = held(table, keys, self._fill)
        self._latencies = self._summed(self._ns())
        self._sources = {
            source: self._summed(self._ns(source))
            for source in ("interpolated", "imported")
            if any(e is not None and e.source == source for e in self._entries)
        }
        self._spread = Spread(self._positions, self._columns, parts, self._spreads())

    def predict(self, architectures: Any) -> Predictions:
        """Latencies of architectures: an array (architectures, fields) of values in the order of
        `space.fields`, or a sequence of architectures, or of their texts.

        A field that does not count, of a block beyond the depth, has any of its values. Raises
        BadArchitecture naming row and field, and MissingEntry naming row, key and its nearest.
        """
        import numpy

        given = self._positions.read(architectures)
        total, half = numpy.empty(len(given)), numpy.empty(len(given))
        shares = {source: numpy.empty(len(given)) for source in self._sources}
        for chunk, positions, places in self._chunks(given):
            total[chunk] = self.table.overhead_ns + self._latencies.take(places).sum(axis=0)
            if numpy.isnan(total[chunk]).any():
                self._refuse(chunk.start, positions, numpy.isnan(total[chunk]))
            half[chunk] = self._spread.of(positions, places)
            for source, column in self._sources.items():
                shares[source][chunk] = column.take(places).sum(axis=0)
        half = numpy.maximum(half, self.table._closure_margin() * total)
        # Without a call's overhead or blocks there is nothing to have shares of.
        shares = {source: ns / numpy.maximum(total, 1e-9) for source, ns in shares.items()}
        blocks = 1 - self.table.overhead_ns / numpy.maximum(total, 1e-9)
        return Predictions(
            latency_ns=_whole(total),
            low_ns=_whole(total - half),
            high_ns=_whole(total + half),
            coverage={"measured": blocks - sum(shares.values()), **shares},
            target=self.table.target,
            batch=self.table.batch,
            validated=self.table.closure is not None,
        )

    def sizes(self, architectures: Any) -> Sizes:
        """Parameters, multiply-adds and memory of architectures, given as to `predict`.

        Raises TableError where an entry has no size.
        """
        import numpy

        given = self._positions.read(architectures)
        *summed, largest = self._size_columns
        found = numpy.empty((len(summed) + 1, len(given)))
        for chunk, positions, places in self._chunks(given):
            for row, column in zip(found, summed, strict=False):
                row[chunk] = column.take(places).sum(axis=0)
            found[-1, chunk] = largest.take(places).max(axis=0)
            lacking = numpy.isnan(found[0, chunk])
            if lacking.any():
                self._refuse_size(chunk.start, positions, lacking)
        return Sizes(*map(_whole, found))

    @functools.cached_property
    def _size_columns(self) -> tuple[Array, ...]:
        import numpy

        names = ("parameters", "macs", "activation_bytes", "peak_bytes")
        sizes = [e.size if e is not None else None for e in self._entries]
        weights = [numpy.array([getattr(s, n, math.nan) for s in sizes], float) for n in names]
        largest = self._columns.largest(lambda part: part.largest(weights[-1]))
        return *(self._summed(w) for w in weights[:-1]), largest

    def _chunks(self, given: Array) -> Iterator[tuple[slice, Array, Array]]:
        """Stretches of the architectures, positions of their values, and places in the columns."""
        for start in range(0, len(given), CHUNK):
            chunk = slice(start, start + CHUNK)
            positions = self._positions.of(given[chunk], start)
            yield chunk, positions, self._columns.places(positions)

    def _ns(self, source: str = "") -> Array:
        """What each row adds, of entries from this source only; no number where one is missing."""
        import numpy

        found = [
            math.nan if e is None else self.table.scale_of(e.key) * e.ns for e in self._entries
        ]
        if source:
            of_source = [e is not None and e.source == source for e in self._entries]
            return numpy.where(numpy.array(of_source, bool), found, 0.0)
        return numpy.array(found, float)

    def _spreads(self) -> Array:
        import numpy

        return numpy.array(
            [
                0.0 if e is None else self.table.scale_of(e.key) * (e.high_ns - e.low_ns) / 2
                for e in self._entries
            ],
            float,
        )

    def _summed(self, weights: Array) -> Array:
        return self._columns.added(lambda part: part.total(weights))

    def _first(self, start: int, positions: Array, wrong: Array) -> tuple[int, Architecture]:
        at = int(wrong.argmax())
        return start + at, self._positions.architecture(positions[:, at])

    def _refuse(self, start: int, positions: Array, wrong: Array) -> None:
        row, architecture = self._first(start, positions, wrong)
        try:
            self.table.predict("", self.space.rows(architecture), fill=self._fill)
        except MissingEntry as error:
            raise MissingEntry(f"row {row}: {error}") from None

    def _refuse_size(self, start: int, positions: Array, wrong: Array) -> None:
        row, architecture = self._first(start, positions, wrong)
        sizes = {e.key: e.size for e in self._entries if e is not None}
        key = next(k for k in self.space.rows(architecture) if sizes.get(k) is None)
        raise TableError(f"row {row}: the table has no size for {key!r}")


def held(table: LatencyTable, keys: Sequence[str], fill: bool) -> list[Entry | None]:
    """The entries of keys; with `fill` what is missing is interpolated where that is possible."""
    missing = [k for k in keys if k not in table.entries] if fill else []
    if not missing:
        return [table.entries.get(k) for k in keys]
    families: dict[str, dict[str, float]] = {}
    for key, entry in table.entries.items():
        families.setdefault(family(key), {})[key] = float(entry.ns)
    measured = {k: float(e.ns) for k, e in table.entries.items() if e.source != "interpolated"}
    # How far off they may be is the same for all keys of a family.
    off = functools.cache(lambda own: margin(f"{own}/1", measured))
    filled: dict[str, Entry] = {}
    for key in missing:
        value = interpolate(key, families.get(family(key), {}))
        if value is not None:
            filled[key] = interpolated(key, value, off(family(key)))
    return [table.entries.get(k) or filled.get(k) for k in keys]


def _whole(values: Array) -> Array:
    import numpy

    return numpy.rint(values).astype(numpy.int64)
