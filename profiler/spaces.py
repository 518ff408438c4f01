"""Search spaces: what an architecture is, and which rows of a table it reads.

A space names its rows once, in parts that depend on few fields each. This one description gives
the rows of an architecture, the list of all rows, random architectures, vectorised predictions
and the expected latency of a supernet.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from profiler import plugins
from profiler.errors import BadArchitecture, SpaceError, UnknownName
from profiler.types import Workload

Value = int | float
# The values of all fields, in the order of `Space.fields`; what does not count has a field's first.
Architecture = tuple[Value, ...]
# Without the batch: (channels, height, width) of a map, (tokens, channels) of tokens, and
# (1, groups, tokens, channels) of tokens whose groups stand in the place of the batch.
Shape = tuple[int, ...]

TRIES = 10_000
TRIAL_DRAWS = 300


@dataclass(frozen=True, slots=True)
class Block:
    """What is behind a row: its workload, and the shapes that it takes and gives.

    Several shapes where several tensors run through the network beside each other; each block
    of such a space takes and gives all of them.
    """

    workload: Workload
    takes: tuple[Shape, ...]
    gives: tuple[Shape, ...]

    @property
    def repeats(self) -> bool:
        """Whether one can follow itself."""
        return self.takes == self.gives


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a network whose rows depend on these fields only.

    `rows` is called with their values, for every combination of them, and gives no rows for
    combinations that no architecture has.
    """

    fields: tuple[str, ...]
    rows: Callable[..., Sequence[str]]


def _sound(_: Mapping[str, Value]) -> str | None:
    return None


def _unknown(_: str) -> Workload | None:
    return None


def _alone(key: str) -> tuple[str, ...]:
    return (key,)


@dataclass(frozen=True)
class Space:
    """A search space.

    `groups` are the fields in the order in which an architecture is written: a name and, for each
    of its fields, the values. A group of one has its own name as field, one of several fields
    adds 1, 2, ... to it (behind an underscore where it ends in a digit itself). `lengths` says for
    a group which field tells how many of its values count; the others are not written.

    `fault` tells what is wrong with values that do not fit together, or None. `named` are
    architectures with a name, as they are written; `network` gives the real network behind one.
    `unit` gives the rows among which a repeating row is found in a network, itself included, when
    it never follows itself; none for one that must be measured behind all that stands before it.
    """

    name: str
    groups: Mapping[str, Sequence[Sequence[Value]]]
    parts: Sequence[Part]
    block: Callable[[str], Block]
    fault: Callable[[Mapping[str, Value]], str | None] = _sound
    lengths: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)
    network: Callable[[str], Workload | None] = _unknown
    unit: Callable[[str], tuple[str, ...]] = _alone

    @functools.cached_property
    def fields(self) -> dict[str, tuple[Value, ...]]:
        """Every field's values."""
        return {
            name: tuple(values)
            for group, columns in self.groups.items()
            for name, values in zip(_names(group, columns), columns, strict=True)
        }

    def rows(self, architecture: Architecture) -> tuple[str, ...]:
        """The keys of an architecture's blocks, in order, one for each occurrence.

        Raises BadArchitecture on one that is not of this space.
        """
        values = self.values(architecture)
        return tuple(
            key for part in self.parts for key in part.rows(*(values[f] for f in part.fields))
        )

    def values(self, architecture: Architecture) -> dict[str, Value]:
        """Values by field. Raises BadArchitecture naming the field that is wrong."""
        if len(architecture) != len(self.fields):
            raise BadArchitecture(
                f"an architecture of {self.name} has {len(self.fields)} values "
                f"({', '.join(self.fields)}), not {len(architecture)}"
            )
        values = dict(zip(self.fields, architecture, strict=True))
        for name, value in values.items():
            if value not in self.fields[name]:
                raise BadArchitecture(
                    f"{name}={_number(value)} is not in {self.name}: it takes "
                    f"{_listed(self.fields[name])}"
                )
        wrong = self.fault(values)
        if wrong:
            raise BadArchitecture(f"{self.text(architecture)}: {wrong}")
        return values

    def text(self, architecture: Architecture) -> str:
        """An architecture as it is written: groups between slashes, values between dashes."""
        values = dict(zip(self.fields, architecture, strict=True))
        written = []
        for group, columns in self.groups.items():
            names = _names(group, columns)[: self._length(group, values)]
            written.append("-".join(_number(values[n]) for n in names))
        return "/".join(written)

    def parse(self, text: str) -> Architecture:
        """An architecture from its name or its written form. Raises BadArchitecture."""
        written = self.named.get(text.strip().lower().removeprefix(self.name + "_"), text).strip()
        pieces = written.split("/")
        if len(pieces) != len(self.groups):
            raise BadArchitecture(f"{text!r} is not an architecture of {self.name}: {self._how()}")
        given: dict[str, list[Value]] = {}
        for (group, columns), piece in zip(self.groups.items(), pieces, strict=True):
            numbers = [_read(n) for n in piece.split("-")] if piece else []
            if None in numbers or len(numbers) > len(columns):
                raise BadArchitecture(f"{text!r}: {group} {piece!r} is not right; {self._how()}")
            given[group] = [n for n in numbers if n is not None]
        found = {
            name: given[group][place] if place < len(given[group]) else values[0]
            for group, columns in self.groups.items()
            for place, (name, values) in enumerate(
                zip(_names(group, columns), columns, strict=True)
            )
        }
        for group in self.groups:
            wanted = self._length(group, found)
            if len(given[group]) != wanted:
                raise BadArchitecture(f"{text!r}: {group} has {len(given[group])} of {wanted}")
        architecture = tuple(found.values())
        self.values(architecture)
        return architecture

    def draw(self, generator: random.Random, count: int) -> list[Architecture]:
        """Different random architectures, uniform over the values that fit together.

        Raises SpaceError when so many cannot be found.
        """
        found: dict[Architecture, None] = {}
        for _ in range(TRIES + 100 * count):
            if len(found) == count:
                return list(found)
            candidate = tuple(generator.choice(v) for v in self.fields.values())
            normal = self.normal(candidate)
            if self.fault(dict(zip(self.fields, normal, strict=True))) is None:
                found[normal] = None
        if len(found) == count:
            return list(found)
        raise SpaceError(f"{self.name} has no {count} different architectures to draw")

    def normal(self, architecture: Architecture) -> Architecture:
        """The same architecture, with the first value in every field that does not count."""
        values = dict(zip(self.fields, architecture, strict=True))
        for group in self.lengths:
            names = _names(group, self.groups[group])
            for name in names[self._length(group, values) :]:
                values[name] = self.fields[name][0]
        return tuple(values.values())

    @functools.cached_property
    def keys(self) -> tuple[str, ...]:
        """Every row that some architecture reads."""
        found: dict[str, None] = {}
        for part in self.parts:
            for values in itertools.product(*(self.fields[f] for f in part.fields)):
                found.update(dict.fromkeys(part.rows(*values)))
        return tuple(found)

    def narrowed(self, bounds: Mapping[str, Iterable[Value]]) -> Space:
        """The same space with fewer values in some fields, or in all fields of a group.

        Raises SpaceError where no value is left, UnknownName on a field that is not there.
        """
        known = {*self.fields, *self.groups}
        for name in bounds:
            if name not in known:
                raise UnknownName(f"field of {self.name}", name, known)
        kept = {name: set(values) for name, values in bounds.items()}
        groups = {
            group: [
                tuple(v for v in values if v in kept.get(name, kept.get(group, values)))
                for name, values in zip(_names(group, columns), columns, strict=True)
            ]
            for group, columns in self.groups.items()
        }
        empty = [g for g, columns in groups.items() if not all(columns)]
        if empty:
            raise SpaceError(f"{self.name}: no value is left in {', '.join(empty)}")
        return replace(self, groups=groups)

    def inspect(self) -> None:
        """Try the space out, so that what is wrong is found before an hour of measuring.

        Every part names known fields, drawn architectures survive being written and read, each
        of their rows has a block, and each block gives what the next one takes. Raises
        SpaceError.
        """
        for part in self.parts:
            for name in part.fields:
                if name not in self.fields:
                    raise SpaceError(f"{self.name}: a part reads {name!r}, which is no field")
        generator = random.Random(0)
        for architecture in self.draw(generator, min(TRIAL_DRAWS, self.size)):
            text = self.text(architecture)
            if self.parse(text) != architecture:
                raise SpaceError(f"{self.name}: {text} reads as another architecture")
            self._follow(text, self.rows(architecture))

    def _follow(self, text: str, rows: Sequence[str]) -> None:
        given: tuple[Shape, ...] | None = None
        before = ""
        for key in rows:
            try:
                block = self.block(key)
            except Exception as error:  # a space is a user's code
                raise SpaceError(f"{self.name}: {text} reads {key!r}, no block: {error}") from error
            if given is not None and block.takes != given:
                raise SpaceError(
                    f"{self.name}: in {text} {before} gives {given}, {key} takes {block.takes}"
                )
            given, before = block.gives, key
        if not rows:
            raise SpaceError(f"{self.name}: {text} has no rows")

    @functools.cached_property
    def size(self) -> int:
        """How many architectures at the least: fields that may not count are left out."""
        loose = {n for g in self.lengths for n in _names(g, self.groups[g])}
        total = 1
        for name, values in self.fields.items():
            total *= 1 if name in loose else len(values)
            if total > 10 * TRIAL_DRAWS:
                return TRIAL_DRAWS
        found = 0
        for values in itertools.product(
            *((v[:1] if n in loose else v) for n, v in self.fields.items())
        ):
            found += self.fault(dict(zip(self.fields, values, strict=True))) is None
        return found

    def _length(self, group: str, values: Mapping[str, Value]) -> int:
        whole = len(self.groups[group])
        return min(whole, int(values[self.lengths[group]])) if group in self.lengths else whole

    def _how(self) -> str:
        example = next(iter(self.named.values()), None) or self.text(
            tuple(v[0] for v in self.fields.values())
        )
        names = f", or one of {', '.join(self.named)}" if self.named else ""
        return f"write {'/'.join(self.groups)} as in {example}{names}"


