"""Kernel sizes, dense and depthwise, at one width: 96 channels at 28x28 (EfficientFormer-L1).

(1, channels, r, r) to the same, float32, with norm and ReLU.
"""

from __future__ import annotations

from benchmarks.operators import axes, baseline
from benchmarks.operators._units import normalized, on_map
from profiler.types import Model


def _layer(kernel: int, channels: int, resolution: int, groups: int = 1) -> Model:
    from torch import nn

    layers = nn.Sequential(normalized(channels, channels, kernel, groups=groups), nn.ReLU())
    return on_map(layers, channels, resolution)


@axes(channels=(96,), resolution=(28,))
def dense_1x1(channels: int, resolution: int) -> Model:
    """Every channel with every other, one pixel."""
    return _layer(1, channels, resolution)


@axes(channels=(96,), resolution=(28,))
def dense_3x3(channels: int, resolution: int) -> Model:
    """Every channel with every other, 9 pixels."""
    return _layer(3, channels, resolution)


@axes(channels=(96,), resolution=(28,))
def dense_5x5(channels: int, resolution: int) -> Model:
    """Every channel with every other, 25 pixels."""
    return _layer(5, channels, resolution)


@baseline
@axes(channels=(96,), resolution=(28,))
def depthwise_3x3(channels: int, resolution: int) -> Model:
    """Each channel by itself, 9 pixels."""
    return _layer(3, channels, resolution, groups=channels)


@axes(channels=(96,), resolution=(28,))
def depthwise_5x5(channels: int, resolution: int) -> Model:
    """Each channel by itself, 25 pixels."""
    return _layer(5, channels, resolution, groups=channels)


@axes(channels=(96,), resolution=(28,))
def depthwise_7x7(channels: int, resolution: int) -> Model:
    """Each channel by itself, 49 pixels."""
    return _layer(7, channels, resolution, groups=channels)
