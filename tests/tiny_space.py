"""A space small enough for a test: a convolution, more of them, a classifier."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profiler.errors import BadArchitecture
from profiler.types import Model, Workload

DESCRIPTION = "three kinds of block, for tests"
FAMILIES = ("opening", "middle", "closing", "nothing")
WIDTHS = (16, 32)


@dataclass(frozen=True)
class Architecture:
    width: int
    depth: int

    def __str__(self) -> str:
        return f"{self.width}x{self.depth}"


@dataclass(frozen=True)
class Chain:
    blocks: tuple[str, ...]
    scaffold: str
    counted: tuple[str, ...]
    cold: bool = False


def parse(text: str) -> Architecture:
    width, _, depth = text.partition("x")
    if not (width.isdigit() and depth.isdigit() and int(width) in WIDTHS):
        raise BadArchitecture(f"{text!r} is not width x depth")
    return Architecture(int(width), int(depth))


def draw(generator: random.Random, count: int, largest: Any = None) -> list[Architecture]:
    every = [Architecture(w, d) for w in WIDTHS for d in range(1, 40)]
    return generator.sample(every, count)


def rows(architecture: Architecture) -> tuple[str, ...]:
    width = architecture.width
    middle = (f"middle/{width}",) * architecture.depth
    return (f"opening/{width}", *middle, f"closing/{width}")


def keys() -> list[str]:
    return [f"{f}/{w}" for f in FAMILIES[:3] for w in WIDTHS]


def full_grid(every: int = 1) -> Sequence[int]:
    return WIDTHS


def network(name: str) -> None:
    return None


def chains(grid: Sequence[int]) -> list[Chain]:
    found = [Chain(("nothing",), "overhead", ())]
    for width in grid:
        opening, middle, closing = f"opening/{width}", f"middle/{width}", f"closing/{width}"
        found += [
            Chain((opening, *(middle,) * k), "overhead", (opening, *(middle,) * k)) for k in (1, 4)
        ]
        whole = (opening, middle, closing)
        found.append(Chain(whole, "overhead", whole))
    return found


def workload(key: str) -> Workload:
    family, _, width = key.partition("/")
    parameters = {"family": family, "width": int(width or 0)}
    return Workload("benchmarks.spaces.tiny:block", parameters, key)


def block(family: str, width: int) -> Model:
    import torch
    from torch import nn

    if family == "nothing":
        return Model(nn.Identity(), (torch.randn(1, 4),))
    if family == "opening":
        return Model(nn.Conv2d(3, width, 3, padding=1), (torch.randn(1, 3, 32, 32),))
    layers = [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    if family == "closing":
        layers = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]
    return Model(nn.Sequential(*layers), (torch.randn(1, width, 32, 32),))
