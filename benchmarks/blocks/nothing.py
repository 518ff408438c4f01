"""The least that a network can do: what remains is the cost of a call."""

from __future__ import annotations

from profiler.types import Model


def nothing() -> Model:
    """ReLU on 196 numbers: some compilers refuse a network without any operator.

    Input and output (1, 4, 7, 7), float32.
    """
    import torch

    return Model(torch.nn.ReLU(), (torch.randn(1, 4, 7, 7),))
