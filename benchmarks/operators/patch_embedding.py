"""Patch embeddings: large kernels and strides against stacked 3x3 convolutions
(EfficientFormer, section 3). Alternatives with equal output shape compare."""

from __future__ import annotations

from typing import Any

from benchmarks.operators import axes
from profiler.types import Model


def _on_image(*layers: Any) -> Model:
    """Layers on an image. Input (1, 3, 224, 224), float32."""
    import torch
    from torch import nn

    return Model(nn.Sequential(*layers).eval(), (torch.randn(1, 3, 224, 224),))


@axes(channels=(64,))
def large_kernel(channels: int) -> Model:
    """7x7, stride 4 (PoolFormer's). Output (1, channels, 56, 56)."""
    from torch import nn

    return _on_image(nn.Conv2d(3, channels, 7, stride=4, padding=2))


@axes(channels=(64,))
def convolution_stem(channels: int) -> Model:
    """Two 3x3, stride 2 (EfficientFormer's). Output (1, channels, 56, 56)."""
    from torch import nn

    first = nn.Conv2d(3, channels // 2, 3, stride=2, padding=1)
    second = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1)
    return _on_image(first, nn.ReLU(), second, nn.ReLU())
