"""LiteRT (`.tflite`), through torch.export and litert_torch; smaller types by ai_edge_quantizer.

`fp16` stores the weights of convolutions, matrix products and embeddings in half, with a
DEQUANTIZE before each: what computes in half is the runtime's choice. `int8` quantises weights per
channel; activations stay float32 and are quantised while the model runs (`quantization=dynamic`,
what LiteRT recommends for CPUs), or are int8 as well (`quantization=static`, calibrated with
random inputs of a fixed seed; inputs and outputs stay float32).

64-bit inputs and outputs become 32-bit ones, as LiteRT's delegates want them.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporters import _litert_file, _torch_graph
from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import BadModelFile, BadTarget, MissingPackage, UnsupportedOperator
from profiler.types import Format, Graph, Model, Source, Structure

SUFFIX = ".tflite"
PRECISIONS = ("fp32", "fp16", "int8")
OPTIONS = {"layout": "nchw", "quantization": "dynamic"}
CHOICES = {"layout": ("nchw", "nhwc"), "quantization": ("dynamic", "static")}
EXTRA = "litert"
INSTALL = "pip install torch==2.13.0 litert-torch==0.10.0"
SIGNATURE = "serving_default"
# Those that ai_edge_quantizer can give half-precision weights.
WITH_HALF_WEIGHTS = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "CONV_2D_TRANSPOSE",
    "FULLY_CONNECTED",
    "EMBEDDING_LOOKUP",
)
CALIBRATION_SAMPLES = 16
CALIBRATION_SEED = 0


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    return None if all(installed(m) for m in ("torch", "litert_torch")) else INSTALL


def versions() -> dict[str, str]:
    """What decides the artifact: jax lowers most of torch's operators."""
    names = ("torch", "litert-torch", "litert-converter", "ai-edge-quantizer", "jax")
    return {n: package_version(n) or "not installed" for n in names}


def check(wanted: Format) -> None:
    """Raise BadTarget on an option's value that LiteRT does not take, or that has no effect."""
    choices.check(wanted, CHOICES)
    if wanted.options["quantization"] != OPTIONS["quantization"] and wanted.precision != "int8":
        raise BadTarget(f"format {wanted}: quantization= is for int8")


def export(model: Model, out: Path, wanted: Format) -> None:
    """Write a torch module as `.tflite`. Raises UnsupportedOperator with operator and module."""
    if missing():
        raise MissingPackage(f"exporting to LiteRT needs torch and litert_torch: {INSTALL}")
    with contextlib.redirect_stdout(sys.stderr):
        import litert_torch

        arranged = _channels_last(model) if wanted.options["layout"] == "nhwc" else model
        try:
            converted = litert_torch.convert(arranged.module.eval(), arranged.inputs)
        except Exception as error:
            explained = _explained(error)
            # An error that is its own cause would have no first cause.
            if explained is error:
                raise
            raise explained from error
        if wanted.precision == "fp32":
            converted.export(str(out))
        else:
            content = converted.model_content()
            del converted
            _quantize(content, arranged.inputs, wanted, out)


def in_order(names: Mapping[str, int], indices: Sequence[int]) -> list[tuple[str, int]]:
    """A signature's names and tensors in torch's order, for whoever runs the file."""
    return _litert_file.in_order(names, indices)


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """An ONNX file cannot become a LiteRT file here."""
    raise BadModelFile(f"{graph.path} is an ONNX file; LiteRT's converter takes the torch model")


def sources(path: Path) -> list[Source]:
    """The file's operators with the modules that its tensors' names tell."""
    return _litert_file.sources(path)


def structure(path: Path) -> Structure:
    """What a file holds. Raises BadModelFile when it is truncated or of another format."""
    if not installed("ai_edge_litert"):
        raise MissingPackage(f"reading a LiteRT file needs ai_edge_litert: {INSTALL}")
    return _litert_file.structure(path)


def _channels_last(model: Model) -> Model:
    """The model with its 4-D inputs and outputs as (n, h, w, c); outputs become a flat tuple."""
    import litert_torch
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model.module

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            return tuple(torch.utils._pytree.tree_leaves(self.network(*inputs)))

    flat = Flat().eval()
    with torch.no_grad():
        outputs = flat(*model.inputs)
    module = litert_torch.to_channel_last_io(
        flat,
        args=[i for i, x in enumerate(model.inputs) if x.dim() == 4],
        outputs=[i for i, x in enumerate(outputs) if x.dim() == 4],
    )
    inputs = [x.permute(0, 2, 3, 1).contiguous() if x.dim() == 4 else x for x in model.inputs]
    return Model(module, tuple(inputs))


def _explained(error: Exception) -> Exception:
    """UnsupportedOperator where the converter met something that it cannot express."""
    reason = str(error).partition("\n")[0]
    node = _torch_graph.failed_node(error)
    if node is not None:
        place = _torch_graph.place(node, "wrapped.network")
        return UnsupportedOperator(f"LiteRT has no {node.target}{place}: {reason}")
    # Later stages know the line of Python that an operator came from.
    found = re.search(
        r"([\w.]+\.py):(\d+):\d+: error: failed to legalize operation '([^']+)'", reason
    )
    if found:
        file, line, name = found.groups()
        return UnsupportedOperator(f"LiteRT has no {name} as {file}, line {line}, calls it")
    return error


def _quantize(content: bytes, inputs: tuple[Any, ...], wanted: Format, out: Path) -> None:
    from ai_edge_quantizer import quantizer, recipe

    # The quantizer wants a buffer that it may write to.
    buffer = bytearray(content)
    work = quantizer.Quantizer(buffer)
    ranges = None
    if wanted.precision == "fp16":
        _ask_for_half_weights(work)
    elif wanted.options["quantization"] == "dynamic":
        work.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    else:
        keep = {"regex": ".*", "algorithm_key": "no_quantize"}
        rules = recipe.static_wi8_ai8() + [{**keep, "operation": e} for e in ("INPUT", "OUTPUT")]
        work.load_quantization_recipe(rules)
        ranges = _ranges(buffer, rules, inputs)
    work.quantize(
        ranges,
        serialize_to_path=str(out),
        enable_progress_bar=False,
        enable_progress_report=False,
    )


def _ranges(buffer: bytearray, rules: Any, inputs: tuple[Any, ...]) -> Any:
    """Smallest and largest value of every activation over some random inputs.

    The quantizer itself would average the extremes of the inputs, and cut off what lies beyond.
    """
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(rules)
    work = calibrator.Calibrator(buffer, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    work.calibrate({SIGNATURE: list(_samples(inputs))}, manager)
    return work.get_model_qsvs()


def _ask_for_half_weights(work: Any) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    half = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    for name in WITH_HALF_WEIGHTS:
        operation = getattr(qtyping.TFLOperationName, name)
        work.update_quantization_recipe(".*", operation, half, AlgorithmName.FLOAT_CASTING)


def _samples(inputs: tuple[Any, ...]) -> Iterable[dict[str, Any]]:
    """Normal random floats, as the worker feeds them; other types as they were given."""
    import torch

    narrow = {torch.int64: torch.int32, torch.float64: torch.float32}
    generator = torch.Generator().manual_seed(CALIBRATION_SEED)
    for _ in range(CALIBRATION_SAMPLES):
        tensors = [
            torch.randn(x.shape, generator=generator) if x.is_floating_point() else x
            for x in inputs
        ]
        yield {
            f"args_{i}": x.to(narrow.get(x.dtype, x.dtype)).numpy() for i, x in enumerate(tensors)
        }
