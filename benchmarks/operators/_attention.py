"""The forms of multi-head self-attention that the networks use: key 32, value 128 a head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.operators._units import normalized
from benchmarks.timm_library import timm

if TYPE_CHECKING:
    from torch import nn

KEY, VALUE = 32, 128


def on_tokens(channels: int, side: int, heads: int) -> nn.Module:
    """EfficientFormer's, timm's own module: one linear layer, heads by reshape, a bias."""
    timm()
    from timm.models.efficientformer import Attention

    module: nn.Module = Attention(channels, KEY, heads, VALUE // KEY, side)
    return module


def on_map(channels: int, side: int, heads: int) -> nn.Module:
    """The same on a map: 1x1 convolutions, and a reshape on each side of the products."""
    import torch
    from torch import nn

    class OnMap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = normalized(channels, heads * KEY)
            self.key = normalized(channels, heads * KEY)
            self.value = normalized(channels, heads * VALUE)
            self.bias = nn.Parameter(torch.randn(heads, side**2, side**2))
            self.projection = normalized(heads * VALUE, channels)

        def forward(self, x: Any) -> Any:
            query = self.query(x).reshape(1, heads, KEY, side**2).transpose(2, 3)
            key = self.key(x).reshape(1, heads, KEY, side**2)
            value = self.value(x).reshape(1, heads, VALUE, side**2).transpose(2, 3)
            weights = ((query @ key) * KEY**-0.5 + self.bias).softmax(dim=-1)
            mixed = (weights @ value).transpose(2, 3).reshape(1, heads * VALUE, side, side)
            return self.projection(mixed)

    return OnMap()


def talking(channels: int, side: int, heads: int, stride: int | None = None) -> nn.Module:
    """EfficientFormerV2's, timm's own module: heads that talk, a local path of the values.

    With a stride it works on a smaller map, which is upsampled before the projection.
    """
    timm()
    from timm.models.efficientformer_v2 import Attention2d

    module: nn.Module = Attention2d(
        channels, KEY, heads, VALUE // KEY, resolution=side, stride=stride
    )
    return module
