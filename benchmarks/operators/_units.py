"""What the experiments' units are made of. A map is (1, channels, side, side), tokens are
(1, count, channels), everything float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from profiler.types import Model

if TYPE_CHECKING:
    from torch import nn


def on_map(module: nn.Module, channels: int, side: int) -> Model:
    """A module with a map as its input."""
    import torch

    return Model(module.eval(), (torch.randn(1, channels, side, side),))


def on_tokens(module: nn.Module, channels: int, count: int) -> Model:
    """A module with tokens as its input."""
    import torch

    return Model(module.eval(), (torch.randn(1, count, channels),))


def normalized(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Any:
    """A convolution that keeps the side (or divides it by the stride), batch normalisation."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups), nn.BatchNorm2d(after)
    )


def around(
    operator: nn.Module, before: Sequence[nn.Module] = (), after: Sequence[nn.Module] = ()
) -> nn.Module:
    """The operator between layers; `operator` is its name, so that it can be taken out alone."""
    from torch import nn

    unit = nn.Sequential(*before)
    unit.add_module("operator", operator)
    for number, layer in enumerate(after):
        unit.add_module(f"after{number}", layer)
    return unit


def residual(operator: nn.Module) -> nn.Module:
    """The operator beside a path around it, added."""
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.operator = operator

        def forward(self, x: Any) -> Any:
            return x + self.operator(x)

    return Residual()


def to_tokens() -> nn.Module:
    """From a map to its tokens, row by row."""
    from torch import nn

    class ToTokens(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.flatten(2).transpose(1, 2)

    return ToTokens()


def to_map(side: int) -> nn.Module:
    """From tokens back to the map that they were."""
    from torch import nn

    class ToMap(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], side, side)

    return ToMap()
