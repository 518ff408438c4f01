"""Between measured widths: linear in the logarithm of channels and latency, never beyond them.

A key's family is all before its last part, its place the numbers of the last part: one number
for a block that keeps its width, two for one that changes it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

from profiler.statistics import quantile

Place = tuple[int, ...]


def split(key: str) -> tuple[str, Place | None]:
    """Family and place of a key; no place when its last part is not numbers."""
    family, _, last = key.rpartition("/")
    numbers = last.split("-")
    if not all(n.isascii() and n.isdigit() and len(n) < 10 and int(n) for n in numbers):
        return family, None
    return family, tuple(int(n) for n in numbers)


def interpolate(key: str, known: Mapping[str, float]) -> float | None:
    """The latency of a key between its neighbours, or None where it has none on some side."""
    family, place = split(key)
    if place is None:
        return None
    points = {}
    for other, value in known.items():
        if other.startswith(family + "/"):
            head, there = split(other)
            if head == family and there is not None and len(there) == len(place):
                points[there] = value
    return between(place, points)


def margin(key: str, known: Mapping[str, float]) -> float:
    """How far off an interpolated entry may be, as a share: what leaving measured ones out shows.

    The 95 % quantile of the errors of the key's family, each entry interpolated from the others;
    of all families where its own has no three entries that lie between others; infinite where
    there are none at all.
    """
    family, _ = split(key)
    own = left_out(tuple(sorted((k, v) for k, v in known.items() if split(k)[0] == family)))
    errors = own if len(own) >= 3 else left_out(tuple(sorted(known.items())))
    return quantile(errors, 0.95) if errors else math.inf


@functools.lru_cache(maxsize=64)
def left_out(known: tuple[tuple[str, float], ...]) -> tuple[float, ...]:
    """Relative errors of known entries when each is interpolated from the others."""
    errors = []
    for place, (key, value) in enumerate(known):
        guess = interpolate(key, dict(known[:place] + known[place + 1 :]))
        if guess is not None:
            errors.append(abs(guess / value - 1))
    return tuple(errors)


def between(place: Place, points: Mapping[Place, float]) -> float | None:
    """Log-log linear in every coordinate, over the smallest box of known points around a place.

    Returns None when no such box exists: nothing is ever extrapolated.
    """
    if place in points:
        return points[place]
    boxes = _boxes(place, points)
    if not boxes:
        return None
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


def _share(value: int, low: int, high: int) -> float:
    return 0.0 if low == high else math.log(value / low) / math.log(high / low)


def _volume(low: Place, high: Place) -> float:
    return sum(math.log(h / lo) for lo, h in zip(low, high, strict=True))


def _boxes(place: Place, points: Mapping[Place, float]) -> list[tuple[Place, Place]]:
    """Boxes around a place whose corners are all known."""
    if len(place) == 1:
        below = [p for p in points if p[0] <= place[0]]
        above = [p for p in points if p[0] >= place[0]]
        return [(max(below), min(above))] if below and above else []
    axis0 = sorted({p[0] for p in points})
    axis1 = sorted({p[1] for p in points})
    found: list[tuple[Place, Place]] = []
    for a in _around(place[0], axis0):
        for b in _around(place[1], axis1):
            if all((x, y) in points for x in a for y in b):
                found += [((a[0], b[0]), (a[1], b[1]))]
    return found


def _around(value: int, axis: list[int]) -> list[tuple[int, int]]:
    """Pairs of coordinates on both sides of a value, or the value itself twice."""
    exact = [(value, value)] if value in axis else []
    below = [v for v in axis if v < value]
    above = [v for v in axis if v > value]
    return exact + [(lo, hi) for lo in below for hi in above]
