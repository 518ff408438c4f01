"""Small networks whose breakdowns are looked at, and how their golden profiles were recorded.

    python -c "from tests.breakdown_nets import record; record()"

profiles `transformer` on every runtime that is here and writes what each profiler gave.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from profiler.encoding import to_json


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.proj(weights @ v)


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """A convolution with its normalisation, two blocks, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.BatchNorm2d(16), nn.ReLU())
        self.pool = nn.AvgPool2d(2)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.pool(self.stem(x)).flatten(2).transpose(1, 2)
        return self.head(self.blocks(tokens).mean(1))


def transformer() -> Any:
    torch.manual_seed(0)
    return Transformer().eval(), torch.randn(1, 3, 32, 32)


def shared() -> Any:
    """One module that is called twice, and has two names."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.GELU())
            self.again = self.layers

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.again(self.layers(self.layers(x)))

    return Twice().eval(), torch.randn(1, 8, 8, 8)


def one_operator() -> Any:
    return nn.ReLU(), torch.randn(1, 8)


NASTY = 'a,"b"\'<script>&\N{SNOWMAN}=1+1'


# What torch's exporter can take of it.
STRANGE = NASTY.replace('"', "")


def strange() -> Any:
    """A module whose name is what a file may stumble over."""
    net = nn.Sequential()
    net.add_module(STRANGE, nn.Linear(4, 4))
    net.add_module("plain", nn.ReLU())
    return net, torch.randn(1, 4)


GOLDEN = Path(__file__).resolve().parent / "golden" / "profiles"


def record(folder: Path = GOLDEN) -> None:
    """Write each profiler's own output on `transformer`, three inferences after one."""
    from exporters import executorch, litert, onnx, openvino
    from profiler import devices, formats
    from profiler.types import Model
    from tests import golden_profiles

    module, example = transformer()
    made = {"onnxruntime": onnx, "openvino": openvino, "executorch": executorch, "litert": litert}
    for name, exporter in made.items():
        with tempfile.TemporaryDirectory() as place:
            target = devices.target(f"host/{name}")
            out = Path(place, f"net{exporter.SUFFIX}")
            exporter.export(Model(module, (example,)), out, formats.executed_by(target))
            written = getattr(golden_profiles, name)(str(out), target, example.numpy())
            record: dict[str, Any] = {"sources": to_json(exporter.sources(out)), **written}
        (folder / f"{name}.json").write_text(json.dumps(record, indent=None) + "\n")
