"""What Android's NNAPI and Core ML, as ONNX Runtime drives them, would make of a graph.

NNAPI takes a set of operators with static shapes; the rest falls back to the CPU, and each change
of place costs a copy. ONNX Runtime ships the lists of operators and a checker, which run anywhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from profiler.environment import installed
from profiler.errors import MissingPackage
from profiler.types import Model

INSTALL = "pip install onnxruntime==1.31.1"
VERDICT_KEY = "opclock.nnapi"
VERDICTS = {0: "no", 1: "perhaps", 2: "yes"}


def prepare(model: Model) -> Model:
    """Write layers that NNAPI does not have out in operators that it has, in place.

    Layer and group normalisation, HardSwish and HardSigmoid; only where they are modules. GELU is
    a choice of its own (`gelu=tanh`), because the tanh form computes something slightly else.
    """
    import torch
    from torch import nn

    class Normalization(nn.Module):
        """Over all axes after the first for one group, over the last ones for a layer norm."""

        def __init__(self, norm: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> None:
            super().__init__()
            self.axes, self.epsilon = axes, norm.eps
            self.weight = nn.Parameter(norm.weight.detach().reshape(shape))
            self.bias = nn.Parameter(norm.bias.detach().reshape(shape))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            centred = x - x.mean(self.axes, keepdim=True)
            variance = (centred * centred).mean(self.axes, keepdim=True)
            return centred / torch.sqrt(variance + self.epsilon) * self.weight + self.bias

    class HardSigmoid(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.clamp(x + 3.0, 0.0, 6.0) * (1 / 6)

    class HardSwish(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (torch.clamp(x + 3.0, 0.0, 6.0) * (1 / 6))

    def written_out(layer: nn.Module) -> nn.Module | None:
        kind = type(layer).__name__
        if kind == "LayerNorm2d" and isinstance(layer, nn.LayerNorm):  # timm's, over channels
            return Normalization(layer, (1,), (layer.normalized_shape[0], 1, 1))
        if isinstance(layer, nn.LayerNorm) and layer.elementwise_affine:
            axes = tuple(range(-len(layer.normalized_shape), 0))
            return Normalization(layer, axes, tuple(layer.normalized_shape))
        if isinstance(layer, nn.GroupNorm) and layer.num_groups == 1 and layer.affine:
            return Normalization(layer, (1, 2, 3), (layer.num_channels, 1, 1))
        simple = {"Hardswish": HardSwish, "HardSwish": HardSwish, "Hardsigmoid": HardSigmoid}
        found = simple.get(kind)
        return found() if found else None

    for parent in list(model.module.modules()):
        for name, child in parent.named_children():
            replacement = written_out(child)
            if replacement is not None:
                setattr(parent, name, replacement.eval())
    return model


def simplify(path: Path) -> None:
    """Optimise a graph as far as NNAPI allows, in place.

    ONNX Runtime's basic level only: the higher ones make operators such as FusedConv that NNAPI
    does not have.
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        done = Path(name, "basic.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(done)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        simplified = onnx.shape_inference.infer_shapes(onnx.load(str(done)))
        onnx.save_model(simplified, str(path))


def write_verdict(path: Path) -> None:
    """Keep what NNAPI would make of a graph in the graph's own metadata."""
    import onnx

    verdict = verdicts(path)[0]
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {VERDICT_KEY: verdict})
    onnx.save_model(model, str(path))


def verdicts(path: Path) -> list[str]:
    """One sentence for each of NNAPI and Core ML's two forms."""
    if not installed("onnxruntime"):
        raise MissingPackage(f"the verdict on phones needs ONNX Runtime's checker: {INSTALL}")
    from onnxruntime.tools.mobile_helpers import usability_checker as checker

    model = _basic(path)
    checks: dict[str, Callable[[], Any]] = {
        "NNAPI": lambda: checker.check_nnapi_partitions(model, True),
        "Core ML (ML Program)": lambda: checker.check_coreml_partitions(
            model, True, "coreml_supported_mlprogram_ops.md"
        ),
        "Core ML (neural network)": lambda: checker.check_coreml_partitions(
            model, True, "coreml_supported_neuralnetwork_ops.md"
        ),
    }
    return [_sentence(name, check()) for name, check in checks.items()]


def _basic(path: Path) -> Any:
    import onnx
    from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo, optimize_model

    with tempfile.TemporaryDirectory() as name:
        basic = Path(name, "basic.onnx")
        optimize_model(path, basic, use_external_initializers=True)
        holder = ModelProtoWithShapeInfo(basic)
        model = onnx.ModelProto()
        model.CopyFrom(holder.model_with_shape_info)
        return model


def _sentence(name: str, found: Any) -> str:
    share = found.num_supported_nodes / max(1, found.num_nodes)
    lacking = ", ".join(sorted(o.removeprefix("ai.onnx:") for o in found.unsupported_ops))
    count = found.num_partitions
    return (
        f"{name}: {VERDICTS[int(found.suitability())]}; {count} partition{'s'[: count != 1]} with "
        f"{found.num_supported_nodes} of {found.num_nodes} operators, {1 - share:.0%} fall back"
        + (f"; not supported: {lacking}" if lacking else "")
    )
