"""OpenVINO's intermediate representation: `.xml` and the weights beside it, `.bin`."""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporters import _onnx_chain, _sources, exported_program, onnx
from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import BadModelFile, BadTarget, MissingPackage
from profiler.types import Format, Graph, Model, Source, Structure

SUFFIX = ".xml"
PRECISIONS = ("fp32", "fp16", "int8")
# The graph comes from ONNX, or from torch's exported program.
OPTIONS = {"source": "onnx", "opset": onnx.OPTIONS["opset"], "calibration": "random"}
EXTRA = "openvino"
INSTALL = "pip install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 openvino==2026.4.1"
TYPES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "f64": "fp64", "i8": "int8", "u8": "uint8"}
TYPES |= {"i32": "int32", "i64": "int64", "boolean": "bool"}
# What describes the graph and is not executed.
NOT_OPERATORS = ("Constant", "Parameter", "Result")


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    return INSTALL if onnx.missing() or not installed("openvino") else None


def versions() -> dict[str, str]:
    """What decides the graph."""
    return {**onnx.versions(), "openvino": package_version("openvino") or "not installed"}


def check(wanted: Format) -> None:
    """Raise BadTarget on an option value that does not exist."""
    onnx.check(_as_onnx(wanted))
    choices.check(wanted, {"source": ("onnx", "torch")})
    if wanted.options["source"] == "torch" and wanted.precision == "int8":
        raise BadTarget(f"format {wanted}: int8 is quantised in ONNX; leave source=torch out")


def _as_onnx(wanted: Format) -> Format:
    """The ONNX file that comes first; OpenVINO itself stores float16."""
    shared = {k: v for k, v in wanted.options.items() if k in onnx.OPTIONS}
    precision = "int8" if wanted.precision == "int8" else "fp32"
    return Format("onnx", precision, {**onnx.OPTIONS, **shared})


def export(model: Model, out: Path, wanted: Format) -> None:
    """Write a torch module."""
    if missing():
        raise MissingPackage(f"exporting to OpenVINO needs its package: {INSTALL}")
    if wanted.options["source"] == "torch":
        import openvino

        program = exported_program.program(model, "fp32")
        shapes = [openvino.PartialShape(list(x.shape)) for x in model.inputs]
        _save(_convert(program, input=shapes), out, wanted)
        _sources.write(out, _sources.of_program(program))
        return
    with tempfile.TemporaryDirectory() as name:
        graph = Path(name, "model.onnx")
        onnx.export(model, graph, _as_onnx(wanted))
        _save(_convert(graph), out, wanted)
        _sources.write(out, onnx.sources(graph))


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """Convert a user's own ONNX file. Raises as exporters.onnx.adopt does."""
    if missing():
        raise MissingPackage(f"converting to OpenVINO needs its package: {INSTALL}")
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name, "model.onnx")
        onnx.adopt(graph, copy, _as_onnx(wanted))
        _save(_convert(copy), out, wanted)
        _sources.write(out, onnx.sources(copy))


def parts(wanted: Format) -> Format:
    """The format of the parts from which this format is composed."""
    return _as_onnx(wanted)


def compose(parts: Sequence[Path], out: Path) -> Structure:
    """Chain ONNX files as exporters.onnx.compose does, and convert the whole."""
    import openvino

    with tempfile.TemporaryDirectory() as name:
        graph = Path(name, "model.onnx")
        chain = _onnx_chain.chained(parts)
        chain.save(graph)
        openvino.save_model(_convert(graph), str(out), compress_to_fp16=False)
        _sources.write(out, _sources.of_onnx(chain.model))
    return structure(out)


def _convert(source: Any, **arguments: Any) -> Any:
    """OpenVINO's converter, which folds what is constant; what it prints belongs into the log."""
    import openvino

    with contextlib.redirect_stdout(sys.stderr):
        return openvino.convert_model(source, **arguments)


def _save(model: Any, out: Path, wanted: Format) -> None:
    import openvino

    openvino.save_model(model, str(out), compress_to_fp16=wanted.precision == "fp16")


def sources(path: Path) -> list[Source]:
    """The operators of the graph that was converted, from the file beside the representation."""
    return _sources.read(path)


def structure(path: Path) -> Structure:
    """What the representation holds, before it is compiled. Raises BadModelFile."""
    import openvino

    if not path.is_file() or not path.with_suffix(".bin").is_file():
        raise BadModelFile(f"{path}: an .xml and the .bin beside it are needed")
    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        first = str(error).strip().splitlines()
        raise BadModelFile(f"{path} is not a whole OpenVINO model: {first[-1][:300]}") from error
    operators: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    macs = 0
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "Constant":
            name = node.get_element_type().get_type_name()
            weights[TYPES.get(name, name)] += math.prod(node.get_output_shape(0))
        elif kind not in NOT_OPERATORS:
            operators[kind] += 1
            macs += int(_macs(node, kind))
    return Structure(
        operators=dict(operators),
        weights=dict(weights),
        macs=macs,
        inputs=tuple(_described(i) for i in model.inputs),
        outputs=tuple(_described(o) for o in model.outputs),
    )


def _described(port: Any) -> str:
    kind = port.get_element_type().get_type_name()
    name = port.get_any_name() if port.get_names() else "unnamed"
    sizes = ",".join(str(d) for d in port.get_partial_shape())
    return f"{name}: {TYPES.get(kind, kind)}[{sizes}]"


def _macs(node: Any, kind: str) -> Any:
    if kind in ("Convolution", "GroupConvolution"):
        kernel = list(node.get_input_shape(1))
        # Weights are (out, in, ...), with the groups in front if there are groups.
        return math.prod(node.get_output_shape(0)) * math.prod(kernel[_lead(kind) :])
    if kind in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):
        kernel = list(node.get_input_shape(1))
        return math.prod(node.get_input_shape(0)) * math.prod(kernel[_lead(kind) :])
    if kind == "ScaledDotProductAttention":
        query, key, value = (list(node.get_input_shape(i)) for i in range(3))
        return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    if kind == "MatMul":
        left = list(node.get_input_shape(0))
        inner = left[-2] if node.get_attributes().get("transpose_a") else left[-1]
        return math.prod(node.get_output_shape(0)) * inner
    return 0


def _lead(kind: str) -> int:
    return 2 if kind.startswith("Group") else 1
