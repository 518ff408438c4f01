"""What turns products of queries and keys into weights: softmax, and what could stand there.

Attention of 8 heads, key 32, value 128, on tokens of 224 channels (r*r of them), behind a layer
norm as in EfficientFormer; without it, products without a softmax would grow along a chain.
(1, r*r, channels) to the same, float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.operators import axes
from benchmarks.operators._units import on_tokens
from profiler.types import Model

if TYPE_CHECKING:
    from torch import nn

HEADS, KEY, VALUE = 8, 32, 128


def _weighing(operator: nn.Module, channels: int, resolution: int) -> Model:
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(channels)
            self.packed = nn.Linear(channels, HEADS * (2 * KEY + VALUE))
            self.operator = operator
            self.projection = nn.Linear(HEADS * VALUE, channels)

        def forward(self, x: Any) -> Any:
            packed = self.packed(self.norm(x)).reshape(1, resolution**2, HEADS, -1).transpose(1, 2)
            query, key, value = packed.split([KEY, KEY, VALUE], dim=3)
            weights = self.operator((query @ key.transpose(2, 3)) * KEY**-0.5)
            mixed = (weights @ value).transpose(1, 2).reshape(1, resolution**2, HEADS * VALUE)
            return x + self.projection(mixed)

    return on_tokens(Attention(), channels, resolution**2)


@axes(channels=(224,), resolution=(7, 14))
def softmax(channels: int, resolution: int) -> Model:
    """Softmax over the keys."""
    from torch import nn

    return _weighing(nn.Softmax(dim=-1), channels, resolution)


@axes(channels=(224,), resolution=(7, 14))
def sigmoid(channels: int, resolution: int) -> Model:
    """The logistic function: no sum over the keys."""
    from torch import nn

    return _weighing(nn.Sigmoid(), channels, resolution)


@axes(channels=(224,), resolution=(7, 14))
def relu(channels: int, resolution: int) -> Model:
    """ReLU: no sum, no exponential."""
    from torch import nn

    return _weighing(nn.ReLU(), channels, resolution)


@axes(channels=(224,), resolution=(7, 14))
def without(channels: int, resolution: int) -> Model:
    """Nothing: what the others' own cost is counted from."""
    from torch import nn

    return _weighing(nn.Identity(), channels, resolution)
