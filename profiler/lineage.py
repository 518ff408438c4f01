"""From a compiled network's operators back to those of the network that torch exported.

A compiler keeps some names, makes up others, fuses, folds and inserts. What bears a known name
*claims* a source operator. From the claims the rest follows: a source operator that nobody claims
was fused into what uses its result, and a compiled operator without a claim lies between others
that have one. Nothing is matched by its time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from profiler.operators import category
from profiler.types import Source

# What compilers append to the name of an operator or tensor that they have changed. A `/` begins
# a note of its own in ONNX Runtime and OpenVINO, as in `node_MatMul_3/MatMulAddFusion`.
SUFFIX = re.compile(r"(_nchwc|_token_\d+|_nhwc|_reformatted|/[^/]*|_cast_fp16|\.\d+)$")
# The path of what belongs to no module but the network itself.
NETWORK = "(network)"
MOVED = ("reshape and layout", "conversion")
# Looked at first when an operator without a name is sought between its neighbours.
ALIKE = {"reduction": "pooling"}
# To a library a 1x1 convolution is a matrix product, and a mean over an image a pooling.
ROUGHLY = {"convolution": "matrix product", "reduction": "pooling"}
DEPTHWISE = "Depthwise Convolution"


@dataclass(frozen=True, slots=True)
class Compiled:
    """An operator of a compiled graph: what it may be known by, and whose results it takes."""

    name: str
    operator: str
    claims: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traced:
    """What a compiled operator stands for; one that was inserted has only neighbours."""

    sources: tuple[str, ...]
    beside: tuple[str, ...] = ()


class Index:
    """Source operators by name and by tensor, and how they follow each other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.by_name = {s.name: s for s in sources}
        self.place = {s.name: i for i, s in enumerate(sources)}
        self.maker = {t: s.name for s in sources for t in s.outputs}
        self.before = {
            s.name: [self.maker[t] for t in s.inputs if t in self.maker] for s in sources
        }
        self.after: dict[str, list[str]] = {s.name: [] for s in sources}
        for name, makers in self.before.items():
            for maker in makers:
                self.after[maker].append(name)
        # What depends on no input was computed when the network was compiled.
        fed = [s.name for s in sources if any(t not in self.maker for t in s.inputs)]
        self.live = {*fed, *self.reach(fed, self.after, lambda _: True)}

    def find(self, name: str) -> str | None:
        """The source operator that a name means, its endings taken off one by one."""
        while name:
            if name in self.by_name:
                return name
            if name in self.maker:
                return self.maker[name]
            shorter = SUFFIX.sub("", name)
            if shorter == name:
                return None
            name = shorter
        return None

    def sort(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names without repetition, in the order of the source network."""
        return tuple(sorted(set(names), key=lambda n: self.place[n]))

    def reach(
        self, starts: Iterable[str], follow: Mapping[str, list[str]], free: Callable[[str], bool]
    ) -> set[str]:
        """What can be reached from `starts`, stepping only onto what is free."""
        seen: set[str] = set()
        todo = list(starts)
        while todo:
            for other in follow[todo.pop()]:
                if other not in seen and free(other):
                    seen.add(other)
                    todo.append(other)
        return seen


def trace(compiled: Sequence[Compiled], sources: Sequence[Source]) -> dict[str, Traced]:
    """For every compiled operator, by name, the source operators that it stands for."""
    index = Index(sources)
    named = {c.name for c in compiled}
    claims = {c.name: _claims(c, index) for c in compiled}
    takes = {c.name: [t for t in c.takes if t in named] for c in compiled}
    gives: dict[str, list[str]] = {c.name: [] for c in compiled}
    for name, makers in takes.items():
        for maker in makers:
            gives[maker].append(name)
    taken = {s for found in claims.values() for s in found}
    for one in compiled:
        if not claims[one.name]:
            found = _between(one, index, claims, takes, gives, taken)
            claims[one.name] = found
            taken |= found
    result = {}
    for one in compiled:
        found = claims[one.name]
        absorbed = index.reach(found, index.before, lambda s: s in index.live and s not in taken)
        near: set[str] = set()
        if not found:
            near = _near(one.name, takes, claims) | _near(one.name, gives, claims)
        result[one.name] = Traced(index.sort(found | absorbed), index.sort(near))
    return result


def _claims(one: Compiled, index: Index) -> set[str]:
    found = {index.find(c) for c in one.claims} - {None}
    return {str(f) for f in found}


def _between(
    one: Compiled,
    index: Index,
    claims: Mapping[str, set[str]],
    takes: Mapping[str, list[str]],
    gives: Mapping[str, list[str]],
    taken: set[str],
) -> set[str]:
    """A source operator of the same kind of work between an operator's neighbours.

    One that nobody claims, or else one of a neighbour's: compilers make several operators of one,
    as a HardSigmoid and a product of a HardSwish. A layout change is not sought: compilers insert
    them, and then nothing corresponds to them.
    """
    kind = category(one.operator)
    if kind in MOVED:
        return set()

    def free(name: str) -> bool:
        return name in index.live and name not in taken

    before, after = _near(one.name, takes, claims), _near(one.name, gives, claims)
    behind, ahead = index.reach(before, index.after, free), index.reach(after, index.before, free)
    for group in (behind & ahead, behind, ahead, after, before):
        alike = [n for n in index.sort(group) if _alike(index.by_name[n].operator, kind)]
        if alike:
            return set(alike[:1])
    return set()


def _alike(operator: str, kind: str) -> bool:
    other = category(operator)
    return ALIKE.get(other, other) == ALIKE.get(kind, kind)


def _near(name: str, step: Mapping[str, list[str]], claims: Mapping[str, set[str]]) -> set[str]:
    """The claims of the nearest operators in one direction that have any."""
    found: set[str] = set()
    seen, todo = {name}, list(step[name])
    while todo:
        other = todo.pop()
        if other in seen:
            continue
        seen.add(other)
        if claims[other]:
            found |= claims[other]
        else:
            todo += step[other]
    return found


def claims_in_order(kernels: Sequence[str], sources: Sequence[Source]) -> list[tuple[str, ...]]:
    """For each kernel, by its type, the source operator that it is taken for.

    For libraries that name kernels by what they compute alone, but run them in the network's
    order: the longest sequence that both have in common, by the kind of work. A `DEPTHWISE` kernel
    is a convolution or a normalisation, and no matrix product.
    """
    claims: list[tuple[str, ...]] = [()] * len(kernels)
    for kernel, source in _in_order(kernels, [category(s.operator) for s in sources]):
        claims[kernel] = (sources[source].name,)
    return claims


def _likeness(kernel: str, kind: str) -> int:
    """How well a source operator's kind fits a kernel: 0 where it does not."""
    if kernel == DEPTHWISE:
        # What scales and shifts each channel, with no convolution before it, is made one.
        return {"convolution": 2, "normalisation": 1}.get(kind, 0)
    return 2 * (_roughly(category(kernel)) == _roughly(kind))


def _roughly(kind: str) -> str:
    return ROUGHLY.get(kind, kind)


def _in_order(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """The most alike common subsequence of kernels and kinds, as pairs of places."""
    best = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, -1, -1):
        for j in range(len(right) - 1, -1, -1):
            alike = _likeness(left[i], right[j])
            same = best[i + 1][j + 1] + alike if alike else 0
            best[i][j] = max(same, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        alike = _likeness(left[i], right[j])
        if alike and best[i][j] == best[i + 1][j + 1] + alike:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs
