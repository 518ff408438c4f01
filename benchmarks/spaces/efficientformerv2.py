"""EfficientFormerV2's search space (Li et al. 2023, arXiv 2212.08059, section 4).

An architecture is written `32-48-96-176/2-2-6-4/2-2/4-4/4-4/4-3-3-3-4-4/4-3-3-4`: four widths,
four depths, how many of the last blocks of stages 3 and 4 have attention before their
feed-forward, and for each stage the expansions of its blocks' feed-forwards.

Depths are those from the smallest to the largest released network. Widths, in steps of 8, and
expansions reach beyond the released ones; a stage has attention in none of its blocks to six of
them, as many as the largest network has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from profiler.errors import UnknownName
from profiler.spaces import Block, Part, Shape, Space, Value
from profiler.types import Workload

DESCRIPTION = "EfficientFormerV2: widths, depths, attention and the expansion of each block"
RESOLUTIONS = (56, 28, 14, 7)
DEPTHS = (range(2, 6), range(2, 6), range(6, 16), range(4, 11))
EXPANSIONS = (1, 1.5, 2, 2.5, 3, 3.5, 4)
NAMED = {
    "s0": "32-48-96-176/2-2-6-4/2-2/4-4/4-4/4-3-3-3-4-4/4-3-3-4",
    "s1": "32-48-120-224/3-3-9-6/2-2/4-4-4/4-4-4/4-4-3-3-3-3-4-4-4/4-4-3-3-4-4",
    "s2": "32-64-144-288/4-4-12-8/4-4/4-4-4-4/4-4-4-4/4-4-3-3-3-3-3-3-4-4-4-4/4-4-3-3-3-3-4-4",
    "l": (
        "40-80-192-384/5-5-15-10/6-6/4-4-4-4-4/4-4-4-4-4/"
        "4-4-4-4-3-3-3-3-3-3-3-4-4-4-4/4-4-4-3-3-3-3-4-4-4"
    ),
}
BLOCKS = "benchmarks.blocks.efficientformerv2"
# What follows a family in a key, by the names of its builder's parameters.
SIZE = "[1-9][0-9]{0,4}"
PAIR = f"(?P<channels_in>{SIZE})-(?P<channels_out>{SIZE})"
FORMS = {
    "stem": f"(?P<channels>{SIZE})",
    "embedding": f"(?P<resolution>28|14)/{PAIR}",
    "ffn": rf"(?P<resolution>56|28|14|7)/(?P<channels>{SIZE})-(?P<expansion>[1-9](\.5)?)",
    "attention": f"(?P<resolution>14|7)/(?P<channels>{SIZE})",
    "attention_downsample": f"(?P<resolution>7)/{PAIR}",
    "head": f"(?P<channels>{SIZE})",
}


def _stem(width: Value) -> list[str]:
    return [f"stem/{width:g}"]


def _head(width: Value) -> list[str]:
    return [f"head/{width:g}"]


def _stage(number: int) -> list[Part]:
    """A stage: what leads into it, then each of its blocks, as parts of their own."""
    parts = [] if number == 1 else [_entry(number)]
    for place in range(1, max(DEPTHS[number - 1]) + 1):
        if number > 2:
            parts.append(_attention(number, place))
        parts.append(_ffn(number, place))
    return parts


def _entry(number: int) -> Part:
    resolution = RESOLUTIONS[number - 1]
    family = "attention_downsample" if number == 4 else "embedding"

    def rows(before: Value, after: Value) -> list[str]:
        return [f"{family}/{resolution}/{before:g}-{after:g}"]

    return Part((f"widths{number - 1}", f"widths{number}"), rows)


def _attention(number: int, place: int) -> Part:
    resolution = RESOLUTIONS[number - 1]

    def rows(width: Value, depth: Value, attention: Value) -> list[str]:
        there = depth - attention < place <= depth and attention <= depth
        return [f"attention/{resolution}/{width:g}"] if there else []

    return Part((f"widths{number}", f"depths{number}", f"attention{number - 2}"), rows)


def _ffn(number: int, place: int) -> Part:
    resolution = RESOLUTIONS[number - 1]

    def rows(width: Value, depth: Value, expansion: Value) -> list[str]:
        return [f"ffn/{resolution}/{width:g}-{expansion:g}"] if place <= depth else []

    return Part((f"widths{number}", f"depths{number}", f"expansions{number}_{place}"), rows)


def _fault(values: Mapping[str, Value]) -> str | None:
    for field, depth in (("attention1", "depths3"), ("attention2", "depths4")):
        if values[field] > values[depth]:
            return f"{field} is {values[field]:g}, {depth} has only {values[depth]:g} blocks"
    return None


def block(key: str) -> Block:
    """The block behind a row. Raises UnknownName on a key of another form."""
    family, _, rest = key.partition("/")
    match = re.fullmatch(FORMS[family], rest) if family in FORMS else None
    if match is None:
        raise UnknownName("block of efficientformerv2", key, SPACE.keys)
    written = match.groupdict()
    sizes = {name: int(number) for name, number in written.items() if name != "expansion"}
    parameters: dict[str, Value] = dict(sizes)
    if family == "ffn":
        number = written["expansion"]
        parameters["expansion"] = float(number) if "." in number else int(number)
    takes, gives = _shapes(family, sizes)
    return Block(Workload(f"{BLOCKS}:{family}", parameters, key), (takes,), (gives,))


def _shapes(family: str, sizes: Mapping[str, int]) -> tuple[Shape, Shape]:
    if family == "stem":
        return (3, 224, 224), (sizes["channels"], 56, 56)
    if family == "head":
        return (sizes["channels"], 7, 7), (1000,)
    side = sizes["resolution"]
    if "channels" in sizes:
        shape = (sizes["channels"], side, side)
        return shape, shape
    return (sizes["channels_in"], 2 * side, 2 * side), (sizes["channels_out"], side, side)


def unit(key: str) -> tuple[str, ...]:
    """Attention never follows itself: there is a feed-forward in between."""
    family, _, place = key.partition("/")
    return (key, f"ffn/{place}-4") if family == "attention" else (key,)


def network(text: str) -> Workload | None:
    """The real network behind a released architecture, however it is written: timm's."""
    written = SPACE.text(SPACE.parse(text))
    short = next((n for n, named in NAMED.items() if named == written), None)
    if short is None:
        return None
    full = f"efficientformerv2_{short}"
    return Workload("benchmarks.models.timm:create", {"name": full, "batch": 1}, full)


SPACE = Space(
    name="efficientformerv2",
    groups={
        "widths": (range(16, 49, 8), range(32, 97, 8), range(64, 209, 8), range(128, 401, 8)),
        "depths": DEPTHS,
        "attention": (range(7), range(7)),
        **{f"expansions{n + 1}": (EXPANSIONS,) * max(DEPTHS[n]) for n in range(4)},
    },
    lengths={f"expansions{n}": f"depths{n}" for n in range(1, 5)},
    parts=(
        Part(("widths1",), _stem),
        *(part for number in range(1, 5) for part in _stage(number)),
        Part(("widths4",), _head),
    ),
    block=block,
    fault=_fault,
    named=NAMED,
    network=network,
    unit=unit,
)
