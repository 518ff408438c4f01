"""Activations between the 1x1 convolutions of an MLP (EfficientFormer, section 3).

96 channels at 28x28, four times as many between the convolutions: the second stage of
EfficientFormer-L1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.operators import axes
from benchmarks.operators._units import around, normalized, on_map
from profiler.types import Model

if TYPE_CHECKING:
    from torch import nn


def _in_mlp(activation: nn.Module, channels: int, resolution: int) -> Model:
    """Conv 1x1 and norm, activation, conv 1x1 and norm: (1, channels, r, r) to the same."""
    wide = 4 * channels
    unit = around(activation, [normalized(channels, wide)], [normalized(wide, channels)])
    return on_map(unit, channels, resolution)


@axes(channels=(96,), resolution=(28,))
def gelu(channels: int, resolution: int) -> Model:
    """GELU by the error function."""
    from torch import nn

    return _in_mlp(nn.GELU(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def gelu_tanh(channels: int, resolution: int) -> Model:
    """GELU by the hyperbolic tangent."""
    from torch import nn

    return _in_mlp(nn.GELU(approximate="tanh"), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def relu(channels: int, resolution: int) -> Model:
    """ReLU."""
    from torch import nn

    return _in_mlp(nn.ReLU(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def hardswish(channels: int, resolution: int) -> Model:
    """HardSwish, LeViT's activation."""
    from torch import nn

    return _in_mlp(nn.Hardswish(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def silu(channels: int, resolution: int) -> Model:
    """SiLU, MobileViT's activation."""
    from torch import nn

    return _in_mlp(nn.SiLU(), channels, resolution)


@axes(channels=(96,), resolution=(28,))
def without(channels: int, resolution: int) -> Model:
    """The MLP without an activation: what the others' own cost is counted from."""
    from torch import nn

    return _in_mlp(nn.Identity(), channels, resolution)
