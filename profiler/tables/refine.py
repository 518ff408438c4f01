"""Which rows to measure next: those whose interpolation is least certain and weighs most.

A build begins with few rows of each family and with some that were left out beforehand, drawn at
random. Rows are added until those left out are predicted well enough from the others, or the time
is spent.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from profiler.spaces import Space
from profiler.statistics import median
from profiler.tables.interpolation import Interpolation, Place, family, split
from profiler.tables.plan import KNOTS, chosen, repeats

# Every so many rows of a family at first, knots of those that change shape, and whether all rows of
# the released networks: the first of these for which a budget leaves two thirds of a second for a
# row, which is what one took on a slow machine, beside what does not depend on their number.
COARSE: tuple[tuple[int, Mapping[int, int], bool], ...] = (
    (6, KNOTS, True),
    (8, {1: 4, 2: 3, 3: 3}, True),
    (12, {1: 3, 2: 3, 3: 2}, True),
    (16, {1: 3, 2: 3, 3: 2}, False),
    (16, {1: 3, 2: 2, 3: 2}, False),
)
ROWS_PER_SECOND, FIXED_S = 1.5, 20.0
LEFT_OUT = 16
DRAWS = 200
# Rows are added in so many steps at the most, each a share of those that are not measured.
SHARE = 0.34
SEED = 20
# A family of which nothing was left out is taken to bend as much as this.
UNKNOWN_ERROR = 0.05


def first(space: Space, budget_s: float | None = None) -> list[str]:
    """The rows with which a build begins: fewer where there is little time."""
    rows: list[str] = []
    for every, knots, released in COARSE:
        rows = chosen(space, every, knots, released)
        if budget_s is None or len(rows) <= ROWS_PER_SECOND * (budget_s - FIXED_S):
            break
    return rows


def left_out(space: Space, rows: Sequence[str], most: int = LEFT_OUT) -> list[str]:
    """Rows by which the interpolation is judged: drawn from those of networks, not among `rows`.

    Of few rows few are left out.
    """
    known = set(rows)
    count = min(most, max(4, len(known) // 8))
    weights = uses(space)
    rest = sorted(k for k in weights if k not in known and repeats(space, k))
    generator = random.Random(SEED)
    found: dict[str, None] = {}
    while rest and len(found) < min(count, len(rest)):
        found[generator.choices(rest, [weights[k] for k in rest])[0]] = None
    return list(found)


def uses(space: Space) -> Counter[str]:
    """How often rows occur in networks drawn at random."""
    drawn = space.draw(random.Random(SEED), min(DRAWS, space.size))
    return Counter(k for a in drawn for k in space.rows(a))


def error(known_ns: Mapping[str, float], judged: Sequence[str]) -> float | None:
    """The mean error of judged rows when each is interpolated from the rest; None without any."""
    rest = Interpolation({k: v for k, v in known_ns.items() if k not in set(judged)})
    guesses = {k: rest.at(k) for k in judged if k in known_ns}
    errors = [abs(g / known_ns[k] - 1) for k, g in guesses.items() if g is not None]
    return sum(errors) / len(errors) if errors else None


def following(space: Space, known_ns: Mapping[str, float], weights: Mapping[str, int]) -> list[str]:
    """The rows to measure next, the least certain and weightiest third of what is not measured.

    A row's uncertainty is what leaving out the measured rows of its family shows, times how far
    it lies from the next of them; its weight is the share of networks' time that it takes.
    """
    between = Interpolation(known_ns)
    errors = _family_errors(known_ns)
    known_places = _places(known_ns)
    ranked = []
    for key in space.keys:
        if key in known_ns or not repeats(space, key):
            continue
        value = between.at(key)
        if value is None:
            continue
        doubt = errors.get(family(key), UNKNOWN_ERROR) * _distance(key, known_places)
        ranked.append((doubt * value * (1 + weights.get(key, 0)), key))
    ranked.sort(reverse=True)
    return [k for _, k in ranked[: math.ceil(SHARE * len(ranked))]]


def _family_errors(known_ns: Mapping[str, float]) -> dict[str, float]:
    families: dict[str, dict[str, float]] = {}
    for key, value in known_ns.items():
        families.setdefault(family(key), {})[key] = value
    found = {}
    for name, members in families.items():
        missed = Interpolation(members).left_out
        if missed:
            found[name] = median(missed)
    return found


def _places(keys: Iterable[str]) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for key in keys:
        own, place = split(key)
        if place is not None:
            found.setdefault(own, []).append(place)
    return found


def _distance(key: str, known: Mapping[str, Sequence[Place]]) -> float:
    """How far the next measured row of the family is, in logarithms of channels."""
    own, place = split(key)
    others = [p for p in known.get(own, ()) if place is not None and len(p) == len(place)]
    if place is None or not others:
        return 1.0
    return min(
        sum(abs(math.log(a / b)) for a, b in zip(place, other, strict=True)) for other in others
    )
