"""A space small enough for a test: a convolution, more of them, a classifier."""

from __future__ import annotations

from profiler.spaces import Block, Part, Space
from profiler.types import Model, Workload

DESCRIPTION = "three kinds of block, for tests"
WIDTHS = (16, 32)
SIDE = 32


def opening(width: int) -> Model:
    import torch

    return Model(torch.nn.Conv2d(3, width, 3, padding=1), (torch.randn(1, 3, SIDE, SIDE),))


def middle(width: int) -> Model:
    import torch
    from torch import nn

    layers = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
    return Model(layers, (torch.randn(1, width, SIDE, SIDE),))


def closing(width: int) -> Model:
    import torch
    from torch import nn

    layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return Model(layers, (torch.randn(1, width, SIDE, SIDE),))


def whole() -> Model:
    """The one network of this space that was ever released."""
    import torch
    from torch import nn

    parts = [opening(16), middle(16), middle(16), middle(16), closing(16)]
    return Model(nn.Sequential(*(p.module for p in parts)), (torch.randn(1, 3, SIDE, SIDE),))


def block(key: str) -> Block:
    family, _, number = key.partition("/")
    width = int(number)
    image, map_ = (3, SIDE, SIDE), (width, SIDE, SIDE)
    takes, gives = {"opening": (image, map_), "middle": (map_, map_), "closing": (map_, (10,))}[
        family
    ]
    workload = Workload(f"benchmarks.spaces.tiny:{family}", {"width": width}, key)
    return Block(workload, (takes,), (gives,))


SPACE = Space(
    name="tiny",
    groups={"width": (WIDTHS,), "depth": (range(1, 40),)},
    parts=(
        Part(("width",), lambda w: [f"opening/{w}"]),
        Part(("width", "depth"), lambda w, d: [f"middle/{w}"] * d),
        Part(("width",), lambda w: [f"closing/{w}"]),
    ),
    block=block,
    named={"small": "16/3"},
    network={"small": Workload("benchmarks.spaces.tiny:whole", {}, "small")}.get,
)
