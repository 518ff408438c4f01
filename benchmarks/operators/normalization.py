"""Normalisations at equal width (EfficientFormer, section 3): folded, grouped, by layer.

224 channels at 14x14: EfficientFormer-L1's third stage.
"""

from __future__ import annotations

from benchmarks.operators import axes
from benchmarks.operators._units import around, on_map, on_tokens
from profiler.types import Model


@axes(channels=(224,), resolution=(14,))
def batch_norm(channels: int, resolution: int) -> Model:
    """Conv 1x1 and batch normalisation, which folds. (1, channels, r, r) to the same, float32."""
    from torch import nn

    unit = around(nn.BatchNorm2d(channels), [nn.Conv2d(channels, channels, 1)])
    return on_map(unit, channels, resolution)


@axes(channels=(224,), resolution=(14,))
def group_norm(channels: int, resolution: int) -> Model:
    """Conv 1x1 and group normalisation of one group. (1, channels, r, r) to the same, float32."""
    from torch import nn

    unit = around(nn.GroupNorm(1, channels), [nn.Conv2d(channels, channels, 1)])
    return on_map(unit, channels, resolution)


@axes(channels=(224,), resolution=(14,))
def layer_norm(channels: int, resolution: int) -> Model:
    """Linear and layer normalisation. (1, r*r, channels) to the same, float32."""
    from torch import nn

    unit = around(nn.LayerNorm(channels), [nn.Linear(channels, channels)])
    return on_tokens(unit, channels, resolution**2)
