"""EdgeViT XXS, XS and S with random weights (Pan et al. 2022, arXiv 2205.03436).

Four stages of local-global-local blocks (the paper's section on the LGL bottleneck): convolutions
gather a neighbourhood, one token of each window attends to those of the others, and a transposed
convolution spreads what it learnt over its window. The last stage is small enough for attention
among all tokens, and leaves the local halves out. Sizes are those of the released code
(github.com/saic-fi/edgevit, src/edgevit.py); stochastic depth and dropout, which do nothing at
inference, are left out.

    variant  parameters (published)   multiply-adds   with normalisation (published)
    xxs       4.068 M (4.1)             551.3 M         557.5 M (557; 0.6 G)
    xs        6.770 M (6.7)            1127.8 M        1136.5 M (1136; 1.1 G)
    s        13.108 M (13.1)           1911.0 M        1923.3 M (1.9 G)

Published: parameters and G of xxs and xs as the paper has them, quoted by SHViT (arXiv 2401.16456,
table 2); millions of operations by EMOv2 (arXiv 2412.06674, comparison on ImageNet, where the
column says 256 x 256, but the counts are those of 224 x 224); s by EfficientMod (arXiv 2403.19963,
tables 1 and 10). The released src/check_model.py counts with fvcore, where a multiply-add is one
operation, and normalisation counts too.

The paper's parameters of EdgeViT-S are quoted as 11.1 M. The released edgevit_s has 13.1 M, as
EfficientMod counted it too, and the published operations; 11.1 is taken for a misprint.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.models import _variants
from benchmarks.models._layers import (
    depthwise,
    feed_forward,
    residual,
    self_attention,
    to_map,
    to_tokens,
)
from profiler.types import Model

if TYPE_CHECKING:
    from torch import nn

CLASSES = 1000
EXPANSION = 4
# By stage: by how much the embedding divides the side, and the side of the window that one token
# stands for; 1 is plain attention.
PATCHES = (4, 2, 2, 2)
WINDOWS = (4, 2, 2, 1)


@dataclass(frozen=True, slots=True)
class Variant:
    """Blocks and channels of the four stages, and the channels of one attention head."""

    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    head: int


VARIANTS = {
    "edgevit_xxs": Variant((1, 1, 3, 2), (36, 72, 144, 288), 36),
    "edgevit_xs": Variant((1, 1, 3, 1), (48, 96, 240, 384), 48),
    "edgevit_s": Variant((1, 2, 5, 3), (48, 96, 240, 384), 48),
}


def names() -> list[str]:
    """The variants, the smallest first."""
    return list(VARIANTS)


def create(name: str, batch: int = 1) -> Model:
    """One of `names()`: input (batch, 3, 224, 224), output (batch, 1000), float32."""
    return _variants.create(VARIANTS, _network, name, batch)


def _network(variant: Variant) -> nn.Module:
    from torch import nn

    parts: OrderedDict[str, nn.Module] = OrderedDict()
    before, side = 3, _variants.SIDE
    for i, (blocks, channels) in enumerate(zip(variant.blocks, variant.channels, strict=True)):
        side //= PATCHES[i]
        parts[f"embedding{i}"] = _embedding(before, channels, PATCHES[i], side)
        heads = channels // variant.head
        parts[f"stage{i}"] = nn.Sequential(
            *(_block(channels, heads, WINDOWS[i], side) for _ in range(blocks))
        )
        before = channels
    parts["head"] = _head(before)
    return nn.Sequential(parts)


def _embedding(before: int, channels: int, patch: int, side: int) -> nn.Module:
    """Patches without overlap become the pixels of a map with `side` pixels on a side."""
    from torch import nn

    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.projection = nn.Conv2d(before, channels, patch, stride=patch)
            self.norm = nn.LayerNorm(channels)

        def forward(self, x: Any) -> Any:
            return to_map(self.norm(to_tokens(self.projection(x))), side)

    return Embedding()


def _block(channels: int, heads: int, window: int, side: int) -> nn.Module:
    from torch import nn

    parts = [_global_half(channels, heads, window, side)]
    if window > 1:
        parts.insert(0, _local_half(channels))
    return nn.Sequential(*parts)


def _local_half(channels: int) -> nn.Module:
    """Position, local aggregation and an MLP of convolutions, from map to map."""
    from torch import nn

    hidden = EXPANSION * channels
    aggregation = (
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, channels, 1),
        depthwise(channels, 5),
        nn.Conv2d(channels, channels, 1),
    )
    mlp = (
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, hidden, 1),
        nn.GELU(),
        nn.Conv2d(hidden, channels, 1),
    )
    return nn.Sequential(_position(channels), residual(*aggregation), residual(*mlp))


def _position(channels: int) -> nn.Module:
    """The conditional positional encoding: a 3x3 depthwise convolution beside the identity."""
    return residual(depthwise(channels, 3))


def _global_half(channels: int, heads: int, window: int, side: int) -> nn.Module:
    """Position, sparse attention with local propagation and an MLP on tokens, from map to map."""
    from torch import nn

    if window > 1:
        attention = _sparse_attention(channels, heads, window, side)
    else:
        attention = _attention(channels, heads)

    class GlobalHalf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = _position(channels)
            self.attention = residual(nn.LayerNorm(channels, eps=1e-6), attention)
            self.mlp = residual(nn.LayerNorm(channels, eps=1e-6), feed_forward(channels, EXPANSION))

        def forward(self, x: Any) -> Any:
            tokens = to_tokens(self.position(x))
            return to_map(self.mlp(self.attention(tokens)), side)

    return GlobalHalf()


def _attention(channels: int, heads: int) -> nn.Module:
    """Attention among all tokens."""
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.packed = nn.Linear(channels, 3 * channels)
            self.projection = nn.Linear(channels, channels)

        def forward(self, x: Any) -> Any:
            return self.projection(self_attention(self.packed(x), heads))

    return Attention()


def _sparse_attention(channels: int, heads: int, window: int, side: int) -> nn.Module:
    """Attention among the first tokens of the windows, then spread over each window."""
    from torch import nn

    class SparseAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Pooling over one pixel: it picks one of each window, without arithmetic.
            self.sample = nn.AvgPool2d(1, stride=window)
            self.packed = nn.Linear(channels, 3 * channels)
            self.spread = nn.ConvTranspose2d(
                channels, channels, window, stride=window, groups=channels
            )
            self.norm = nn.LayerNorm(channels)
            self.projection = nn.Linear(channels, channels)

        def forward(self, x: Any) -> Any:
            sampled = to_tokens(self.sample(to_map(x, side)))
            mixed = self_attention(self.packed(sampled), heads)
            spread = to_tokens(self.spread(to_map(mixed, side // window)))
            return self.projection(self.norm(spread))

    return SparseAttention()


def _head(channels: int) -> nn.Module:
    """Normalisation, the mean over the map, the classifier."""
    from torch import nn

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(channels)
            self.classifier = nn.Linear(channels, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.classifier(self.norm(x).flatten(2).mean(-1))

    return Head()
