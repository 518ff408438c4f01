"""Between measured rows: linear in the logarithm of channels and latency, never beyond them.

A key's family is all before its last part, its place the numbers of the last part: channels, and
where a block has more to choose, channels before and after, or an expansion. Engines that work on
so many channels at once make latency climb in stairs: where a family's measured rows show it, or,
if those are too few to tell, those of like families, a width between two stairs is given what the
next stair takes, and so are the channels inside a block that expands its width.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from profiler.statistics import quantile

Place = tuple[float, ...]
# So many known coordinates on each side of a value may span its box.
NEAREST = 3
NUMBER = re.compile(r"\d{1,9}(\.\d{1,4})?")
# Widths of the vector units that we know of, in channels; 1 is no stair.
STAIRS = (1, 16, 32)
# A stair is believed when leaving out so many rows shows that it predicts so much better; of other
# families it takes more to be believed.
BELIEVED, EDGES = 0.8, 3
BELIEVED_OF_OTHERS, EDGES_OF_OTHERS = 0.5, 8


@functools.lru_cache(maxsize=1 << 17)
def split(key: str) -> tuple[str, Place | None]:
    """Family and place of a key; no place when its last part is not numbers."""
    family, _, last = key.rpartition("/")
    numbers = last.split("-")
    if not all(n.isascii() and NUMBER.fullmatch(n) and float(n) for n in numbers):
        return family, None
    return family, tuple(float(n) if "." in n else int(n) for n in numbers)


def family(key: str) -> str:
    """What a key has in common with those that it is interpolated from."""
    return split(key)[0]


class Interpolation:
    """What measured rows tell about those between them."""

    def __init__(self, known: Mapping[str, float]) -> None:
        self._points: dict[tuple[str, int], dict[Place, float]] = {}
        self._stairs: dict[tuple[str, int], int] = {}
        self._missed: dict[tuple[str, int], list[float]] = {}
        for key, value in known.items():
            own, place = split(key)
            if place is not None:
                self._points.setdefault((own, len(place)), {})[place] = value

    def at(self, key: str) -> float | None:
        """The latency of a key between its neighbours, or None where it has none on some side."""
        kind = self._kind(key)
        place = split(key)[1]
        if kind is None or place is None:
            return None
        return between(place, self._points[kind], self._stair(kind))

    def margin(self, key: str) -> float:
        """How far off an interpolated row may be, as a share.

        That is what leaving measured ones out shows: the 95 % quantile of the errors of the key's
        family, each row interpolated from the others; of all families where its own has no three
        rows that lie between others; infinite where there are none at all.
        """
        kind = self._kind(key)
        own = self._missing(kind) if kind else []
        errors = own if len(own) >= 3 else self.left_out
        return quantile(errors, 0.95) if errors else math.inf

    def _kind(self, key: str) -> tuple[str, int] | None:
        own, place = split(key)
        kind = (own, len(place or ()))
        return kind if kind in self._points else None

    def _stair(self, kind: tuple[str, int]) -> int:
        """How many channels a stair of the family spans.

        Where it has too few rows to tell, families of the same kind of block, which differ in the
        size of their maps alone, are asked as well, and then all: they have one engine.
        """
        if kind not in self._stairs:
            word = kind[0].partition("/")[0]
            alike = [p for k, p in self._points.items() if k[0].partition("/")[0] == word]
            others = (EDGES_OF_OTHERS, BELIEVED_OF_OTHERS)
            self._stairs[kind] = _best_stair(
                [
                    Group([self._points[kind]], EDGES, BELIEVED),
                    Group(alike, *others),
                    Group(list(self._points.values()), *others),
                ]
            )
        return self._stairs[kind]

    def _missing(self, kind: tuple[str, int]) -> list[float]:
        if kind not in self._missed:
            points = self._points[kind]
            self._missed[kind] = _errors(points, self._stair(kind), list(points))
        return self._missed[kind]

    @functools.cached_property
    def left_out(self) -> list[float]:
        """Relative errors of known rows when each is interpolated from the others."""
        return [e for kind in self._points for e in self._missing(kind)]


def interpolate(key: str, known: Mapping[str, float]) -> float | None:
    """The latency of one key between its neighbours, or None where it has none on some side."""
    return Interpolation(known).at(key)


def margin(key: str, known: Mapping[str, float]) -> float:
    """How far off one interpolated row may be, as a share; see `Interpolation.margin`."""
    return Interpolation(known).margin(key)


class Group(NamedTuple):
    """Families that are asked for a stair: how many rows have to tell, and by how much."""

    families: Sequence[Mapping[Place, float]]
    edges: int
    believed: float


def _best_stair(groups: Iterable[Group]) -> int:
    """The stair that predicts rows between its multiples clearly better than a line does, as the
    first of these groups tells that has enough such rows."""
    best = 1
    for step in STAIRS[1:]:
        for families, edges, believed in groups:
            ratio, count = _better(families, best, step)
            if count >= edges:
                best = step if ratio < believed else best
                break
    return best


def _better(families: Sequence[Mapping[Place, float]], step: int, other: int) -> tuple[float, int]:
    """The errors with another stair as a share of those with this one, where those differ; and of
    how many rows."""
    before, after = [], []
    for points in families:
        off = [p for p in points if _upstairs(p, other) != p]
        before += _errors(points, step, off)
        after += _errors(points, other, off)
    return sum(after) / (sum(before) or 1.0), len(before)


def _errors(points: Mapping[Place, float], step: int, places: Sequence[Place]) -> list[float]:
    found = []
    for place in places:
        guess = between(place, {p: v for p, v in points.items() if p != place}, step)
        if guess is not None:
            found.append(abs(guess / points[place] - 1))
    return found


def _channels(place: Place) -> list[float]:
    """The coordinates that are channels and not expansions, which are small."""
    return [v for v in place if v >= STAIRS[1] / 2 and v == int(v)]


def _upstairs(place: Place, step: int) -> Place:
    """The next place where all channels, and those inside an expanding block, fill their stairs."""
    channels = _channels(place)
    above = tuple(_filled(v, step) if v in channels else v for v in place)
    if len(place) == 2 and channels == [place[0]]:
        width, expansion = place
        return above[0], _filled(width * expansion, step) / above[0]
    return above


def _filled(channels: float, step: int) -> float:
    return math.ceil(round(channels / step, 9)) * step


def between(place: Place, points: Mapping[Place, float], step: int = 1) -> float | None:
    """Log-log linear in every coordinate, over the smallest box of known points around a place.

    With a `step` above 1, channels are first taken up to its next multiple, where known points
    reach so far. Returns None when no box exists: nothing is ever extrapolated.
    """
    if place in points:
        return points[place]
    boxes = _boxes(place, points)
    if not boxes:
        return None
    if step > 1 and (above := _upstairs(place, step)) != place:
        found = between(above, points)
        if found is not None:
            return found
    low, high = min(boxes, key=lambda box: _volume(*box))
    total = 0.0
    for corner in range(2 ** len(place)):
        weight = 1.0
        at = []
        for axis, value in enumerate(place):
            upper = bool(corner >> axis & 1)
            share = _share(value, low[axis], high[axis])
            weight *= share if upper else 1 - share
            at.append(high[axis] if upper else low[axis])
        if weight:
            total += weight * math.log(points[tuple(at)])
    return math.exp(total)


def _share(value: float, low: float, high: float) -> float:
    return 0.0 if low == high else math.log(value / low) / math.log(high / low)


def _volume(low: Place, high: Place) -> float:
    return sum(math.log(h / lo) for lo, h in zip(low, high, strict=True))


def _boxes(place: Place, points: Mapping[Place, float]) -> list[tuple[Place, Place]]:
    """Boxes around a place whose corners are all known: of near coordinates if there are any."""
    axes = [sorted({p[n] for p in points}) for n in range(len(place))]
    around = [_around(value, axis) for value, axis in zip(place, axes, strict=True)]
    near = [
        (tuple(lo for lo, _ in box), tuple(hi for _, hi in box))
        for box in itertools.product(*around)
        if all(corner in points for corner in itertools.product(*box))
    ]
    return near or _wide_boxes(place, points)


def _wide_boxes(place: Place, points: Mapping[Place, float]) -> list[tuple[Place, Place]]:
    """As above, however far away: many single points between those of a grid may hide it."""
    lows = [p for p in points if all(a <= b for a, b in zip(p, place, strict=True))]
    highs = [p for p in points if all(a >= b for a, b in zip(p, place, strict=True))]
    return [
        (low, high)
        for low, high in itertools.product(lows, highs)
        if all(corner in points for corner in itertools.product(*zip(low, high, strict=True)))
    ]


def _around(value: float, axis: Sequence[float]) -> list[tuple[float, float]]:
    """Pairs of coordinates on both sides of a value, nearest first, or the value itself twice."""
    exact = [(value, value)] if value in axis else []
    below = [v for v in axis if v < value][: -NEAREST - 1 : -1]
    above = [v for v in axis if v > value][:NEAREST]
    return exact + [(lo, hi) for lo in below for hi in above]
