"""Every network of timm, by timm's own name, with random weights."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from benchmarks.timm_library import timm
from profiler.types import Model

REGISTERED = re.compile(r"^@register_model\ndef (\w+)\(", re.MULTILINE)


def names() -> list[str]:
    """All of timm's names, as they stand in its sources: importing it takes seconds, and torch.

    Raises MissingPackage without timm.
    """
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        return list(timm().list_models())
    files = sorted(Path(found.origin).parent.glob("models/*.py"))
    return sorted(n for f in files for n in REGISTERED.findall(f.read_text(encoding="utf-8")))


def create(name: str, batch: int = 1) -> Model:
    """A network at its own input size: (batch, channels, height, width), float32."""
    import torch

    model = timm().create_model(name, pretrained=False)
    shape = model.pretrained_cfg["input_size"]
    return Model(model.eval(), (torch.randn(batch, *shape),))
