"""Mobile-Former's blocks (Chen et al. 2022, section 3 and figure 3): the modules of its networks.

A map and the tokens run beside each other, so a block takes both and gives both; what it does not
change passes through. All float32, batch 1. `resolution` (r) is the side of the map that a block
gives, `dimension` (d) the width of its tokens, `groups` those of the pointwise convolutions, with
channels shuffled if there are more than 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.models import _mobile_former as layers
from profiler.types import Model

SIDE = 224
LAST = 7


def stem(channels: int, tokens: int, dimension: int) -> Model:
    """3x3 convolution of stride 2; the learnt tokens, which are a parameter.

    Input (1, 3, 224, 224), outputs (1, channels, 112, 112) and (1, tokens, d).
    """
    import torch

    class Stem(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = torch.nn.Parameter(torch.randn(1, tokens, dimension))
            self.stem = layers.stem(channels)

        def forward(self, x: Any) -> tuple[Any, Any]:
            return self.stem(x), self.tokens.repeat(x.shape[0], 1, 1)

    return Model(Stem().eval(), (torch.randn(1, 3, SIDE, SIDE),))


def lite(channels: int, expansion: int, groups: int, tokens: int, dimension: int) -> Model:
    """Depthwise and pointwise convolution with a residual, without use of the tokens.

    Inputs and outputs (1, channels, 112, 112) and (1, tokens, d).
    """
    module = layers.lite(channels, layers.Lite(expansion, channels, 1), groups)
    return _row(module, _on_map, (channels, SIDE // 2, SIDE // 2), tokens, dimension)


def lite_down(
    channels_in: int, channels_out: int, expansion: int, groups: int, tokens: int, dimension: int
) -> Model:
    """The same of stride 2, without a residual.

    Inputs (1, channels_in, 112, 112) and (1, tokens, d), outputs (1, channels_out, 56, 56) and
    (1, tokens, d).
    """
    module = layers.lite(channels_in, layers.Lite(expansion, channels_out, 2), groups)
    return _row(module, _on_map, (channels_in, SIDE // 2, SIDE // 2), tokens, dimension)


def to_former(channels: int, resolution: int, tokens: int, dimension: int) -> Model:
    """Mobile -> Former: tokens attend to the map.

    Inputs and outputs (1, channels, r, r) and (1, tokens, d).
    """
    module = layers.read(channels, dimension)
    shape = (channels, resolution, resolution)
    return _row(module, lambda read, x, t: (x, read(x, t)), shape, tokens, dimension)


def former(channels: int, resolution: int, tokens: int, dimension: int) -> Model:
    """Attention among the tokens and an MLP; the map waits.

    Inputs and outputs (1, channels, r, r) and (1, tokens, d).
    """
    module = layers.former(dimension)
    shape = (channels, resolution, resolution)
    return _row(module, lambda mix, x, t: (x, mix(t)), shape, tokens, dimension)


def mobile(
    channels: int, expansion: int, resolution: int, groups: int, tokens: int, dimension: int
) -> Model:
    """Inverted bottleneck with a residual; the first token sets its dynamic ReLUs.

    Inputs and outputs (1, channels, r, r) and (1, tokens, d).
    """
    return mobile_change(channels, channels, expansion, resolution, groups, tokens, dimension)


def mobile_change(
    channels_in: int,
    channels_out: int,
    expansion: int,
    resolution: int,
    groups: int,
    tokens: int,
    dimension: int,
) -> Model:
    """The same to another number of channels, then without a residual.

    Inputs (1, channels_in, r, r) and (1, tokens, d), outputs (1, channels_out, r, r) and
    (1, tokens, d).
    """
    block = layers.Plain(channels_out, expansion)
    module = layers.mobile(channels_in, block, dimension, groups)
    return _row(module, _by_token, (channels_in, resolution, resolution), tokens, dimension)


def mobile_down(
    channels_in: int, channels_out: int, resolution: int, groups: int, tokens: int, dimension: int
) -> Model:
    """Two depthwise and pointwise convolutions, expanded 6 and 4 times, the first of stride 2.

    Inputs (1, channels_in, 2r, 2r) and (1, tokens, d), outputs (1, channels_out, r, r) and
    (1, tokens, d).
    """
    module = layers.mobile(channels_in, layers.Down(channels_out), dimension, groups)
    return _row(module, _by_token, (channels_in, 2 * resolution, 2 * resolution), tokens, dimension)


def to_mobile(channels: int, resolution: int, tokens: int, dimension: int) -> Model:
    """Former -> Mobile: the map's pixels attend to the tokens.

    Inputs and outputs (1, channels, r, r) and (1, tokens, d).
    """
    module = layers.write(channels, dimension)
    shape = (channels, resolution, resolution)
    return _row(module, lambda write, x, t: (write(x, t), t), shape, tokens, dimension)


def pool(channels: int, groups: int, tokens: int, dimension: int) -> Model:
    """Pointwise convolution and mean over the last map.

    Inputs (1, channels, 7, 7) and (1, tokens, d), outputs (1, 6 * channels) and (1, tokens, d).
    """
    module = layers.pool(channels, groups)
    return _row(module, _on_map, (channels, LAST, LAST), tokens, dimension)


def classifier(channels: int, features: int, tokens: int, dimension: int) -> Model:
    """Two linear layers over the pooled map and the first token.

    Inputs (1, 6 * channels) and (1, tokens, d), output (1, 1000).
    """
    import torch

    module = layers.classifier(channels, dimension, features)
    shape = (layers.HEAD_EXPANSION * channels,)

    def classify(layer: Any, x: Any, t: Any) -> Any:
        return layer(torch.cat((x, t[:, 0]), dim=1))

    return _row(module, classify, shape, tokens, dimension)


def _on_map(layer: Any, x: Any, t: Any) -> tuple[Any, Any]:
    return layer(x), t


def _by_token(layer: Any, x: Any, t: Any) -> tuple[Any, Any]:
    return layer(x, t[:, 0]), t


def _row(
    module: Any,
    run: Callable[[Any, Any, Any], Any],
    shape: tuple[int, ...],
    tokens: int,
    dimension: int,
) -> Model:
    """A layer of the network between a map of this shape and tokens."""
    import torch

    class Row(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, x: Any, t: Any) -> Any:
            return run(self.layer, x, t)

    return Model(Row().eval(), (torch.randn(1, *shape), torch.randn(1, tokens, dimension)))
