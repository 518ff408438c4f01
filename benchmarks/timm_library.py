"""The one place that imports timm, and that tolerates a torchvision without native operators.

torchvision's wheel is built against CUDA's torch: beside a CPU build its native operators do
not load, and the import fails on the first one that it looks up. Only detection networks call
them; declaring them lets everything else work.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

INSTALL = "pip install torch==2.13.0 torchvision==0.28.0 timm==1.0.31"
_declarations: list[Any] = []


@functools.cache
def timm() -> Any:
    """The timm package. Raises MissingPackage with the line that installs it."""
    from profiler.errors import MissingPackage

    try:
        _tolerate_torchvision()
        import timm as library
    except ImportError as error:
        raise MissingPackage(f"timm's networks need timm and torchvision: {INSTALL}") from error
    return library


def _tolerate_torchvision() -> None:
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        # The declarations live as long as the object that made them.
        _declarations.append(library)
        import torchvision  # noqa: F401
