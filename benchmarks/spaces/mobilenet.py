"""Inverted residuals: the space of MobileNetV2, ProxylessNAS and once-for-all.

A network is a stem, a separable convolution, six stages of inverted residuals, a 1x1 convolution
and a classifier, at 224 (Sandler et al. 2018, table 2; Cai et al. 2019, section 3; Cai et al.
2020, section 3). An architecture is written

    stem/separable/widths/head/depths/se/hs/kernels of each stage/expansions of each stage

Stem, separable and head are widths as well. Squeeze and excitation and the activation (ReLU6, or
hard swish where `hs` is 1) are a stage's; the ends take the activation of the stage beside them.
Kernel and expansion are each block's own, as in once-for-all: every block is parts of its own.

Widths reach from what is below MobileNetV2 x1.0 to what is above x1.4, in steps that both meet.
Where a stage keeps the resolution its widths begin above those before, so that the first block of
a stage never has a shortcut, and the others always have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from profiler.errors import UnknownName
from profiler.spaces import Block, Part, Shape, Space, Value
from profiler.types import Workload

DESCRIPTION = "MobileNet: widths, depths, and kernel, expansion, SE, activation of its blocks"
RESOLUTIONS = (56, 28, 14, 14, 7, 7)
STRIDES = (2, 2, 2, 1, 2, 1)
WIDTHS = (
    range(16, 41, 8),
    range(24, 57, 8),
    range(48, 89, 8),
    range(96, 145, 8),
    range(112, 241, 16),
    range(256, 481, 32),
)
BLOCKS_PER_STAGE = 4
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
ACTIVATIONS = ("relu6", "hardswish")
# MobileNetV2's depths, no squeeze and excitation, ReLU6, all kernels 3; and all expansions 6.
PLAIN = "2-3-4-3-3-1/0-0-0-0-0-0/0-0-0-0-0-0/3-3/3-3-3/3-3-3-3/3-3-3/3-3-3/3"
SIXFOLD = "6-6/6-6-6/6-6-6-6/6-6-6/6-6-6/6"
NAMED = {
    "mobilenetv2_100": f"32/16/24-32-64-96-160-320/1280/{PLAIN}/{SIXFOLD}",
    "mobilenetv2_140": f"48/24/32-48-88-136-224-448/1792/{PLAIN}/{SIXFOLD}",
}
BLOCKS = "benchmarks.blocks.mobilenet"
# What follows a family in a key, by the names of its builder's parameters.
SIZE = r"[1-9]\d{0,4}"
CHANNELS = f"(?P<channels>{SIZE})"
PAIR = f"(?P<channels_in>{SIZE})-(?P<channels_out>{SIZE})"
RESOLUTION = "(?P<resolution>112|56|28|14|7)"
KERNEL, STRIDE, SE = "k(?P<kernel>[357])", "s(?P<stride>[12])", "se(?P<se>[01])"
ACTIVATION = f"(?P<activation>{'|'.join(ACTIVATIONS)})"
EXPANSION = r"(?P<expansion>[1-9](\.\d)?)"
FORMS = {
    "stem": f"{RESOLUTION}/{ACTIVATION}/{CHANNELS}",
    "separable": f"{RESOLUTION}/{ACTIVATION}/{PAIR}",
    "ir": f"{RESOLUTION}/{KERNEL}-{STRIDE}-{SE}-{ACTIVATION}/{PAIR}-{EXPANSION}",
    "residual": f"{RESOLUTION}/{KERNEL}-{SE}-{ACTIVATION}/{CHANNELS}-{EXPANSION}",
    "head_conv": f"{RESOLUTION}/{ACTIVATION}/{PAIR}",
    "classifier": f"{RESOLUTION}/{CHANNELS}",
}


def _start(stem: Value, separable: Value, hs: Value) -> list[str]:
    activation = ACTIVATIONS[int(hs)]
    return [f"stem/112/{activation}/{stem:g}", f"separable/112/{activation}/{stem:g}-{separable:g}"]


def _first(stage: int) -> Part:
    """The block that takes the width and the resolution of the stage before."""
    resolution, stride = RESOLUTIONS[stage - 1], STRIDES[stage - 1]

    def rows(
        before: Value, after: Value, se: Value, hs: Value, kernel: Value, expansion: Value
    ) -> list[str]:
        kind = f"k{kernel:g}-s{stride}-se{se:g}-{ACTIVATIONS[int(hs)]}"
        return [f"ir/{resolution}/{kind}/{before:g}-{after:g}-{expansion:g}"]

    before = f"widths{stage - 1}" if stage > 1 else "separable"
    return Part((before, f"widths{stage}", *_choices(stage, 1)), rows)


def _later(stage: int, place: int) -> Part:
    """A block that keeps its shape, where the stage is deep enough for it."""
    resolution = RESOLUTIONS[stage - 1]

    def rows(
        depth: Value, width: Value, se: Value, hs: Value, kernel: Value, expansion: Value
    ) -> list[str]:
        kind = f"k{kernel:g}-se{se:g}-{ACTIVATIONS[int(hs)]}"
        key = f"residual/{resolution}/{kind}/{width:g}-{expansion:g}"
        return [key] if place <= depth else []

    return Part((f"depths{stage}", f"widths{stage}", *_choices(stage, place)), rows)


def _choices(stage: int, place: int) -> tuple[str, str, str, str]:
    return f"se{stage}", f"hs{stage}", f"kernels{stage}_{place}", f"expansions{stage}_{place}"


def _end(width: Value, head: Value, hs: Value) -> list[str]:
    activation = ACTIVATIONS[int(hs)]
    return [f"head_conv/7/{activation}/{width:g}-{head:g}", f"classifier/7/{head:g}"]


def block(key: str) -> Block:
    """The block behind a row. Raises UnknownName on a key of another form."""
    family, _, rest = key.partition("/")
    match = re.fullmatch(FORMS[family], rest) if family in FORMS else None
    if match is None:
        raise UnknownName("block of mobilenet", key, SPACE.keys)
    parameters = {name: _number(text) for name, text in match.groupdict().items()}
    takes, gives = _shapes(family, parameters)
    return Block(Workload(f"{BLOCKS}:{family}", parameters, key), (takes,), (gives,))


def _number(text: str) -> Value | str:
    if text in ACTIVATIONS:
        return text
    return float(text) if "." in text else int(text)


def _shapes(family: str, parameters: Mapping[str, Value | str]) -> tuple[Shape, Shape]:
    side = int(parameters["resolution"])
    if family == "classifier":
        return (int(parameters["channels"]), side, side), (1000,)
    if family == "stem":
        return (3, 2 * side, 2 * side), (int(parameters["channels"]), side, side)
    if family == "residual":
        shape = (int(parameters["channels"]), side, side)
        return shape, shape
    before = side * int(parameters.get("stride", 1))
    channels_in, channels_out = int(parameters["channels_in"]), int(parameters["channels_out"])
    return (channels_in, before, before), (channels_out, side, side)


def network(text: str) -> Workload | None:
    """The real network behind a released architecture, however it is written: timm's."""
    written = SPACE.text(SPACE.parse(text))
    name = next((n for n, named in NAMED.items() if named == written), None)
    if name is None:
        return None
    return Workload("benchmarks.models.timm:create", {"name": name, "batch": 1}, name)


SPACE = Space(
    name="mobilenet",
    groups={
        "stem": (range(16, 49, 8),),
        "separable": (range(16, 33, 8),),
        "widths": WIDTHS,
        "head": (range(1024, 1921, 128),),
        "depths": (range(1, BLOCKS_PER_STAGE + 1),) * 6,
        "se": ((0, 1),) * 6,
        "hs": ((0, 1),) * 6,
        **{f"kernels{n}": (KERNELS,) * BLOCKS_PER_STAGE for n in range(1, 7)},
        **{f"expansions{n}": (EXPANSIONS,) * BLOCKS_PER_STAGE for n in range(1, 7)},
    },
    lengths={f"{g}{n}": f"depths{n}" for g in ("kernels", "expansions") for n in range(1, 7)},
    parts=(
        Part(("stem", "separable", "hs1"), _start),
        *(
            _first(stage) if place == 1 else _later(stage, place)
            for stage in range(1, 7)
            for place in range(1, BLOCKS_PER_STAGE + 1)
        ),
        Part(("widths6", "head", "hs6"), _end),
    ),
    block=block,
    named=NAMED,
    network=network,
)
