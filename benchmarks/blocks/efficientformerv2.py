"""EfficientFormerV2's blocks, timm's own modules (Li et al. 2023, arXiv 2212.08059, section 3).

All float32, batch 1. `resolution` is the side of the feature map that a block gives. A network's
block of attention and feed-forward is two of these: attention, then ffn.
"""

from __future__ import annotations

from typing import Any

from benchmarks.timm_library import timm
from profiler.types import Model

# Attention at this resolution is computed on a map of half the side.
STRIDED = 14


def _library() -> Any:
    timm()
    from timm.models import efficientformer_v2

    return efficientformer_v2


def _model(module: Any, *shape: int) -> Model:
    import torch

    return Model(module.eval(), (torch.randn(1, *shape),))


def stem(channels: int) -> Model:
    """Two 3x3 convolutions of stride 2, each with batch normalisation and GELU.

    Input (1, 3, 224, 224), output (1, channels, 56, 56).
    """
    return _model(_library().Stem4(3, channels), 3, 224, 224)


def embedding(channels_in: int, channels_out: int, resolution: int) -> Model:
    """3x3 convolution of stride 2 with batch normalisation.

    Input (1, channels_in, 2r, 2r), output (1, channels_out, r, r).
    """
    module = _library().Downsample(channels_in, channels_out)
    return _model(module, channels_in, 2 * resolution, 2 * resolution)


def attention_downsample(channels_in: int, channels_out: int, resolution: int) -> Model:
    """The same, and beside it attention (8 heads, key 16, value 64) with strided queries.

    Input (1, channels_in, 2r, 2r), output (1, channels_out, r, r), the sum of both paths.
    """
    side = 2 * resolution
    module = _library().Downsample(channels_in, channels_out, resolution=side, use_attn=True)
    return _model(module, channels_in, side, side)


def ffn(channels: int, resolution: int, expansion: float) -> Model:
    """Unified feed-forward: 1x1, depthwise 3x3 and 1x1 convolutions, layer scale, residual.

    int(channels * expansion) channels between the 1x1 convolutions.
    Input and output (1, channels, r, r).
    """
    block = _library().EfficientFormerV2Block
    return _model(
        block(channels, mlp_ratio=expansion, use_attn=False), channels, resolution, resolution
    )


def attention(channels: int, resolution: int) -> Model:
    """Attention (8 heads, key 32, value 128) with talking heads and a local path of the values,
    layer scale and residual; at resolution 14 strided, and upsampled before the projection.

    Input and output (1, channels, r, r).
    """
    import torch

    library = _library()
    stride = 2 if resolution == STRIDED else None

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token_mixer = library.Attention2d(channels, resolution=resolution, stride=stride)
            self.ls1 = library.LayerScale2d(channels)

        def forward(self, x: Any) -> Any:
            return x + self.ls1(self.token_mixer(x))

    return _model(Residual(), channels, resolution, resolution)


def head(channels: int) -> Model:
    """Normalisation, mean over the map, two averaged classifiers.

    Input (1, channels, 7, 7), output (1, 1000).
    """
    import torch

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(channels)
            self.head = torch.nn.Linear(channels, 1000)
            self.head_dist = torch.nn.Linear(channels, 1000)

        def forward(self, x: Any) -> Any:
            x = self.norm(x).mean(dim=(2, 3))
            return (self.head(x) + self.head_dist(x)) / 2

    return _model(Head(), channels, 7, 7)
