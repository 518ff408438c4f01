"""Layers that the networks written from papers share. Everything is float32.

A map is (batch, channels, side, side); tokens are (batch, count, channels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def to_tokens(x: Any) -> Any:
    """From a map to its tokens, row by row."""
    return x.flatten(2).transpose(1, 2)


def to_map(x: Any, side: int) -> Any:
    """From tokens back to the map that they were."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], side, side)


def attend(queries: Any, keys: Any, values: Any) -> Any:
    """Attention from (..., n, d), (..., d, m) and (..., m, d) to (..., n, d).

    Matrix products and a softmax, as the released networks have them: a fused operator would be
    exported, timed and counted as something else.
    """
    weights = (queries @ keys) * queries.shape[-1] ** -0.5
    return weights.softmax(dim=-1) @ values


def split_heads(x: Any, heads: int) -> Any:
    """From tokens to (batch, heads, count, channels of a head)."""
    batch, count, channels = x.shape
    return x.reshape(batch, count, heads, channels // heads).transpose(1, 2)


def merge_heads(x: Any) -> Any:
    """From (batch, heads, count, channels of a head) to tokens."""
    batch, heads, count, width = x.shape
    return x.transpose(1, 2).reshape(batch, count, heads * width)


def unpack(x: Any, parts: int, heads: int) -> Any:
    """Tokens whose channels hold several vectors one after another, taken apart.

    To (parts, batch, heads, count, channels of a head).
    """
    batch, count, channels = x.shape
    width = channels // (parts * heads)
    return x.reshape(batch, count, parts, heads, width).permute(2, 0, 3, 1, 4)


def self_attention(packed: Any, heads: int) -> Any:
    """Attention among tokens whose channels hold query, key and value one after another."""
    parts = unpack(packed, 3, heads)
    queries, keys, values = parts[0], parts[1], parts[2]
    return merge_heads(attend(queries, keys.transpose(-2, -1), values))


def hard_sigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6 in these steps, as the released networks spell it.

    torch's own hard sigmoid is one operator where this is three; on vectors as small as these
    their number is what costs time.
    """
    from torch.nn import functional

    return functional.relu6(x + 3) / 6


def convolution(
    before: int, after: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution without bias that keeps the side (or divides it by the stride), normalised."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    )


def depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Module:
    """A depthwise convolution with bias that keeps the side, or divides it by the stride."""
    from torch import nn

    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)


def feed_forward(channels: int, expansion: int) -> nn.Sequential:
    """Two linear layers with GELU between them, from tokens to tokens."""
    from torch import nn

    return nn.Sequential(
        nn.Linear(channels, expansion * channels),
        nn.GELU(),
        nn.Linear(expansion * channels, channels),
    )


def residual(*layers: nn.Module) -> nn.Module:
    """The layers one after another, added to their input."""
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            return x + self.branch(x)

    return Residual()
