"""Forms of self-attention at equal width, over the number of tokens (r*r) and of heads.

224 channels: at 14x14 EfficientFormer-L1's third stage, at 7x7 EfficientFormerV2-S1's fourth.
Each stands beside a path around it, as in the networks, and without their norms.
"""

from __future__ import annotations

from benchmarks.operators import _attention, axes, skip
from benchmarks.operators._units import around, on_map, on_tokens, residual, to_map, to_tokens
from profiler.types import Model


@axes(channels=(224,), resolution=(7, 14), heads=(8,))
def tokens(channels: int, resolution: int, heads: int) -> Model:
    """On tokens (EfficientFormer's). (1, r*r, channels) to the same, float32."""
    operator = _attention.on_tokens(channels, resolution, heads)
    return on_tokens(residual(operator), channels, resolution**2)


@axes(channels=(224,), resolution=(7, 14), heads=(8,))
def map_as_tokens(channels: int, resolution: int, heads: int) -> Model:
    """The same in a network of maps, which become tokens and maps again around it."""
    mixer = _attention.on_tokens(channels, resolution, heads)
    operator = around(mixer, [to_tokens()], [to_map(resolution)])
    return on_map(residual(operator), channels, resolution)


@axes(channels=(224,), resolution=(7, 14), heads=(8,))
def on_maps(channels: int, resolution: int, heads: int) -> Model:
    """On maps, by 1x1 convolutions. (1, channels, r, r) to the same, float32."""
    operator = _attention.on_map(channels, resolution, heads)
    return on_map(residual(operator), channels, resolution)


@axes(channels=(224,), resolution=(7, 14), heads=(8,))
def talking(channels: int, resolution: int, heads: int) -> Model:
    """EfficientFormerV2's: on maps, talking heads, a local path. The same shapes."""
    operator = _attention.talking(channels, resolution, heads)
    return on_map(residual(operator), channels, resolution)


@axes(channels=(224,), resolution=(7, 14), heads=(8,))
def strided(channels: int, resolution: int, heads: int) -> Model:
    """EfficientFormerV2's stride attention: on a map of half the side. The same shapes."""
    if resolution % 2:
        skip(f"a map of odd side {resolution} has no half")
    operator = _attention.talking(channels, resolution, heads, stride=2)
    return on_map(residual(operator), channels, resolution)
