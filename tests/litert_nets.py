"""Small networks with unusual inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Tensors = tuple[torch.Tensor, ...]


class TwoEnds(nn.Module):
    """Two inputs and two outputs, none of them of equal shape."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Tensors:
        x = self.depthwise(torch.relu(self.norm(self.convolution(x))))
        return self.head(x.mean((2, 3))) - y, x


def two_ends() -> tuple[nn.Module, Tensors]:
    return TwoEnds(), (torch.randn(2, 3, 16, 16), torch.randn(2, 5))


class Function(nn.Module):
    """A function as a module, with a linear layer of four numbers at hand."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self.linear, *inputs)


def mixed() -> tuple[nn.Module, Tensors]:
    """Integers and truth values go in; what comes out is a dictionary that is not sorted."""

    def function(linear: nn.Module, x: Any, index: Any, mask: Any) -> Any:
        chosen = linear(x)[index]
        return {"z": chosen, "a": torch.where(mask, x, -x), "not": ~mask, "more": index + 1}

    inputs = (torch.randn(5, 4), torch.tensor([3, 0, 2]), torch.rand(5, 4) < 0.5)
    return Function(function), inputs


def many() -> tuple[nn.Module, Tensors]:
    """Twelve outputs, the input and an output twice among them."""

    def function(linear: nn.Module, x: Any) -> Any:
        y = linear(x)
        return (*(x * i for i in range(2, 11)), x, y, y)

    return Function(function), (torch.randn(2, 4),)


def products() -> tuple[nn.Module, Tensors]:
    layers = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, stride=2), nn.Conv2d(6, 8, 3, groups=2))

    def function(_: nn.Module, x: Any, q: Any) -> Any:
        return layers(x), q @ q.transpose(-1, -2)

    module = Function(function)
    module.layers = layers
    return module, (torch.randn(1, 4, 5, 5), torch.randn(1, 2, 7, 3))


def table() -> tuple[nn.Module, Tensors]:
    embedded = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.ReLU())
    return embedded, (torch.tensor([1, 7, 3]),)


NETS = {f.__name__: f for f in (two_ends, mixed, many, products, table)}
