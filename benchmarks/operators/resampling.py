"""Ways to double a map's side: EfficientFormerV2's stride attention does so before its projection.

(1, channels, r, r) to (1, channels, 2r, 2r), float32. 1024 channels at 7x7 in the released
networks.
"""

from __future__ import annotations

from benchmarks.operators import axes
from benchmarks.operators._units import on_map
from profiler.types import Model


@axes(channels=(1024,), resolution=(7,))
def bilinear(channels: int, resolution: int) -> Model:
    """Between the four nearest (EfficientFormerV2's)."""
    from torch import nn

    return on_map(nn.Upsample(scale_factor=2, mode="bilinear"), channels, resolution)


@axes(channels=(1024,), resolution=(7,))
def nearest(channels: int, resolution: int) -> Model:
    """Each pixel four times."""
    from torch import nn

    return on_map(nn.Upsample(scale_factor=2, mode="nearest"), channels, resolution)


@axes(channels=(1024,), resolution=(7,))
def transposed(channels: int, resolution: int) -> Model:
    """A depthwise transposed convolution, 2x2, stride 2."""
    from torch import nn

    layer = nn.ConvTranspose2d(channels, channels, 2, stride=2, groups=channels)
    return on_map(layer, channels, resolution)


@axes(channels=(1024,), resolution=(7,))
def pixel_shuffle(channels: int, resolution: int) -> Model:
    """A 1x1 convolution to four times the channels, which become the four pixels."""
    from torch import nn

    layers = nn.Sequential(nn.Conv2d(channels, 4 * channels, 1), nn.PixelShuffle(2))
    return on_map(layers, channels, resolution)
