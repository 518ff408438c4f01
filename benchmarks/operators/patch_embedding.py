"""Patch embeddings: large kernels and strides against stacked 3x3 convolutions of stride 2
(EfficientFormer, section 3). Input (1, 3, 224, 224); what has the same output compares."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from benchmarks.operators import axes, baseline
from benchmarks.operators._units import normalized, on_map
from profiler.types import Model

if TYPE_CHECKING:
    from torch import nn


def _stem(channels: int, halvings: int) -> nn.Module:
    """3x3 convolutions of stride 2 with norm and ReLU, each twice as wide as the one before."""
    from torch import nn

    widths = [3, *(channels >> place for place in reversed(range(halvings)))]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [normalized(before, after, kernel=3, stride=2), nn.ReLU()]
    return nn.Sequential(*layers)


@axes(channels=(64,))
def large_kernel(channels: int) -> Model:
    """7x7, stride 4 (PoolFormer's). Output (1, channels, 56, 56)."""
    from torch import nn

    return on_map(nn.Conv2d(3, channels, 7, stride=4, padding=2), 3, 224)


@axes(channels=(64,))
def convolution_stem(channels: int) -> Model:
    """Two 3x3, stride 2 (EfficientFormer's). Output (1, channels, 56, 56)."""
    return on_map(_stem(channels, 2), 3, 224)


@baseline
@axes(channels=(384,))
def patches(channels: int) -> Model:
    """16x16, stride 16 (DeiT's, of the small one 384 wide). Output (1, channels, 14, 14)."""
    from torch import nn

    return on_map(nn.Conv2d(3, channels, 16, stride=16), 3, 224)


@axes(channels=(384,))
def deep_stem(channels: int) -> Model:
    """Four 3x3, stride 2 (LeViT's). Output (1, channels, 14, 14)."""
    return on_map(_stem(channels, 4), 3, 224)
