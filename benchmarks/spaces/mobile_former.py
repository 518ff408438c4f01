"""Mobile-Former's search space (Chen et al. 2022, arXiv 2108.05895, section 3).

An architecture is written `3/128/8/3/2/4/12-24-48-64-96/1-1-1-1-1/3/3/4/6/6/1024`: number and
dimension of the tokens; width of the stem; expansion and stride of the lite block; groups of the
pointwise convolutions; five widths; five numbers of blocks that keep the side; for each width the
expansions of these blocks; width of the last layer.

The widths belong to sides of 56, 28, 14, 14 and 7. A lite block of stride 1 keeps the stem's
width, and a block that halves the side follows; one of stride 2 leads to the first width itself.
The fourth width begins with a block that keeps the side, all others with one that halves it.
Numbers lie between those of the seven released networks.

A map and the tokens run beside each other, so every row names both: channels first (and what
belongs to them), tokens and their dimension last.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from profiler.errors import UnknownName
from profiler.spaces import Block, Part, Shape, Space, Value
from profiler.types import Workload

DESCRIPTION = "Mobile-Former: tokens, widths, depths and the expansion of each block"
IMAGE = (3, 224, 224)
CLASSES = (1000,)
RESOLUTIONS = (56, 28, 14, 14, 7)
DEPTHS = (range(3), range(1, 3), range(1, 3), range(1, 4), range(1, 4))
EXPANSIONS = (3, 4, 6)
NAMED = {
    "26m": "3/128/8/3/2/4/12-24-48-64-96/1-1-1-1-1/3/3/4/6/6/1024",
    "52m": "3/128/8/3/2/1/12-24-48-64-96/1-1-1-1-1/3/3/4/6/6/1024",
    "96m": "4/128/12/2/1/1/16-32-64-88-128/0-1-1-1-1//3/4/6/6/1280",
    "151m": "6/192/12/2/1/1/16-32-64-88-128/1-1-1-2-2/3/3/4/6-6/6-6/1280",
    "214m": "6/192/12/2/1/1/20-40-80-112-160/1-1-1-2-2/3/4/4/6-6/6-6/1600",
    "294m": "6/192/16/2/1/1/24-48-96-128-192/1-1-1-2-2/4/4/4/6-6/6-6/1920",
    "508m": "6/192/24/2/1/1/40-72-128-176-240/1-1-1-2-2/3/3/4/6-6/6-6/1920",
}
BLOCKS = "benchmarks.blocks.mobile_former"
# The head's pointwise convolution widens the last map so many times.
POOLED = 6
# What Mobile expands in chains that are measured for another row's sake.
UNIT_EXPANSION = 4
# What every row of a block depends on.
STATE_FIELDS = ("tokens", "dimension", "groups")
# What follows a family in a key, by the names of its builder's parameters.
SIZE = "[1-9][0-9]{0,4}"
STATE = f"(?P<tokens>{SIZE})-(?P<dimension>{SIZE})"
PLACE = "(?P<resolution>112|56|28|14|7)"
GROUPS = "g(?P<groups>[14])"
WIDTH = f"(?P<channels>{SIZE})"
PAIR = f"(?P<channels_in>{SIZE})-(?P<channels_out>{SIZE})"
TIMES = "(?P<expansion>[1-9])"
FORMS = {
    "stem": f"{WIDTH}-{STATE}",
    "lite": f"{GROUPS}/{WIDTH}-{TIMES}-{STATE}",
    "lite_down": f"{GROUPS}/{PAIR}-{TIMES}-{STATE}",
    "to_former": f"{PLACE}/{WIDTH}-{STATE}",
    "former": f"{PLACE}/{WIDTH}-{STATE}",
    "mobile": f"{PLACE}/{GROUPS}/{WIDTH}-{TIMES}-{STATE}",
    "mobile_change": f"{PLACE}/{GROUPS}/{PAIR}-{TIMES}-{STATE}",
    "mobile_down": f"{PLACE}/{GROUPS}/{PAIR}-{STATE}",
    "to_mobile": f"{PLACE}/{WIDTH}-{STATE}",
    "pool": f"{GROUPS}/{WIDTH}-{STATE}",
    "classifier": f"{WIDTH}-(?P<features>{SIZE})-{STATE}",
}


def _opening(
    tokens: Value,
    dimension: Value,
    groups: Value,
    stem: Value,
    expansion: Value,
    stride: Value,
    width: Value,
) -> list[str]:
    """From the image to the first width."""
    state = _joined(tokens, dimension)
    first = f"stem/{stem:g}-{state}"
    if stride == 2:
        return [first, f"lite_down/g{groups:g}/{_joined(stem, width, expansion)}-{state}"]
    kept = f"lite/g{groups:g}/{_joined(stem, expansion)}-{state}"
    return [first, kept, *_halved(1, tokens, dimension, groups, stem, width)]


def _halved(
    number: int, tokens: Value, dimension: Value, groups: Value, before: Value, after: Value
) -> list[str]:
    """The block that leads to a width by halving the side."""
    side, state = RESOLUTIONS[number - 1], _joined(tokens, dimension)
    mobile = f"mobile_down/{side}/g{groups:g}/{_joined(before, after)}-{state}"
    return _around(mobile, f"{2 * side}/{before:g}-{state}", f"{side}/{after:g}-{state}")


def _changed(
    tokens: Value, dimension: Value, groups: Value, before: Value, after: Value, expansion: Value
) -> list[str]:
    """The first block of the fourth width, which keeps the side."""
    if before == after:
        return _kept(14, tokens, dimension, groups, after, expansion)
    state = _joined(tokens, dimension)
    mobile = f"mobile_change/14/g{groups:g}/{_joined(before, after, expansion)}-{state}"
    return _around(mobile, f"14/{before:g}-{state}", f"14/{after:g}-{state}")


def _kept(
    side: int, tokens: Value, dimension: Value, groups: Value, width: Value, expansion: Value
) -> list[str]:
    """A block that keeps everything."""
    state = _joined(tokens, dimension)
    mobile = f"mobile/{side}/g{groups:g}/{_joined(width, expansion)}-{state}"
    return _around(mobile, f"{side}/{width:g}-{state}", f"{side}/{width:g}-{state}")


def _around(mobile: str, before: str, after: str) -> list[str]:
    """A whole block: tokens read the map, mix, set Mobile's activations and are written back."""
    return [f"to_former/{before}", f"former/{before}", mobile, f"to_mobile/{after}"]


