"""The modules of Mobile-Former and the numbers that tell its variants apart; float32 throughout."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.models._layers import (
    attend,
    convolution,
    feed_forward,
    hard_sigmoid,
    merge_heads,
    split_heads,
)

if TYPE_CHECKING:
    from torch import nn

CLASSES = 1000
BRIDGE_HEADS = 2
FORMER_HEADS = 4
DOWN_EXPANSIONS = (6, 4)
HEAD_EXPANSION = 6


class Lite(NamedTuple):
    """The first block, which has no tokens: depthwise, then pointwise convolution."""

    expansion: int
    channels: int
    stride: int


class Down(NamedTuple):
    """A block that halves the side."""

    channels: int


class Plain(NamedTuple):
    """A block that keeps the side: an inverted bottleneck."""

    channels: int
    expansion: int


@dataclass(frozen=True, slots=True)
class Variant:
    """A network: its convolutions, number and width of its tokens, width of its last layer."""

    stem: int
    lite: Lite
    stages: tuple[tuple[Down | Plain, ...], ...]
    tokens: int
    width: int
    features: int
    groups: int = 1  # of the pointwise convolutions; their channels are shuffled if more than 1


def network(variant: Variant) -> nn.Module:
    """A network of random weights: from (batch, 3, 224, 224) to (batch, 1000)."""
    import torch
    from torch import nn

    before = variant.lite.channels
    blocks = []
    for block in itertools.chain(*variant.stages):
        blocks.append(_block(before, block, variant.width, variant.groups))
        before = block.channels

    class MobileFormer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Parameter(torch.randn(1, variant.tokens, variant.width))
            self.stem = stem(variant.stem)
            self.lite = lite(variant.stem, variant.lite, variant.groups)
            self.blocks = nn.ModuleList(blocks)
            self.read = read(before, variant.width)
            self.pool = pool(before, variant.groups)
            self.classifier = classifier(before, variant.width, variant.features)

        def forward(self, x: Any) -> Any:
            tokens = self.tokens.repeat(x.shape[0], 1, 1)
            x = self.lite(self.stem(x))
            for block in self.blocks:
                x, tokens = block(x, tokens)
            tokens = self.read(x, tokens)
            return self.classifier(torch.cat((self.pool(x), tokens[:, 0]), dim=1))

    return MobileFormer()


def stem(channels: int) -> nn.Module:
    """From an image to a map of half its side."""
    from torch import nn

    return nn.Sequential(convolution(3, channels, 3, stride=2), nn.ReLU6())


def lite(before: int, block: Lite, groups: int) -> nn.Module:
    """The block without tokens, from map to map."""
    from torch import nn

    expansion, channels, stride = block

    class LiteBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            hidden = expansion * before
            self.branch = nn.Sequential(
                convolution(before, hidden, 3, stride, groups=before),
                nn.ReLU6(),
                _shuffle(before, groups),
                convolution(hidden, channels, 1, groups=groups),
            )

        def forward(self, x: Any) -> Any:
            y = self.branch(x)
            return y + x if stride == 1 and channels == before else y

    return LiteBlock()


def _shuffle(parts: int, groups: int) -> nn.Module:
    """Channels of each part spread over all parts; nothing where no convolution is grouped."""
    from torch import nn

    class Shuffle(nn.Module):
        def forward(self, x: Any) -> Any:
            batch, channels, height, width = x.shape
            split = x.reshape(batch, parts, channels // parts, height, width)
            return split.transpose(1, 2).reshape(x.shape)

    return Shuffle() if groups > 1 else nn.Identity()


def _block(before: int, block: Down | Plain, width: int, groups: int) -> nn.Module:
    """From a map and tokens to both: (map, tokens) -> (map, tokens)."""
    from torch import nn

    class MobileFormerBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read = read(before, width)
            self.former = former(width)
            self.mobile = mobile(before, block, width, groups)
            self.write = write(block.channels, width)

        def forward(self, x: Any, tokens: Any) -> tuple[Any, Any]:
            tokens = self.former(self.read(x, tokens))
            return self.write(self.mobile(x, tokens[:, 0]), tokens), tokens

    return MobileFormerBlock()


def read(channels: int, width: int) -> nn.Module:
    """Mobile -> Former: tokens that attend to the map, gated by themselves."""
    from torch import nn

    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(width, channels)
            self.gate = nn.Linear(width, channels)
            self.projection = nn.Linear(channels, width)
            self.norm = nn.LayerNorm(width)

        def forward(self, x: Any, tokens: Any) -> Any:
            keys = x.reshape(x.shape[0], BRIDGE_HEADS, channels // BRIDGE_HEADS, -1)
            queries = split_heads(self.query(tokens), BRIDGE_HEADS)
            found = merge_heads(attend(queries, keys, keys.transpose(-2, -1)))
            gated = found * (hard_sigmoid(self.gate(tokens)) * 2)
            return self.norm(tokens + self.projection(gated))

    return Read()


def former(width: int) -> nn.Module:
    """Attention among the tokens, which are their own keys and values, and an MLP."""
    from torch import nn

    class Former(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(width, width)
            self.projection = nn.Linear(width, width)
            self.norm = nn.LayerNorm(width)
            self.mlp = feed_forward(width, 2)
            self.mlp_norm = nn.LayerNorm(width)

        def forward(self, tokens: Any) -> Any:
            queries = split_heads(self.query(tokens), FORMER_HEADS)
            values = split_heads(tokens, FORMER_HEADS)
            mixed = merge_heads(attend(queries, values.transpose(-2, -1), values))
            tokens = self.norm(tokens + self.projection(mixed))
            return self.mlp_norm(tokens + self.mlp(tokens))

    return Former()


def write(channels: int, width: int) -> nn.Module:
    """Former -> Mobile: a map whose pixels attend to the tokens."""
    from torch import nn

    class Write(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.key = nn.Linear(width, channels)
            self.value = nn.Linear(width, channels)

        def forward(self, x: Any, tokens: Any) -> Any:
            pixels = x.reshape(x.shape[0], BRIDGE_HEADS, channels // BRIDGE_HEADS, -1)
            keys = split_heads(self.key(tokens), BRIDGE_HEADS).transpose(-2, -1)
            values = split_heads(self.value(tokens), BRIDGE_HEADS)
            found = attend(pixels.transpose(-2, -1), keys, values)
            return x + found.transpose(-2, -1).reshape(x.shape)

    return Write()


def mobile(before: int, block: Down | Plain, width: int, groups: int) -> nn.Module:
    """From a map and the first token to a map."""
    if isinstance(block, Down):
        return _down(before, block, width, groups)
    return _plain(before, block, width, groups)


def _plain(before: int, block: Plain, width: int, groups: int) -> nn.Module:
    """Mobile at stride 1: pointwise, depthwise, pointwise."""
    from torch import nn

    channels, hidden = block.channels, block.expansion * before

    class PlainMobile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.expand = nn.Sequential(
                convolution(before, hidden, 1, groups=groups), _shuffle(groups, groups)
            )
            self.activation1 = _dynamic_relu(hidden, width)
            self.depthwise = convolution(hidden, hidden, 3, groups=hidden)
            self.activation2 = _dynamic_relu(hidden, width)
            self.project = nn.Sequential(
                convolution(hidden, channels, 1, groups=groups), _shuffle(groups, groups)
            )

        def forward(self, x: Any, token: Any) -> Any:
            y = self.activation1(self.expand(x), token)
            y = self.project(self.activation2(self.depthwise(y), token))
            return y + x if channels == before else y

    return PlainMobile()


def _down(before: int, block: Down, width: int, groups: int) -> nn.Module:
    """Mobile at stride 2: two pairs of an expanding depthwise and a pointwise convolution."""
    from torch import nn

    channels = block.channels
    hidden1, hidden2 = DOWN_EXPANSIONS[0] * before, DOWN_EXPANSIONS[1] * channels

    class DownMobile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise1 = nn.Sequential(
                convolution(before, hidden1, 3, stride=2, groups=before), _shuffle(before, groups)
            )
            self.activation1 = _dynamic_relu(hidden1, width)
            self.project1 = convolution(hidden1, channels, 1, groups=groups)
            self.depthwise2 = nn.Sequential(
                convolution(channels, hidden2, 3, groups=channels), _shuffle(channels, groups)
            )
            self.activation2 = _dynamic_relu(hidden2, width)
            self.project2 = convolution(hidden2, channels, 1, groups=groups)

        def forward(self, x: Any, token: Any) -> Any:
            x = self.project1(self.activation1(self.depthwise1(x), token))
            return self.project2(self.activation2(self.depthwise2(x), token)) + x

    return DownMobile()


def _dynamic_relu(channels: int, width: int) -> nn.Module:
    """max(a x, b x) with slopes a in 0 to 2 and b in -1 to 1 by channel, made from a token."""
    import torch
    from torch import nn

    class DynamicReLU(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slopes = nn.Sequential(
                nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, 2 * channels)
            )

        def forward(self, x: Any, token: Any) -> Any:
            slopes = hard_sigmoid(self.slopes(token))[:, :, None, None]
            a, b = slopes.split(channels, dim=1)
            return torch.maximum(x * ((a - 0.5) * 2 + 1), x * ((b - 0.5) * 2))

    return DynamicReLU()


def pool(channels: int, groups: int) -> nn.Module:
    """The last map, widened and averaged: (batch, 6 * channels)."""
    from torch import nn

    return nn.Sequential(
        _shuffle(groups, groups),
        convolution(channels, HEAD_EXPANSION * channels, 1, groups=groups),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        _hard_swish(),
        nn.Flatten(),
    )


def classifier(channels: int, width: int, features: int) -> nn.Module:
    """From the pooled map and the first token, one behind the other, to the classes."""
    from torch import nn

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["features"] = nn.Linear(HEAD_EXPANSION * channels + width, features)
    layers["norm"] = nn.BatchNorm1d(features)
    layers["activation"] = _hard_swish()
    layers["classes"] = nn.Linear(features, CLASSES)
    return nn.Sequential(layers)


def _hard_swish() -> nn.Module:
    from torch import nn

    class HardSwish(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * hard_sigmoid(x)

    return HardSwish()
