"""What bounds every operator of a machine: a large matrix product, and a large copy."""

from __future__ import annotations

from benchmarks.operators import axes
from profiler.types import Model


@axes(size=(512, 1024, 2048))
def matrix_product(size: int) -> Model:
    """size^3 multiply-adds. Input and output (1, size, size), float32."""
    import torch
    from torch import nn

    return Model(nn.Linear(size, size).eval(), (torch.randn(1, size, size),))


@axes(mebibytes=(64,))
def copy(mebibytes: int) -> Model:
    """So much read and as much written, by an activation. (1, 64, n, 64) to the same, float32.

    Larger than any cache; an activation, because every runtime has one, and none leaves it out.
    """
    import torch
    from torch import nn

    rows = mebibytes * 2**20 // (4 * 64 * 64)
    return Model(nn.ReLU(), (torch.randn(1, 64, rows, 64),))
