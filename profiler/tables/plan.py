"""What a table's build measures: which rows, in which chains.

A row that keeps its shape is the slope of chains of one and of several of it, behind an anchor
that gives them the layout which a network would. A row that changes it is what a chain with it
takes beyond one without. All of it is one linear system: latency = scaffold + counted rows.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profiler.errors import BadArchitecture, SpaceError
from profiler.spaces import Block, Shape, Space
from profiler.tables.interpolation import family, split
from profiler.types import Workload

ANCHOR = "anchor/"
NOTHING = "nothing"
DRAWS = 400
# How many rows of a family that changes shape are measured along each axis; between them the
# table interpolates.
KNOTS = {1: 6, 2: 5, 3: 3}
SLOPE = (1, 4)
# The third length shows whether latency is linear in the number of blocks.
STRAIGHTNESS = (1, 2, 4)
# For tables of which every row is measured: a seventh less to load and to run.
SHORT = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Chain:
    """Blocks to measure in a row. `scaffold` names the constant part of its latency: chains that
    share it differ only by the rows in `counted`. One that stands `inside` a network is timed with
    its weights where the rest of one would have put them; those that begin with a network's input
    are not. One `between` the shortest and the longest of its kind shows only whether latency is
    linear in the number of blocks, and has no part in the slope."""

    blocks: tuple[str, ...]
    scaffold: str
    counted: tuple[str, ...]
    inside: bool = True
    between: bool = False


def block(space: Space, key: str) -> Block:
    """The block behind a row of the space, an anchor, or the network that does nothing."""
    if key == NOTHING:
        shape: Shape = (4, 7, 7)
        workload = Workload("benchmarks.blocks.nothing:nothing", {}, key)
        return Block(workload, (shape,), (shape,))
    if key.startswith(ANCHOR):
        shapes = tuple(
            tuple(int(n) for n in s.split("x")) for s in key.removeprefix(ANCHOR).split("+")
        )
        parameters = {"shapes": [list(s) for s in shapes]}
        workload = Workload("benchmarks.blocks.anchors:anchor", parameters, key)
        fronts = tuple((4, *((s[0], 1) if len(s) == 2 else s[-2:])) for s in shapes)
        return Block(workload, fronts, shapes)
    return space.block(key)


def repeats(space: Space, key: str) -> bool:
    """Whether chains of a row, or of its unit, can be made."""
    return space.block(key).repeats and bool(space.unit(key))


def anchor_of(shapes: Sequence[Shape]) -> str:
    """The key of the anchor that gives these shapes."""
    return ANCHOR + "+".join("x".join(map(str, s)) for s in shapes)


@dataclass
class Neighbours:
    """What stands beside what in the networks of a space, found by drawing some of them."""

    space: Space
    beside: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        generator = random.Random(0)
        drawn = self.space.draw(generator, min(DRAWS, self.space.size))
        for architecture in [*map(self.space.parse, self.space.named), *drawn]:
            families = [family(k) for k in self.space.rows(architecture)]
            self.first.add(families[0])
            self.beside.update(itertools.pairwise(families))

    @functools.cached_property
    def giving(self) -> dict[tuple[Shape, ...], list[str]]:
        """All rows by the shapes that they give."""
        found: dict[tuple[Shape, ...], list[str]] = {}
        for key in self.space.keys:
            found.setdefault(self.space.block(key).gives, []).append(key)
        return found

    @functools.cached_property
    def taking(self) -> dict[tuple[Shape, ...], list[str]]:
        """All rows by the shapes that they take."""
        found: dict[tuple[Shape, ...], list[str]] = {}
        for key in self.space.keys:
            found.setdefault(self.space.block(key).takes, []).append(key)
        return found

    @functools.cached_property
    def narrow(self) -> bool:
        """Whether there are repeating rows that one tensor alone runs through."""
        found = (k for k in self.space.keys if repeats(self.space, k))
        return any(len(self.space.block(k).takes) == 1 for k in found)

    def anchors(self, key: str) -> bool:
        """Whether chains can begin with this row: it repeats, and where that is possible there is
        no second tensor, whose layout an anchor would have to guess."""
        found = self.space.block(key)
        return repeats(self.space, key) and (len(found.takes) == 1 or not self.narrow)

    def before(self, key: str, wanted: Iterable[str], besides: Iterable[str] = ()) -> str | None:
        """The row that stands before this one: a repeating, measured, frequent one if possible."""
        own, left_out = family(key), set(besides)
        close = {
            k: self.beside[family(k), own]
            for k in self.giving.get(self.space.block(key).takes, ())
            if k not in left_out
        }
        return self._best(close, wanted)

    def after(self, key: str, wanted: Iterable[str]) -> str | None:
        """The repeating row that stands after this one, or None."""
        own = family(key)
        close = {
            k: self.beside[own, family(k)]
            for k in self.taking.get(self.space.block(key).gives, ())
            if repeats(self.space, k)
        }
        return self._best(close, wanted)

    def _best(self, close: dict[str, int], wanted: Iterable[str]) -> str | None:
        known = set(wanted)
        ranked = [
            (repeats(self.space, k), k in known, count, k) for k, count in close.items() if count
        ]
        return max(ranked)[3] if ranked else None


def chains(
    space: Space, keys: Iterable[str], counts: Sequence[int] = STRAIGHTNESS
) -> tuple[list[Chain], list[str]]:
    """Chains that determine these rows, and all rows that they determine.

    Further rows come in where the wanted ones stand beside them in a network.
    """
    neighbours = Neighbours(space)
    wanted = dict.fromkeys(keys)
    found: dict[tuple[str, ...], Chain] = {}
    waiting = list(wanted)
    nothing = Chain((NOTHING,), "overhead", (), inside=False)
    found[nothing.blocks] = nothing

    def need(key: str) -> str:
        if key not in wanted:
            wanted[key] = None
            waiting.append(key)
        return key

    while waiting:
        key = waiting.pop()
        if repeats(space, key):
            for other in space.unit(key):
                need(other)
            made = _slope(space, key, counts)
        else:
            made = [_difference(space, neighbours, key, wanted, need)]
        found.update((c.blocks, c) for c in made)
    return list(found.values()), list(wanted)


def _slope(space: Space, key: str, counts: Sequence[int]) -> list[Chain]:
    """Chains of so many units. Where several rows have the same unit, the slope is that of their
    sum, and units that stop short of their end tell the rows apart."""
    unit = space.unit(key)
    front = anchor_of(space.block(unit[0]).takes)
    shared = sum(space.unit(k) == unit for k in unit) > 1
    ends = [unit[:n] for n in range(1, len(unit))] if shared else []
    scaffold = _scaffold(space, key)
    inner = sorted(counts)[1:-1]
    return [
        *(Chain((front, *unit * k), scaffold, unit * k, between=k in inner) for k in counts),
        *(Chain((front, *unit, *end), scaffold, unit + end) for end in ends),
    ]


def _scaffold(space: Space, key: str) -> str:
    """The constant part of chains of a row: its anchor, and how the last row hands its output
    over."""
    unit = space.unit(key)
    return f"{anchor_of(space.block(unit[0]).takes)}>{family(unit[-1])}"


def _difference(
    space: Space,
    neighbours: Neighbours,
    key: str,
    wanted: Iterable[str],
    need: Callable[[str], str],
) -> Chain:
    opening: list[str] = []
    scaffold = "overhead"
    front: tuple[str, ...] = ()
    reached = key
    while family(reached) not in neighbours.first:
        before = neighbours.before(reached, wanted, opening)
        if before is None:
            raise SpaceError(f"{space.name}: nothing in its networks gives what {reached} takes")
        need(before)
        unit = space.unit(before) if repeats(space, before) else (before,)
        opening = [*_up_to(unit, before), *opening]
        if neighbours.anchors(before) and all(space.unit(k) for k in (key, *opening)):
            front = (anchor_of(space.block(unit[0]).takes),)
            scaffold = _scaffold(space, before)
            break
        reached = unit[0]
    after = neighbours.after(key, wanted)
    closing = _from(space.unit(need(after)), after) if after else ()
    counted = (*opening, key, *closing)
    return Chain((*front, *counted), scaffold, counted, inside=bool(front))


def _up_to(unit: tuple[str, ...], key: str) -> tuple[str, ...]:
    """A unit, and another one that stops behind this row if it is not the last."""
    place = unit.index(key) + 1
    return unit if place == len(unit) else unit + unit[:place]


def _from(unit: tuple[str, ...], key: str) -> tuple[str, ...]:
    """The rest of a unit from this row on."""
    return unit[unit.index(key) :]


# Which rows are measured -----------------------------------------------------------------------


def chosen(
    space: Space, every: int = 1, knots: Mapping[int, int] = KNOTS, released: bool = True
) -> list[str]:
    """The rows to measure: those that repeat, every so many of each family, and knots of those
    that change shape; with `released` all of the released networks'."""
    keys: dict[str, None] = {}
    families: dict[str, list[str]] = {}
    for key in space.keys:
        families.setdefault(family(key), []).append(key)
    for members in families.values():
        repeating = [k for k in members if repeats(space, k)]
        changing = [k for k in members if not repeats(space, k)]
        keys.update(dict.fromkeys(_thinned(repeating, every)))
        keys.update(dict.fromkeys(_on_knots(changing, knots)))
    known = set(space.keys)
    for name in space.named if released else ():
        with contextlib.suppress(BadArchitecture):  # the space may be narrower than its names
            keys.update((k, None) for k in space.rows(space.parse(name)) if k in known)
    return list(keys)


