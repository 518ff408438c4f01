"""Two paths that become one: residual addition and concatenation, at equal products.

A 1x1 convolution of 96 channels at 28x28 (EfficientFormer-L1's second stage), norm and ReLU.
(1, channels, r, r) to the same, float32.
"""

from __future__ import annotations

from typing import Any

from benchmarks.operators import axes
from benchmarks.operators._units import normalized, on_map
from profiler.types import Model


@axes(channels=(96,), resolution=(28,))
def addition(channels: int, resolution: int) -> Model:
    """What the convolution gives, added to what it was given."""
    from torch import nn

    class Sum(nn.Module):
        def forward(self, left: Any, right: Any) -> Any:
            return left + right

    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(normalized(channels, channels), nn.ReLU())
            self.operator = Sum()

        def forward(self, x: Any) -> Any:
            return self.operator(x, self.branch(x))

    return on_map(Added(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def concatenation(channels: int, resolution: int) -> Model:
    """Two convolutions to half the channels each, one behind the other in the channels."""
    import torch
    from torch import nn

    class Concatenation(nn.Module):
        def forward(self, left: Any, right: Any) -> Any:
            return torch.cat((left, right), dim=1)

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            half = channels // 2
            self.left = nn.Sequential(normalized(channels, half), nn.ReLU())
            self.right = nn.Sequential(normalized(channels, channels - half), nn.ReLU())
            self.operator = Concatenation()

        def forward(self, x: Any) -> Any:
            return self.operator(self.left(x), self.right(x))

    return on_map(Joined(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def without(channels: int, resolution: int) -> Model:
    """One path: what the others' own cost is counted from."""
    from torch import nn

    layers = nn.Sequential(normalized(channels, channels), nn.ReLU())
    return on_map(layers, channels, resolution)
