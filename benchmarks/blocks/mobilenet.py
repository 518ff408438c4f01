"""Inverted residuals as timm's MobileNetV2 has them (Sandler et al. 2018, section 3 and table 2).

All float32, batch 1. `resolution` is the side of the feature map that a block gives; `activation`
is `relu6` or `hardswish`. Squeeze and excitation is MobileNetV3's (Howard et al. 2019, section
5.3): a quarter of the expanded channels, ReLU, hard sigmoid.
"""

from __future__ import annotations

import functools
from typing import Any

from benchmarks.timm_library import timm
from profiler.types import Model

ACTIVATIONS = {"relu6": "ReLU6", "hardswish": "Hardswish"}


def _library() -> Any:
    timm()
    from timm.models import _efficientnet_blocks

    return _efficientnet_blocks


def _activation(name: str) -> Any:
    import torch

    return getattr(torch.nn, ACTIVATIONS[name])


def _model(module: Any, *shape: int) -> Model:
    import torch

    return Model(module.eval(), (torch.randn(1, *shape),))


def stem(channels: int, resolution: int, activation: str) -> Model:
    """3x3 convolution of stride 2. Input (1, 3, 2r, 2r), output (1, channels, r, r)."""
    side = 2 * resolution
    layer = _activation(activation)
    module = _library().ConvBnAct(3, channels, 3, stride=2, act_layer=layer)
    return _model(module, 3, side, side)


def separable(channels_in: int, channels_out: int, resolution: int, activation: str) -> Model:
    """Depthwise 3x3 and linear 1x1 convolution, no shortcut.

    Input (1, channels_in, r, r), output (1, channels_out, r, r).
    """
    layer = _activation(activation)
    block = _library().DepthwiseSeparableConv
    module = block(channels_in, channels_out, 3, noskip=True, act_layer=layer)
    return _model(module, channels_in, resolution, resolution)


def ir(
    channels_in: int,
    channels_out: int,
    expansion: float,
    resolution: int,
    kernel: int,
    stride: int,
    se: int,
    activation: str,
) -> Model:
    """Inverted residual that changes the shape, and so has no shortcut.

    Input (1, channels_in, s*r, s*r) with stride s, output (1, channels_out, r, r).
    """
    module = _inverted(channels_in, channels_out, expansion, kernel, stride, se, activation)
    side = stride * resolution
    return _model(module, channels_in, side, side)


def residual(
    channels: int, expansion: float, resolution: int, kernel: int, se: int, activation: str
) -> Model:
    """Inverted residual with its shortcut. Input and output (1, channels, r, r)."""
    module = _inverted(channels, channels, expansion, kernel, 1, se, activation)
    return _model(module, channels, resolution, resolution)


def _inverted(
    channels_in: int,
    channels_out: int,
    expansion: float,
    kernel: int,
    stride: int,
    se: int,
    activation: str,
) -> Any:
    return _library().InvertedResidual(
        channels_in,
        channels_out,
        kernel,
        stride=stride,
        exp_ratio=expansion,
        act_layer=_activation(activation),
        se_layer=_squeeze_excite() if se else None,
    )


def _squeeze_excite() -> Any:
    library = _library()
    from torch import nn

    return functools.partial(
        library.SqueezeExcite,
        gate_layer=nn.Hardsigmoid,
        force_act_layer=nn.ReLU,
        rd_round_fn=library.make_divisible,
    )


def head_conv(channels_in: int, channels_out: int, resolution: int, activation: str) -> Model:
    """1x1 convolution. Input (1, channels_in, r, r), output (1, channels_out, r, r)."""
    module = _library().ConvBnAct(channels_in, channels_out, 1, act_layer=_activation(activation))
    return _model(module, channels_in, resolution, resolution)


def classifier(channels: int, resolution: int) -> Model:
    """Mean over the map, and a linear classifier.

    Input (1, channels, r, r), output (1, 1000).
    """
    import torch

    layers = timm().layers.create_classifier(channels, 1000)
    return _model(torch.nn.Sequential(*layers), channels, resolution, resolution)