def _joined(*numbers: Value) -> str:
    return "-".join(f"{n:g}" for n in numbers)


def _head(
    tokens: Value, dimension: Value, groups: Value, width: Value, features: Value
) -> list[str]:
    state = _joined(tokens, dimension)
    return [
        f"to_former/7/{width:g}-{state}",
        f"pool/g{groups:g}/{width:g}-{state}",
        f"classifier/{_joined(width, features)}-{state}",
    ]


def _stage(number: int) -> list[Part]:
    """What leads to a width, unless the opening has, then each of its other blocks."""
    before, width = f"widths{number - 1}", f"widths{number}"
    places = range(1, max(DEPTHS[number - 1]) + 1)
    parts = []
    if number == 4:
        parts.append(Part((*STATE_FIELDS, before, width, "expansions4_1"), _changed))
        places = places[1:]
    elif number > 1:
        parts.append(Part((*STATE_FIELDS, before, width), functools.partial(_halved, number)))
    return parts + [_repeated(number, place) for place in places]


def _repeated(number: int, place: int) -> Part:
    def rows(
        tokens: Value, dimension: Value, groups: Value, width: Value, depth: Value, times: Value
    ) -> list[str]:
        side = RESOLUTIONS[number - 1]
        return _kept(side, tokens, dimension, groups, width, times) if place <= depth else []

    fields = (f"widths{number}", f"depths{number}", f"expansions{number}_{place}")
    return Part((*STATE_FIELDS, *fields), rows)


