"""Every network of timm, by timm's own name, with random weights."""

from __future__ import annotations

from benchmarks.timm_library import timm
from profiler.types import Model


def names() -> list[str]:
    """All of timm's names."""
    return list(timm().list_models())


def create(name: str, batch: int = 1) -> Model:
    """A network at its own input size: (batch, channels, height, width), float32."""
    import torch

    model = timm().create_model(name, pretrained=False)
    shape = model.pretrained_cfg["input_size"]
    return Model(model.eval(), (torch.randn(batch, *shape),))
