"""Normalisations at equal width (EfficientFormer, section 3): folded, grouped, by layer."""

from __future__ import annotations

from benchmarks.operators import axes
from profiler.types import Model


@axes(channels=(224,), resolution=(14,))
def batch_norm(channels: int, resolution: int) -> Model:
    """Conv 1x1 and batch normalisation, which folds. (1, channels, r, r) to the same, float32."""
    import torch
    from torch import nn

    layers = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
    return Model(layers.eval(), (torch.randn(1, channels, resolution, resolution),))


@axes(channels=(224,), resolution=(14,))
def group_norm(channels: int, resolution: int) -> Model:
    """Conv 1x1 and group normalisation of one group. (1, channels, r, r) to the same, float32."""
    import torch
    from torch import nn

    layers = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GroupNorm(1, channels))
    return Model(layers.eval(), (torch.randn(1, channels, resolution, resolution),))


@axes(channels=(224,), resolution=(14,))
def layer_norm(channels: int, resolution: int) -> Model:
    """Linear and layer normalisation. (1, r*r, channels) to the same, float32."""
    import torch
    from torch import nn

    layers = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
    return Model(layers.eval(), (torch.randn(1, resolution * resolution, channels),))
