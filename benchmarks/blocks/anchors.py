"""What stands in front of a chain of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from profiler.types import Model


def anchor(shapes: Sequence[Sequence[int]]) -> Model:
    """Cheap 1x1 convolutions that give a chain the layout which a network would give it.

    `shapes` are (channels, height, width) of maps and (tokens, channels) of tokens, without the
    batch, and (1, groups, tokens, channels) of tokens whose groups stand in its place. One input
    of four channels for each; outputs as the shapes say, float32, batch 1. Not a part of any
    network.
    """
    import torch

    class Anchor(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fronts = torch.nn.ModuleList(
                torch.nn.Conv2d(4, s[0] if len(s) == 3 else s[1], 1) for s in shapes
            )

        def forward(self, *inputs: Any) -> Any:
            outputs = []
            for front, x, shape in zip(self.fronts, inputs, shapes, strict=True):
                y = front(x)
                if len(shape) == 2:
                    y = y.flatten(2).transpose(1, 2)
                outputs.append(y[0] if len(shape) == 4 else y)
            return tuple(outputs) if len(outputs) > 1 else outputs[0]

    inputs = tuple(torch.randn(1, 4, *((s[0], 1) if len(s) == 2 else s[-2:])) for s in shapes)
    return Model(Anchor().eval(), inputs)
