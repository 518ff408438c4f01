"""MobileViT's search space (Mehta and Rastegari 2022, section 3.2 and table 4), at 256.

An architecture is written `16-24-48-64-80/64-80-96/1-3-1-1-1/2-4-3/2`: the widths of five stages,
the transformers' widths in the last three, how many inverted residuals a stage begins with, how
many transformers the MobileViT block has that ends each of the last three, and the expansion of
all inverted residuals. Stem, kernels, patches of 2x2, heads and MLPs are the paper's.

Between `unfold` and `fold` the map runs beside the tokens, and `transformer` has both widths in
its key, although the map only passes by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from profiler.errors import UnknownName
from profiler.spaces import Block, Part, Shape, Space, Value
from profiler.types import Workload

DESCRIPTION = "MobileViT: widths of maps and tokens, depths, transformers and the expansion"
STEM = 16
RESOLUTIONS = (128, 64, 32, 16, 8)
STRIDES = (1, 2, 2, 2, 2)
WIDTHS = (
    range(16, 33, 8),
    range(24, 65, 8),
    range(48, 97, 16),
    range(64, 129, 16),
    range(80, 161, 16),
)
# Where a MobileViT block ends the stage, and the widths of its tokens. All are multiples of 8, so
# that each of the four heads has an even number of channels.
TOKENS = {
    3: range(64, 145, 16),
    4: (80, 96, 112, 120, 128, 144, 160, 176, 192),
    5: range(96, 241, 16),
}
NAMED = {
    "xxs": "16-24-48-64-80/64-80-96/1-3-1-1-1/2-4-3/2",
    "xs": "32-48-64-80-96/96-120-144/1-3-1-1-1/2-4-3/4",
    "s": "32-64-96-128-160/144-192-240/1-3-1-1-1/2-4-3/4",
}
BLOCKS = "benchmarks.blocks.mobilevit"
# What follows a family in a key, by the names of its builder's parameters.
SIZE = r"[1-9]\d{0,4}"
CHANNELS = f"(?P<channels>{SIZE})"
PAIR = f"(?P<channels_in>{SIZE})-(?P<channels_out>{SIZE})"
BOTH = f"{CHANNELS}-(?P<dim>{SIZE})"
RESOLUTION = "(?P<resolution>128|64|32|16|8)"
EXPANSION = "(?P<expansion>[1-9])"
FORMS = {
    "stem": f"{RESOLUTION}/{CHANNELS}",
    "ir": f"{RESOLUTION}/s(?P<stride>[12])/{PAIR}-{EXPANSION}",
    "residual": f"{RESOLUTION}/{CHANNELS}-{EXPANSION}",
    "unfold": f"{RESOLUTION}/{BOTH}",
    "transformer": f"(?P<tokens>256|64|16)/{BOTH}",
    "fold": f"{RESOLUTION}/{BOTH}",
    "head_conv": f"{RESOLUTION}/{CHANNELS}",
    "classifier": f"{RESOLUTION}/{CHANNELS}",
}


def _stem() -> list[str]:
    return [f"stem/128/{STEM}"]


def _inverted(stage: int) -> Part:
    """The inverted residuals of a stage: one that gives it its shape, and some that keep it."""
    resolution, stride = RESOLUTIONS[stage - 1], STRIDES[stage - 1]

    def rows(before: Value, after: Value, depth: Value, expansion: Value) -> list[str]:
        later = f"residual/{resolution}/{after:g}-{expansion:g}"
        first = f"ir/{resolution}/s{stride}/{before:g}-{after:g}-{expansion:g}"
        keeps = stride == 1 and before == after
        return [later if keeps else first, *[later] * (int(depth) - 1)]

    def first_rows(after: Value, depth: Value, expansion: Value) -> list[str]:
        return rows(STEM, after, depth, expansion)

    own = (f"widths{stage}", f"depths{stage}", "expansion")
    return Part((f"widths{stage - 1}", *own), rows) if stage > 1 else Part(own, first_rows)


def _mobilevit(stage: int) -> Part:
    resolution = RESOLUTIONS[stage - 1]
    tokens = resolution**2 // 4

    def rows(width: Value, dim: Value, depth: Value) -> list[str]:
        place = f"{width:g}-{dim:g}"
        layers = [f"transformer/{tokens}/{place}"] * int(depth)
        return [f"unfold/{resolution}/{place}", *layers, f"fold/{resolution}/{place}"]

    return Part((f"widths{stage}", f"dims{stage - 2}", f"layers{stage - 2}"), rows)


def _end(width: Value) -> list[str]:
    return [f"head_conv/8/{width:g}", f"classifier/8/{4 * width:g}"]


def block(key: str) -> Block:
    """The block behind a row. Raises UnknownName on a key of another form."""
    family, _, rest = key.partition("/")
    match = re.fullmatch(FORMS[family], rest) if family in FORMS else None
    if match is None:
        raise UnknownName("block of mobilevit", key, SPACE.keys)
    sizes = {name: int(text) for name, text in match.groupdict().items()}
    takes, gives = _shapes(family, sizes)
    return Block(Workload(f"{BLOCKS}:{family}", sizes, key), takes, gives)


def _shapes(family: str, sizes: Mapping[str, int]) -> tuple[tuple[Shape, ...], tuple[Shape, ...]]:
    if family == "ir":
        side, before = sizes["resolution"], sizes["stride"] * sizes["resolution"]
        return ((sizes["channels_in"], before, before),), ((sizes["channels_out"], side, side),)
    tokens = sizes.get("tokens") or sizes["resolution"] ** 2 // 4
    side = 2 * math.isqrt(tokens)
    channels = sizes["channels"]
    own: Shape = (channels, side, side)
    both: tuple[Shape, ...] = (own, (1, 4, tokens, sizes.get("dim", 0)))
    return {
        "stem": (((3, 2 * side, 2 * side),), (own,)),
        "residual": ((own,), (own,)),
        "unfold": ((own,), both),
        "transformer": (both, both),
        "fold": (both, (own,)),
        "head_conv": ((own,), ((4 * channels, side, side),)),
        "classifier": ((own,), ((1000,),)),
    }[family]


def network(text: str) -> Workload | None:
    """The real network behind a released architecture, however it is written: timm's."""
    written = SPACE.text(SPACE.parse(text))
    short = next((n for n, named in NAMED.items() if named == written), None)
    if short is None:
        return None
    full = f"mobilevit_{short}"
    return Workload("benchmarks.models.timm:create", {"name": full, "batch": 1}, full)


SPACE = Space(
    name="mobilevit",
    groups={
        "widths": WIDTHS,
        "dims": tuple(TOKENS.values()),
        "depths": (range(1, 4), range(1, 5), range(1, 3), range(1, 3), range(1, 3)),
        "layers": (range(1, 5), range(1, 7), range(1, 5)),
        "expansion": ((2, 3, 4),),
    },
    parts=(
        Part((), _stem),
        *(
            part
            for stage in range(1, 6)
            for part in (_inverted(stage), *((_mobilevit(stage),) if stage in TOKENS else ()))
        ),
        Part(("widths5",), _end),
    ),
    block=block,
    named=NAMED,
    network=network,
)
