"""MobileViT's blocks, timm's own modules (Mehta and Rastegari 2022, section 3 and figure 1).

All float32, batch 1, SiLU. `resolution` is the side of the feature map that a block gives. A
MobileViT block is unfold, transformers and fold. Its last convolution sees the block's input
again, so in between two tensors run beside each other: the map (1, c, r, r), and the tokens
(4, t, d). A patch has 2x2 pixels, t = r*r/4 is the number of patches; the four pixels of a patch
stand in the place of the batch, because a pixel attends only to those at its own place in the
other patches.
"""

from __future__ import annotations

import functools
from typing import Any

from benchmarks.timm_library import timm
from profiler.types import Model

PATCH = 2
PIXELS = PATCH * PATCH
# How many times the last stage's channels the classifier sees.
LAST = 4


@functools.cache
def _layers() -> Any:
    """Convolutions with batch normalisation and SiLU, as timm makes them for all three sizes."""
    timm()
    from timm.models import byobnet, mobilevit

    return byobnet.get_layer_fns(mobilevit.model_cfgs["mobilevit_s"])


def _model(module: Any, *shapes: tuple[int, ...]) -> Model:
    import torch

    return Model(module.eval(), tuple(torch.randn(s) for s in shapes))


def stem(channels: int, resolution: int) -> Model:
    """3x3 convolution of stride 2. Input (1, 3, 2r, 2r), output (1, channels, r, r)."""
    side = 2 * resolution
    return _model(_layers().conv_norm_act(3, channels, 3, stride=2), (1, 3, side, side))


def ir(channels_in: int, channels_out: int, expansion: int, resolution: int, stride: int) -> Model:
    """Inverted residual that changes the shape, and so has no shortcut.

    Input (1, channels_in, s*r, s*r) with stride s, output (1, channels_out, r, r).
    """
    side = stride * resolution
    module = _inverted(channels_in, channels_out, expansion, stride)
    return _model(module, (1, channels_in, side, side))


def residual(channels: int, expansion: int, resolution: int) -> Model:
    """Inverted residual with its shortcut. Input and output (1, channels, r, r)."""
    module = _inverted(channels, channels, expansion, 1)
    return _model(module, (1, channels, resolution, resolution))


def _inverted(channels_in: int, channels_out: int, expansion: int, stride: int) -> Any:
    layers = _layers()
    from timm.models.byobnet import BottleneckBlock

    return BottleneckBlock(
        channels_in,
        channels_out,
        stride=stride,
        bottle_ratio=expansion,
        group_size=1,
        downsample="",
        linear_out=True,
        bottle_in=True,
        layers=layers,
    )


def _whole(channels: int, dim: int) -> Any:
    """A MobileViT block of one transformer, of which the rows take what is theirs."""
    layers = _layers()
    from timm.models.mobilevit import MobileVitBlock

    return MobileVitBlock(
        channels, transformer_dim=dim, transformer_depth=1, patch_size=PATCH, layers=layers
    )


def unfold(channels: int, dim: int, resolution: int) -> Model:
    """3x3 and 1x1 convolution, and the map cut into patches.

    Input (1, channels, r, r), outputs the same map and the tokens (4, t, dim).
    """
    import torch

    whole = _whole(channels, dim)
    patches = resolution // PATCH

    class Unfold(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.local, self.project = whole.conv_kxk, whole.conv_1x1

        def forward(self, x: Any) -> Any:
            y = self.project(self.local(x))
            y = y.reshape(dim * patches, PATCH, patches, PATCH).transpose(1, 2)
            y = y.reshape(1, dim, patches**2, PIXELS).transpose(1, 3)
            return x, y.reshape(PIXELS, patches**2, dim)

    return _model(Unfold(), (1, channels, resolution, resolution))


def transformer(channels: int, dim: int, tokens: int) -> Model:
    """Attention of four heads and an MLP twice as wide; the map passes by.

    Inputs and outputs (1, channels, r, r) and (4, tokens, dim).
    """
    import torch

    class Transformer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = _whole(channels, dim).transformer[0]

        def forward(self, x: Any, y: Any) -> Any:
            return x, self.block(y)

    side = PATCH * round(tokens**0.5)
    return _model(Transformer(), (1, channels, side, side), (PIXELS, tokens, dim))


def fold(channels: int, dim: int, resolution: int) -> Model:
    """Normalisation, patches back into a map, 1x1 convolution, 3x3 convolution of both maps.

    Inputs (1, channels, r, r) and (4, t, dim), output (1, channels, r, r).
    """
    import torch

    whole = _whole(channels, dim)
    patches = resolution // PATCH

    class Fold(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.project, self.fuse = whole.norm, whole.conv_proj, whole.conv_fusion

        def forward(self, x: Any, y: Any) -> Any:
            y = self.norm(y).reshape(1, PIXELS, patches**2, dim).transpose(1, 3)
            y = y.reshape(dim * patches, patches, PATCH, PATCH).transpose(1, 2)
            y = self.project(y.reshape(1, dim, resolution, resolution))
            return self.fuse(torch.cat((x, y), dim=1))

    shape = (1, channels, resolution, resolution)
    return _model(Fold(), shape, (PIXELS, patches**2, dim))


def head_conv(channels: int, resolution: int) -> Model:
    """1x1 convolution to four times as many channels.

    Input (1, channels, r, r), output (1, 4*channels, r, r).
    """
    module = _layers().conv_norm_act(channels, LAST * channels, 1)
    return _model(module, (1, channels, resolution, resolution))


def classifier(channels: int, resolution: int) -> Model:
    """Mean over the map, and a linear classifier.

    Input (1, channels, r, r), output (1, 1000).
    """
    module = timm().layers.ClassifierHead(channels, 1000)
    return _model(module, (1, channels, resolution, resolution))
