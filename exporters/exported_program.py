"""torch's own exported program, `.pt2`: the network as torch sees it, before any compiler."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from exporters import _sources, _torch_graph
from profiler.environment import installed, package_version
from profiler.errors import BadModelFile, MissingPackage
from profiler.types import Format, Graph, Model, Source, Structure

SUFFIX = ".pt2"
PRECISIONS = ("fp32", "fp16", "bf16")
OPTIONS: dict[str, str] = {}
EXTRA = "torch"
INSTALL = "pip install torch==2.13.0"


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    return None if installed("torch") else INSTALL


def versions() -> dict[str, str]:
    """What decides the exported graph."""
    return {"torch": package_version("torch") or "not installed"}


def check(wanted: Format) -> None:
    """There is no option to check."""


def export(model: Model, out: Path, wanted: Format) -> None:
    """Write a torch module, in the precision that is wanted."""
    if missing():
        raise MissingPackage(f"exporting torch programs needs torch: {INSTALL}")
    import torch

    torch.export.save(program(model, wanted.precision), out)


def program(model: Model, precision: str) -> Any:
    """The module as a torch.export.ExportedProgram with static shapes; the module is changed."""
    import torch

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    module, inputs = model.module, model.inputs
    if dtype is not torch.float32:
        module = module.to(dtype)
        inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)
    with torch.no_grad(), contextlib.redirect_stdout(sys.stderr):
        return torch.export.export(module, inputs)


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """A user's ONNX file cannot become an exported program."""
    raise BadModelFile(f"{graph.path} is an ONNX file; torch needs the torch model instead")


def sources(path: Path) -> list[Source]:
    """The operators of the ATen graph with the modules that called them."""
    import torch

    return _sources.of_program(torch.export.load(path))


def structure(path: Path) -> Structure:
    """Operators of the ATen graph, before any fusion. Raises BadModelFile."""
    import torch

    try:
        return _torch_graph.structure(torch.export.load(path))
    except Exception as error:  # torch raises a dozen types for a broken archive
        raise BadModelFile(f"{path} is not an exported program: {str(error)[:300]}") from error
