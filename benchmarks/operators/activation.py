"""Activations after a 1x1 convolution, as in an MLP block (EfficientFormer, section 3)."""

from __future__ import annotations

from typing import Any

from benchmarks.operators import axes
from profiler.types import Model


def _after_convolution(activation: Any, channels: int, resolution: int) -> Model:
    """Conv 1x1, activation, conv 1x1. Input (1, channels, r, r), output the same, float32."""
    import torch
    from torch import nn

    hidden = 4 * channels
    layers = nn.Sequential(
        nn.Conv2d(channels, hidden, 1), activation, nn.Conv2d(hidden, channels, 1)
    )
    return Model(layers.eval(), (torch.randn(1, channels, resolution, resolution),))


@axes(channels=(96,), resolution=(28,))
def gelu(channels: int, resolution: int) -> Model:
    """GELU by the error function."""
    from torch import nn

    return _after_convolution(nn.GELU(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def gelu_tanh(channels: int, resolution: int) -> Model:
    """GELU by the hyperbolic tangent."""
    from torch import nn

    return _after_convolution(nn.GELU(approximate="tanh"), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def relu(channels: int, resolution: int) -> Model:
    """ReLU."""
    from torch import nn

    return _after_convolution(nn.ReLU(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def hardswish(channels: int, resolution: int) -> Model:
    """HardSwish, LeViT's activation."""
    from torch import nn

    return _after_convolution(nn.Hardswish(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def silu(channels: int, resolution: int) -> Model:
    """SiLU, MobileViT's activation."""
    from torch import nn

    return _after_convolution(nn.SiLU(), channels, resolution)
