"""The steps from EfficientFormer to EfficientFormerV2 (Li et al. 2023, section 3).

What mixes the tokens; narrow and deep against wide and shallow; one path or two downwards.
(1, channels, r, r) to the same, float32, where nothing else is said.
"""

from __future__ import annotations

from typing import Any

from benchmarks.operators import axes, baseline
from benchmarks.operators._units import normalized, on_map, residual
from benchmarks.timm_library import timm
from profiler.types import Model


def _mlp(channels: int, mixed: bool = False) -> Any:
    """1x1 convolutions with norm and GELU, four times as wide between them.

    With `mixed` a depthwise 3x3 convolution stands there.
    """
    from torch import nn

    wide = 4 * channels
    middle = [normalized(wide, wide, kernel=3, groups=wide), nn.GELU()] if mixed else []
    return residual(
        nn.Sequential(normalized(channels, wide), nn.GELU(), *middle, normalized(wide, channels))
    )


def _unified(channels: int) -> Any:
    return _mlp(channels, mixed=True)


@axes(channels=(96,), resolution=(14,))
def pooling_block(channels: int, resolution: int) -> Model:
    """EfficientFormer's: 3x3 average and MLP, each beside a path around it. V2-S0's third stage."""
    from torch import nn

    mixer = residual(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False))
    return on_map(nn.Sequential(mixer, _mlp(channels)), channels, resolution)


@axes(channels=(96,), resolution=(14,))
def depthwise_block(channels: int, resolution: int) -> Model:
    """The same with a 3x3 depthwise convolution in place of the average."""
    from torch import nn

    mixer = residual(normalized(channels, channels, kernel=3, groups=channels))
    return on_map(nn.Sequential(mixer, _mlp(channels)), channels, resolution)


@axes(channels=(96,), resolution=(14,))
def unified_ffn(channels: int, resolution: int) -> Model:
    """EfficientFormerV2's: no mixer, the depthwise convolution is inside the MLP."""
    from torch import nn

    return on_map(nn.Sequential(_unified(channels)), channels, resolution)


@baseline
@axes(resolution=(14,))
def wide_and_shallow(resolution: int) -> Model:
    """Two unified FFN of 192 channels: 590 k weights in the 1x1 convolutions."""
    from torch import nn

    return on_map(nn.Sequential(*(_unified(192) for _ in range(2))), 192, resolution)


@axes(resolution=(14,))
def narrow_and_deep(resolution: int) -> Model:
    """Eight unified FFN of 96 channels: as many weights in the 1x1 convolutions."""
    from torch import nn

    return on_map(nn.Sequential(*(_unified(96) for _ in range(8))), 96, resolution)


def _downsample(before: int, after: int, use_attn: bool) -> Model:
    timm()
    from timm.models.efficientformer_v2 import Downsample

    return on_map(Downsample(before, after, resolution=14, use_attn=use_attn), before, 14)


@baseline
@axes(channels=(96,), out_channels=(176,))
def single_path(channels: int, out_channels: int) -> Model:
    """A 3x3 convolution of stride 2: (1, channels, 14, 14) to (1, out_channels, 7, 7)."""
    return _downsample(channels, out_channels, use_attn=False)


@axes(channels=(96,), out_channels=(176,))
def dual_path(channels: int, out_channels: int) -> Model:
    """The same, and attention with strided queries beside it (V2-S0's third to fourth stage)."""
    return _downsample(channels, out_channels, use_attn=True)
