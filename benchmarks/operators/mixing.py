"""Token mixers of one width: pooling, depthwise convolution, attention, over the tokens (r*r).

224 channels: at 14x14 EfficientFormer-L1's third stage, at 7x7 EfficientFormerV2-S1's fourth.
Each stands beside a path around it. (1, channels, r, r) to the same, float32.
"""

from __future__ import annotations

from benchmarks.operators import _attention, axes
from benchmarks.operators._units import normalized, on_map, residual
from profiler.types import Model


@axes(channels=(224,), resolution=(7, 14))
def pooling(channels: int, resolution: int) -> Model:
    """3x3 average (PoolFormer's, EfficientFormer's)."""
    from torch import nn

    operator = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return on_map(residual(operator), channels, resolution)


@axes(channels=(224,), resolution=(7, 14))
def depthwise(channels: int, resolution: int) -> Model:
    """3x3 depthwise convolution and norm."""
    operator = normalized(channels, channels, kernel=3, groups=channels)
    return on_map(residual(operator), channels, resolution)


@axes(channels=(224,), resolution=(7, 14), heads=(8,))
def attention(channels: int, resolution: int, heads: int) -> Model:
    """Self-attention of all tokens, on maps."""
    operator = _attention.on_map(channels, resolution, heads)
    return on_map(residual(operator), channels, resolution)
