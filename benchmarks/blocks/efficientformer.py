"""EfficientFormer's blocks, timm's own modules (Li et al. 2022, section 4 and figure 3).

All float32, batch 1. `resolution` is the side of the feature map, `tokens` its square.
"""

from __future__ import annotations

from typing import Any

from benchmarks.timm_library import timm
from profiler.types import Model


def _library() -> Any:
    timm()
    from timm.models import efficientformer

    return efficientformer


def _model(module: Any, *shape: int) -> Model:
    import torch

    return Model(module.eval(), (torch.randn(1, *shape),))


def stem(channels: int) -> Model:
    """Two 3x3 convolutions of stride 2. Input (1, 3, 224, 224), output (1, channels, 56, 56)."""
    return _model(_library().Stem4(3, channels), 3, 224, 224)


def embedding(channels_in: int, channels_out: int, resolution: int) -> Model:
    """3x3 convolution of stride 2 with batch normalisation.

    Input (1, channels_in, 2r, 2r), output (1, channels_out, r, r).
    """
    module = _library().Downsample(channels_in, channels_out)
    return _model(module, channels_in, 2 * resolution, 2 * resolution)


def embedding_from_tokens(channels_in: int, channels_out: int, resolution: int) -> Model:
    """The same behind MB3D blocks: tokens are folded back into a map first.

    Input (1, 4*r*r, channels_in), output (1, channels_out, r, r). The released networks never
    use it; the search space does, where MB3D reaches into the third stage.
    """
    import torch

    class FromTokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.downsample = _library().Downsample(channels_in, channels_out)

        def forward(self, x: Any) -> Any:
            side = 2 * resolution
            return self.downsample(x.transpose(1, 2).reshape(x.shape[0], channels_in, side, side))

    return _model(FromTokens(), 4 * resolution**2, channels_in)


def mb4d(channels: int, resolution: int) -> Model:
    """Pooling token mixer and convolutional MLP. Input and output (1, channels, r, r)."""
    return _model(_library().MetaBlock2d(channels), channels, resolution, resolution)


def flat(channels: int, resolution: int) -> Model:
    """From a map to tokens. Input (1, channels, r, r), output (1, r*r, channels)."""
    return _model(_library().Flat(), channels, resolution, resolution)


def mb3d(channels: int, tokens: int) -> Model:
    """Attention (8 heads, key 32, value 128) and MLP. Input and output (1, tokens, channels)."""
    library = _library()
    block = library.MetaBlock1d(channels)
    side = round(tokens**0.5)
    if side != 7:
        block.token_mixer = library.Attention(channels, resolution=side)
    return _model(block, tokens, channels)


def head(channels: int) -> Model:
    """Normalisation, mean over tokens, two averaged classifiers.

    Input (1, 49, channels), output (1, 1000).
    """
    import torch

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.LayerNorm(channels)
            self.head = torch.nn.Linear(channels, 1000)
            self.head_dist = torch.nn.Linear(channels, 1000)

        def forward(self, x: Any) -> Any:
            x = self.norm(x).mean(dim=1)
            return (self.head(x) + self.head_dist(x)) / 2

    return _model(Head(), 49, channels)