def load(name: str) -> Space:
    """A space by its name, or a user's own from a file `NAME.py` that has a SPACE.

    Raises UnknownName, or SpaceError when the file is not one.
    """
    if not name.endswith(".py"):
        found: Space = plugins.load("benchmarks.spaces", name).SPACE
        return found
    path = Path(name)
    described = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or described is None or described.loader is None:
        raise SpaceError(f"{name}: no such file")
    module = importlib.util.module_from_spec(described)
    sys.modules[path.stem] = module
    try:
        described.loader.exec_module(module)
    except Exception as error:  # a user's code may raise anything
        raise SpaceError(f"{name} cannot be loaded: {type(error).__name__}: {error}") from error
    space = getattr(module, "SPACE", None)
    if not isinstance(space, Space):
        raise SpaceError(f"{name} has no SPACE, a profiler.spaces.Space")
    space = replace(space, name=name)
    space.inspect()
    return space


def _names(group: str, columns: Sequence[Any]) -> list[str]:
    joint = "_" if group[-1:].isdigit() else ""
    if len(columns) == 1:
        return [group]
    return [f"{group}{joint}{n}" for n in range(1, len(columns) + 1)]


def _number(value: Value) -> str:
    return format(value, "g")


def _read(text: str) -> Value | None:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    head, dot, tail = text.partition(".")
    if dot and (head + tail).isascii() and (head + tail).isdigit() and len(text) < 10:
        return float(text)
    return None


def _listed(values: Sequence[Value]) -> str:
    if len(values) <= 8:
        return ", ".join(map(_number, values))
    return ", ".join(map(_number, values[:3])) + ", ... " + _number(values[-1])
