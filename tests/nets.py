"""Networks and misbehaving builders, as a user might write them."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import torch
from torch import nn


def good() -> Any:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    return layers, torch.randn(1, 3, 32, 32)


def zero_branch() -> Any:
    """A residual branch whose last gain is zero, as untrained networks have it."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(8, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            nn.init.zeros_(self.norm.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.norm(self.convolution(x))

    return Residual(), torch.randn(1, 8, 16, 16)


def two_inputs() -> Any:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            return x + y, x * y

    return Sum(), (torch.randn(1, 4), torch.randn(1, 4))


def prints() -> Any:
    print("from the builder")
    os.system("echo from a child of the builder")
    return good()


def raises() -> Any:
    raise ValueError("no luck today")


def exits() -> Any:
    sys.exit(3)


def dies() -> Any:
    os._exit(7)


def segfaults() -> Any:
    import ctypes

    ctypes.string_at(0)


def hangs() -> Any:
    time.sleep(600)


def not_a_module() -> Any:
    return 5


def unsupported() -> Any:
    """An operator that compilers lack, two modules deep."""

    class Eigenvalues(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixer = Eigenvalues()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.mixer(x)

    return nn.Sequential(nn.ReLU(), Block()), torch.randn(1, 4, 4)


def infinite() -> Any:
    class Huge(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 0.0

    return Huge(), torch.randn(1, 4)


def batch_of_three() -> Any:
    layers, _ = good()
    return layers, torch.randn(3, 3, 32, 32)


def small_outputs() -> Any:
    """Outputs of the order of 1e-6: an absolute comparison would find every error small."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = good()[0]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x) * 1e-6

    return Scaled(), torch.randn(1, 3, 32, 32)


def two_paths() -> Any:
    class Either(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.sum() > 0:
                return x * 2
            return x - 1

    return Either(), torch.randn(2, 3)


def no_room() -> Any:
    """A disk that is full from now on, as far as this process can tell."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return nn.Sequential(nn.Linear(300, 300)), torch.randn(1, 300)