def block(key: str) -> Block:
    """The block behind a row. Raises UnknownName on a key of another form."""
    family, _, rest = key.partition("/")
    match = re.fullmatch(FORMS[family], rest) if family in FORMS else None
    if match is None:
        alike = [k for k in SPACE.keys if k.startswith(f"{family}/")]
        raise UnknownName("block of mobile_former", key, alike or FORMS)
    sizes = {name: int(number) for name, number in match.groupdict().items()}
    state = (sizes["tokens"], sizes["dimension"])
    before, after = _maps(family, sizes)
    takes = (before,) if family == "stem" else (before, state)
    gives = (after,) if family == "classifier" else (after, state)
    return Block(Workload(f"{BLOCKS}:{family}", sizes, key), takes, gives)


def _maps(family: str, sizes: Mapping[str, int]) -> tuple[Shape, Shape]:
    """What is beside the tokens before and after a row."""
    width = sizes.get("channels", 0)
    pooled = (POOLED * width,)
    if family == "stem":
        return IMAGE, (width, 112, 112)
    if family == "pool":
        return (width, 7, 7), pooled
    if family == "classifier":
        return pooled, CLASSES
    side = {"lite": 112, "lite_down": 56}.get(family) or sizes["resolution"]
    taken = 2 * side if family.endswith("_down") else side
    before, after = sizes.get("channels_in", width), sizes.get("channels_out", width)
    return (before, taken, taken), (after, side, side)


def unit(key: str) -> tuple[str, ...]:
    """The rows of a whole block around a repeating one, which never follows itself in a network.

    At a side of 112 tokens are still those that were learned: compilers compute what depends on
    them alone beforehand, so those rows have no unit and are measured from the image on.
    """
    family, _, rest = key.partition("/")
    if family not in ("to_former", "former", "mobile", "to_mobile"):
        return (key,)
    place = rest.split("/")[-1].split("-")
    side, width, state = rest.split("/")[0], place[0], "-".join(place[-2:])
    around = f"{side}/{width}-{state}"
    if side == "112":
        return ()
    mobile = f"mobile/{side}/g1/{width}-{UNIT_EXPANSION}-{state}"
    own = key if family == "mobile" else mobile
    return (f"to_former/{around}", f"former/{around}", own, f"to_mobile/{around}")


def network(text: str) -> Workload | None:
    """The real network behind a released architecture, however it is written: our own."""
    written = SPACE.text(SPACE.parse(text))
    short = next((n for n, named in NAMED.items() if named == written), None)
    if short is None:
        return None
    full = f"mobile_former_{short}"
    builder = "benchmarks.models.mobile_former:create"
    return Workload(builder, {"name": full, "batch": 1}, full)


SPACE = Space(
    name="mobile_former",
    groups={
        "tokens": ((3, 4, 6),),
        "dimension": ((128, 192),),
        "stem": (range(8, 25, 4),),
        "lite_expansion": ((2, 3),),
        "lite_stride": ((1, 2),),
        "groups": ((1, 4),),
        "widths": (
            range(12, 41, 4),
            range(24, 73, 8),
            range(48, 129, 16),
            range(64, 177, 8),
            range(96, 241, 16),
        ),
        "depths": DEPTHS,
        **{f"expansions{n + 1}": (EXPANSIONS,) * max(DEPTHS[n]) for n in range(5)},
        "features": (range(1024, 1921, 64),),
    },
    lengths={f"expansions{n}": f"depths{n}" for n in range(1, 6)},
    parts=(
        Part((*STATE_FIELDS, "stem", "lite_expansion", "lite_stride", "widths1"), _opening),
        *(part for number in range(1, 6) for part in _stage(number)),
        Part((*STATE_FIELDS, "widths5", "features"), _head),
    ),
    block=block,
    named=NAMED,
    network=network,
    unit=unit,
)
