"""What no honest build leaves behind: entries copied, filled along a line, shuffled, or too round.

Shapes are judged along one number of a key at a time, the others equal. Only entries are given
here that claim to be measured or imported and whose noise is less than their value.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profiler.statistics import median
from profiler.tables.interpolation import split

ERROR, WARNING = "error", "warning"
# Chance makes fewer such finds than this in a whole table before they are no chance.
CHANCE = 0.01
# An interval that more entries have, beside their value, is no measurement of its own.
FEW = 8
# A straight line meets whole ns within this, over so many entries.
ROUNDING_NS = 1.0
STRAIGHT = 4
# How much a latency without an interval scatters, at the least, as a share.
SCATTER = 0.002
# Time may fall with width by so much, as rounds repeat; more is an error from STEEP_FALL on.
FALL, STEEP_FALL = 0.03, 0.10
# Kernels that work in steps of these are slower between them.
STAIRS = (8, 16, 32)
# A step of the timer may be so large beside the median entry, in a table of so many entries.
COARSE_STEP, COARSE_COUNT = 0.005, 6


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `line` is the file's, 0 where it is the whole file or not known."""

    severity: str
    rule: str
    line: int
    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as its line says it."""

    line: int
    key: str
    ns: float
    low_ns: float
    high_ns: float
    source: str = "measured"

    @property
    def shape(self) -> tuple[float, float]:
        """Its interval beside its value, as exact as whole ns are: one that many have follows
        from the value."""
        digits = min(5, int(math.log10(self.ns)))
        return round(self.low_ns / self.ns, digits), round(self.high_ns / self.ns, digits)

    @property
    def scatter_ns(self) -> float:
        """How much it would differ, were it measured again."""
        return (self.high_ns - self.low_ns) / 2 or SCATTER * self.ns

    def __str__(self) -> str:
        return f"{self.key} (line {self.line})" if self.line else self.key


Point = tuple[float, Line]


def rows(lines: Sequence[Line]) -> Iterator[list[Point]]:
    """Entries that differ in one number of their place only, in its order."""
    groups: dict[tuple[object, ...], list[Point]] = defaultdict(list)
    for line in lines:
        family, place = split(line.key)
        for axis, value in enumerate(place or ()):
            others = (*place[:axis], None, *place[axis + 1 :]) if place else ()
            groups[family, others].append((value, line))
    for points in groups.values():
        if len(points) > 1:
            yield sorted(points, key=lambda p: p[0])


# Copied -------------------------------------------------------------------------------------------


def copied(lines: Sequence[Line]) -> list[Finding]:
    """Entries with the value of another, in a family or a table, where chance does not."""
    families: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        families[split(line.key)[0]].append(line)
    found: dict[str, Finding] = {}
    for scope in (*families.values(), lines):
        for line, other in _alike(scope):
            message = f"has the {line.ns:.0f} ns of {other}: one is a copy"
            found.setdefault(line.key, Finding(ERROR, "copied", line.line, line.key, message))
    return list(found.values())


def _alike(lines: Sequence[Line]) -> Iterator[tuple[Line, Line]]:
    groups: dict[float, list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.ns].append(line)
    values = sorted(line.ns for line in lines)
    step = _step(values)
    shapes = Counter(line.shape for line in lines)
    usual = {s for s, count in shapes.items() if count > FEW}
    for ns, group in groups.items():
        if len(group) < 2:
            continue
        rare = _expected(values, ns, len(group), step) < CHANCE
        same = group if rare else _twins([x for x in group if x.shape not in usual])
        for line in same:
            yield line, next(x for x in same if x is not line)


def _twins(group: Sequence[Line]) -> list[Line]:
    """Those of equal value that have the interval of another, too."""
    ends = Counter((x.low_ns, x.high_ns) for x in group)
    return [x for x in group if ends[x.low_ns, x.high_ns] > 1]


def _expected(values: Sequence[float], ns: float, size: int, step: float) -> float:
    """How many entries of a table share their value with so many others by chance."""
    near = bisect.bisect(values, 1.05 * ns) - bisect.bisect_left(values, 0.95 * ns)
    return len(values) * math.comb(near - 1, size - 1) / (0.1 * ns / step) ** (size - 1)


# Filled along a line ------------------------------------------------------------------------------


def straight(lines: Sequence[Line]) -> list[Finding]:
    """Entries between others exactly on the line, in channels or in their logarithms.

    An error where they claim to be measured here; of imported ones nobody said so.
    """
    found: dict[str, Finding] = {}
    for points in rows(lines):
        for name, bend in (("channels", float), ("log channels", math.log)):
            for run in _runs(points, bend):
                for _, line in run[1:-1]:
                    message = f"is linear in {name} from {run[0][1]} to {run[-1][1]}: filled in"
                    severity = ERROR if line.source == "measured" else WARNING
                    finding = Finding(severity, "linear", line.line, line.key, message)
                    found.setdefault(line.key, finding)
    return list(found.values())


def _runs(points: Sequence[Point], bend: Callable[[float], float]) -> Iterator[Sequence[Point]]:
    start = 0
    while start + STRAIGHT <= len(points):
        stop = start + STRAIGHT
        while stop <= len(points) and _is_straight(points[start:stop], bend):
            stop += 1
        run = points[start : stop - 1]
        if len(run) >= STRAIGHT and _by_chance(run) * len(points) < CHANCE:
            yield run
            start += len(run) - 1
        else:
            start += 1


def _is_straight(run: Sequence[Point], bend: Callable[[float], float]) -> bool:
    (first, low), (last, high) = run[0], run[-1]
    if low.ns == high.ns:
        return False
    unbend = math.exp if bend is math.log else float
    for value, line in run[1:-1]:
        share = (bend(value) - bend(first)) / (bend(last) - bend(first))
        there = unbend(bend(low.ns) + share * (bend(high.ns) - bend(low.ns)))
        if abs(line.ns - there) > ROUNDING_NS:
            return False
    return True


def _by_chance(run: Sequence[Point]) -> float:
    """How likely measured entries so noisy would meet the line."""
    return math.prod(min(1.0, ROUNDING_NS / line.scatter_ns) for _, line in run[1:-1])


# Shuffled -----------------------------------------------------------------------------------------


def shuffled(lines: Sequence[Line]) -> list[Finding]:
    """Entries out of order: faster than narrower ones beyond both intervals, and no stair there."""
    found: dict[str, Finding] = {}
    for points in rows(lines):
        kept = _in_order(points)
        if len(kept) == len(points):
            continue
        for place, (_, line) in enumerate(points):
            against = [points[p][1] for p in kept if _falls(points, *sorted((p, place)))]
            if against:
                finding = _out_of_order(line, against)
                known = found.get(line.key)
                if known is None or known.severity == WARNING:
                    found[line.key] = finding
    return list(found.values())


def _in_order(points: Sequence[Point]) -> list[int]:
    """A long row of entries that all fit each other: few are left out."""
    best: list[list[int]] = []
    slowest: list[float] = []
    for place, (_, line) in enumerate(points):
        fitting = [
            p
            for p in range(place)
            if slowest[p] <= line.high_ns or not any(_falls(points, q, place) for q in best[p])
        ]
        before = max(fitting, key=lambda p: len(best[p]), default=None)
        best.append([place] if before is None else [*best[before], place])
        slowest.append(max([line.low_ns] if before is None else [line.low_ns, slowest[before]]))
    return max(best, key=len)


def _out_of_order(line: Line, against: Sequence[Line]) -> Finding:
    other = max(against, key=lambda x: abs(math.log(x.ns / line.ns)))
    fall = 1 - min(line.ns, other.ns) / max(line.ns, other.ns)
    word = "more" if line.ns > other.ns else "less"
    message = f"takes {word} than {other}, {fall:.0%} against the order of their widths"
    severity = ERROR if fall > STEEP_FALL else WARNING
    return Finding(severity, "shuffled", line.line, line.key, message)


def _falls(points: Sequence[Point], left: int, right: int) -> bool:
    """Whether the wider one takes less, beyond both intervals, with no stair to explain it."""
    (narrow, slow), (wide, fast) = points[left], points[right]
    if fast.high_ns >= slow.low_ns or fast.ns >= (1 - FALL) * slow.ns:
        return False
    return _alignment(wide) <= _alignment(narrow) or _too_fast(points, right)


def _alignment(value: float) -> int:
    return max((s for s in STAIRS if value % s == 0), default=1)


def _too_fast(points: Sequence[Point], place: int) -> bool:
    """Whether an entry is below its peers too, those that are aligned at least as well."""
    value, line = points[place]
    peers = [p for p in points if _alignment(p[0]) >= _alignment(value) and p[1] is not line]
    below = [p for p in peers if p[0] < value]
    above = [p for p in peers if p[0] > value]
    if not below or not above:
        return False
    (low, left), (high, right) = below[-1], above[0]
    share = math.log(value / low) / math.log(high / low)
    there = math.exp((1 - share) * math.log(left.ns) + share * math.log(right.ns))
    return line.ns < (1 - STEEP_FALL) * there


# Too round ----------------------------------------------------------------------------------------


def coarse(lines: Sequence[Line]) -> list[Finding]:
    """A clock whose step is large beside what it measures."""
    values = [line.ns for line in lines]
    if len(values) < COARSE_COUNT:
        return []
    step = _step(values)
    if step <= COARSE_STEP * median(values):
        return []
    message = f"all entries are multiples of {step:.0f} ns: the timer is too coarse for them"
    return [Finding(WARNING, "coarse", 0, "", message)]


def _step(values: Sequence[float]) -> float:
    """The largest number of whole ns of which all are multiples."""
    return float(math.gcd(*map(int, values))) if all(v == int(v) for v in values) else 1.0
