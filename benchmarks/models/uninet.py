"""UniNet-B1 with random weights (Liu et al. 2022, arXiv 2207.05420).

The network that the paper's search found among convolutions, self-attention and MLPs (its general
operators) and three ways to go from stage to stage (its context-aware down-sampling modules).
What it found: four stages of convolutions joined by local modules, then two of self-attention
joined by local-global ones; no stage of MLPs. Sizes are those of the released code
(github.com/Sense-X/UniNet, uninet.py, UniNetB1); stochastic depth, which does nothing at
inference, is left out, and last gains start at 1 instead of 0 and 1e-6.

    variant  parameters (published)   multiply-adds   with normalisation (published)
    b1       11.451 M (11.451)         1094.6 M        1117.9 M (1118)

Published: the comment at UniNetB1 in the released code; other papers quote 11.5 M and 1.1 G. The
released cal_flops.py counts with fvcore, where a multiply-add is one operation, and normalisation
and pooling count too. An earlier paper of the same title (arXiv 2110.04035) has another B1.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.models import _variants
from benchmarks.models._layers import (
    attend,
    convolution,
    depthwise,
    feed_forward,
    hard_sigmoid,
    merge_heads,
    self_attention,
    split_heads,
    to_map,
    to_tokens,
    unpack,
)
from profiler.types import Model

if TYPE_CHECKING:
    from torch import nn

CLASSES = 1000
STEM = 32
HEAD = 1280
HEAD_WIDTH = 32  # channels of one attention head


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one operator; `stride` is that of the down-sampling module before them."""

    operator: str
    channels: int
    blocks: int
    expansion: int
    stride: int


VARIANTS = {
    "uninet_b1": (
        Stage("convolution", channels=24, blocks=1, expansion=1, stride=1),
        Stage("convolution", channels=48, blocks=2, expansion=4, stride=2),
        Stage("convolution", channels=80, blocks=4, expansion=6, stride=2),
        Stage("convolution", channels=128, blocks=4, expansion=3, stride=2),
        Stage("attention", channels=128, blocks=4, expansion=2, stride=1),
        Stage("attention", channels=256, blocks=8, expansion=5, stride=2),
    ),
}


def names() -> list[str]:
    """The variants."""
    return list(VARIANTS)


def create(name: str, batch: int = 1) -> Model:
    """One of `names()`: input (batch, 3, 224, 224), output (batch, 1000), float32."""
    return _variants.create(VARIANTS, _network, name, batch)


def _network(stages: tuple[Stage, ...]) -> nn.Module:
    """A stage of convolutions goes from map to map, one of attention from tokens to tokens."""
    from torch import nn

    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["stem"] = nn.Sequential(convolution(3, STEM, 3, stride=2), nn.GELU())
    before, side = STEM, _variants.SIDE // 2
    for i, stage in enumerate(stages):
        if i > 0:
            down = _local_down if stage.operator == "convolution" else _local_global_down
            parts[f"down{i}"] = down(before, stage.channels, stage.stride)
            before, side = stage.channels, side // stage.stride
        if stage.operator == "convolution":
            widths = (before, *(stage.channels,) * (stage.blocks - 1))
            blocks = [_convolution_block(w, stage.channels, stage.expansion) for w in widths]
        else:
            blocks = [_attention_block(before, stage.expansion, side) for _ in range(stage.blocks)]
            blocks.append(_map(side))
        parts[f"stage{i}"] = nn.Sequential(*blocks)
        before = stage.channels
    parts["head"] = nn.Sequential(convolution(before, HEAD, 1), nn.GELU(), nn.AdaptiveAvgPool2d(1))
    parts["classifier"] = nn.Sequential(nn.Flatten(), nn.Linear(HEAD, CLASSES))
    return nn.Sequential(parts)


def _map(side: int) -> nn.Module:
    """From tokens back to a map."""
    from torch import nn

    class Map(nn.Module):
        def forward(self, x: Any) -> Any:
            return to_map(x, side)

    return Map()


