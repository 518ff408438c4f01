"""The canary: a small fixed network that is timed in every round, to see the machine change."""

from __future__ import annotations

from profiler.types import Model


def canary() -> Model:
    """Three convolutions and a linear layer, about 20 M multiply-adds.

    Input (1, 16, 28, 28), output (1, 64), float32.
    """
    import torch
    from torch import nn

    layers = nn.Sequential(
        nn.Conv2d(16, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 64),
    )
    return Model(layers.eval(), (torch.randn(1, 16, 28, 28),))