def _thinned(keys: Sequence[str], every: int) -> list[str]:
    """Every so many values along each axis, the ends always."""
    if every == 1:
        return list(keys)
    return _at(keys, [_spaced(a, -(-len(a) // every) + 1) for a in _axes(keys)])


def _on_knots(keys: Sequence[str], knots: Mapping[int, int]) -> list[str]:
    axes = _axes(keys)
    count = knots.get(len(axes), 3)
    if len(keys) <= count ** len(axes):
        return list(keys)
    return _at(keys, [_spaced(a, count) for a in axes])


def _axes(keys: Sequence[str]) -> list[list[float]]:
    places = [p for k in keys if (p := split(k)[1]) is not None]
    return [sorted(set(column)) for column in zip(*places, strict=True)] if places else []


def _at(keys: Sequence[str], axes: Sequence[Sequence[float]]) -> list[str]:
    sets = [set(a) for a in axes]
    found = []
    for key in keys:
        place = split(key)[1]
        if place is None or all(v in s for v, s in zip(place, sets, strict=True)):
            found.append(key)
    return found


def _spaced(values: Sequence[float], count: int) -> list[float]:
    """About so many of the values, evenly spaced in their logarithm, the ends among them.

    Of values that are about as near the rounder one is taken: a convolution to an odd multiple of
    16 channels is slower than its neighbours on many engines, and a bad base to interpolate from.
    """
    if count >= len(values) or count < 2:
        return list(values)
    low, high = math.log(values[0]), math.log(values[-1])
    gap = (high - low) / (count - 1)
    found = {values[0], values[-1]}
    for place in range(1, count - 1):
        at = low + place * gap
        near = [v for v in values if abs(math.log(v) - at) <= 0.3 * gap]
        nearest = min(values, key=lambda v: abs(math.log(v) - at))
        found.add(max(near, key=lambda v: (_roundness(v), -abs(math.log(v) - at)), default=nearest))
    return sorted(found)


def _roundness(value: float) -> int:
    """The power of two that divides a number of channels, up to 32."""
    whole = int(value)
    return math.gcd(whole, 32) if whole == value else 0