def _convolution_block(before: int, channels: int, expansion: int) -> nn.Module:
    """Pointwise, depthwise, squeeze and excitation, pointwise; from map to map."""
    from torch import nn

    hidden = expansion * before
    expand = (nn.BatchNorm2d(before), convolution(before, hidden, 1), nn.GELU())

    class ConvolutionBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shortcut = nn.Sequential()
            if before != channels:
                self.shortcut = nn.Sequential(
                    nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(before, channels, 1)
                )
            self.branch = nn.Sequential(
                *(expand if expansion != 1 else ()),
                convolution(hidden, hidden, 3, groups=hidden),
                nn.GELU(),
                _squeeze_excitation(hidden),
                nn.Conv2d(hidden, channels, 1),
                nn.BatchNorm2d(channels),
            )

        def forward(self, x: Any) -> Any:
            return self.shortcut(x) + self.branch(x)

    return ConvolutionBlock()


def _squeeze_excitation(channels: int) -> nn.Module:
    """Channels scaled by what their means say, through a bottleneck of a quarter of them."""
    from torch import nn

    class SqueezeExcitation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, channels // 4, 1),
                nn.ReLU(),
                nn.Conv2d(channels // 4, channels, 1),
            )

        def forward(self, x: Any) -> Any:
            return hard_sigmoid(self.scale(x)) * x

    return SqueezeExcitation()


def _attention_block(channels: int, expansion: int, side: int) -> nn.Module:
    """Position by a depthwise convolution, attention and MLP with gains; from tokens to tokens."""
    import torch
    from torch import nn

    class AttentionBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = depthwise(channels, 3)
            self.norm = nn.LayerNorm(channels)
            self.packed = nn.Linear(channels, 3 * channels)
            self.projection = nn.Linear(channels, channels)
            self.gain = nn.Parameter(torch.ones(channels))
            self.mlp = nn.Sequential(nn.LayerNorm(channels), *feed_forward(channels, expansion))
            self.mlp_gain = nn.Parameter(torch.ones(channels))

        def forward(self, x: Any) -> Any:
            x = x + to_tokens(self.position(to_map(x, side)))
            mixed = self_attention(self.packed(self.norm(x)), channels // HEAD_WIDTH)
            x = x + self.gain * self.projection(mixed)
            return x + self.mlp_gain * self.mlp(x)

    return AttentionBlock()


def _local_down(before: int, channels: int, stride: int) -> nn.Module:
    """The local module: a depthwise separable convolution beside a pooled shortcut, on maps."""
    from torch import nn

    class LocalDown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shortcut = _shortcut(before, channels, stride)
            self.branch = _separable(before, channels, stride)

        def forward(self, x: Any) -> Any:
            return self.branch(x) + self.shortcut(x)

    return LocalDown()


def _local_global_down(before: int, channels: int, stride: int) -> nn.Module:
    """The local-global module, from a map to tokens.

    The tokens of the smaller map, made by convolution, attend to all those of the larger one.
    """
    from torch import nn

    heads = channels // HEAD_WIDTH

    class LocalGlobalDown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shortcut = _shortcut(before, channels, stride)
            self.query = _separable(before, channels, stride)
            self.query_norm = nn.LayerNorm(channels)
            self.norm = nn.LayerNorm(before)
            self.packed = nn.Linear(before, 2 * channels)
            self.projection = nn.Linear(channels, channels)

        def forward(self, x: Any) -> Any:
            queries = split_heads(self.query_norm(to_tokens(self.query(x))), heads)
            parts = unpack(self.packed(self.norm(to_tokens(x))), 2, heads)
            keys, values = parts[0], parts[1]
            mixed = merge_heads(attend(queries, keys.transpose(-2, -1), values))
            return self.projection(mixed) + to_tokens(self.shortcut(x))

    return LocalGlobalDown()


def _shortcut(before: int, channels: int, stride: int) -> nn.Module:
    from torch import nn

    pool = (nn.MaxPool2d(3, stride, padding=1),) if stride > 1 else ()
    return nn.Sequential(*pool, nn.Conv2d(before, channels, 1))


def _separable(before: int, channels: int, stride: int) -> nn.Module:
    from torch import nn

    return nn.Sequential(
        depthwise(before, 3, stride), nn.BatchNorm2d(before), nn.Conv2d(before, channels, 1)
    )
