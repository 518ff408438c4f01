"""Linear layers against 1x1 convolutions: the MLP of EfficientFormer-L1's fourth stage.

The product is the same; what differs is the layout of the features. 448 channels at 7x7, four
times as many between the products, GELU there. Float32.
"""

from __future__ import annotations

from benchmarks.operators import axes
from benchmarks.operators._units import on_map, on_tokens, to_map, to_tokens
from profiler.types import Model


@axes(channels=(448,), resolution=(7,))
def convolution(channels: int, resolution: int) -> Model:
    """1x1 convolutions on a map: (1, channels, r, r) to the same."""
    from torch import nn

    wide = 4 * channels
    layers = (nn.Conv2d(channels, wide, 1), nn.GELU(), nn.Conv2d(wide, channels, 1))
    return on_map(nn.Sequential(*layers), channels, resolution)


@axes(channels=(448,), resolution=(7,))
def linear(channels: int, resolution: int) -> Model:
    """Linear layers on tokens: (1, r*r, channels) to the same."""
    from torch import nn

    wide = 4 * channels
    layers = (nn.Linear(channels, wide), nn.GELU(), nn.Linear(wide, channels))
    return on_tokens(nn.Sequential(*layers), channels, resolution**2)


@axes(channels=(448,), resolution=(7,))
def linear_on_map(channels: int, resolution: int) -> Model:
    """Linear layers on a map that becomes tokens and a map again around them."""
    from torch import nn

    wide = 4 * channels
    layers = (nn.Linear(channels, wide), nn.GELU(), nn.Linear(wide, channels))
    return on_map(nn.Sequential(to_tokens(), *layers, to_map(resolution)), channels, resolution)
