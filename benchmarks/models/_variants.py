"""A network by the name of its variant: what the families written here have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from profiler.errors import UnknownName
from profiler.types import Model

if TYPE_CHECKING:
    from torch import nn

SIDE = 224
V = TypeVar("V")


def create(
    variants: Mapping[str, V], network: Callable[[V], nn.Module], name: str, batch: int
) -> Model:
    """A network: input (batch, 3, 224, 224), output (batch, 1000), float32.

    Raises UnknownName when there is no such variant.
    """
    import torch

    if name not in variants:
        raise UnknownName("model", name, variants)
    return Model(network(variants[name]).eval(), (torch.randn(batch, 3, SIDE, SIDE),))
