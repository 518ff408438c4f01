"""Networks that come as files: ONNX graphs and torch's exported programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from profiler.errors import BadModelFile, DynamicShape
from profiler.types import Graph, Model


def onnx(path: str, sha256: str, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """An ONNX file as it is; `sha256` only makes the workload's identity depend on its content."""
    return Graph(Path(path), {k: tuple(v) for k, v in (shapes or {}).items()})


def exported_program(path: str, sha256: str) -> Model:
    """What `torch.export.save` wrote, with its own weights and example inputs.

    Raises BadModelFile when it cannot be read or has no example inputs, DynamicShape when a
    dimension is symbolic.
    """
    import torch

    try:
        program = torch.export.load(path)
    except Exception as error:  # torch raises a dozen types for a broken archive
        raise BadModelFile(f"{path} is not an exported program: {error}") from error
    if program.example_inputs is None:
        raise BadModelFile(f"{path} holds no example inputs: export it again with them")
    inputs, keywords = program.example_inputs
    if keywords:
        raise BadModelFile(
            f"{path} takes keyword inputs ({', '.join(keywords)}): export it without"
        )
    for node in program.graph.nodes:
        if node.op != "placeholder" or not hasattr(node.meta.get("val"), "shape"):
            continue
        for number, size in enumerate(node.meta["val"].shape):
            if not isinstance(size, int):
                raise DynamicShape(
                    f"{path}: dimension {number} ({size}) of input {node.name!r} is dynamic; "
                    "a latency needs a number: export it again without dynamic_shapes"
                )
    return Model(program.module(), tuple(inputs))
