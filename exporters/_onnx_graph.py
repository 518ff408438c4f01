"""Reading ONNX graphs: whole files only, and what they hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiler.errors import BadModelFile
from profiler.types import Structure

# Names of onnx.TensorProto's types in opclock's words; what is missing goes by ONNX's own name.
TYPES = {
    "FLOAT": "fp32",
    "FLOAT16": "fp16",
    "BFLOAT16": "bf16",
    "DOUBLE": "fp64",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
MATRIX_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum")
Shapes = dict[str, tuple[int, ...]]


def read(path: Path) -> Any:
    """A checked ModelProto with its weights. Raises BadModelFile."""
    import onnx

    model = parse(path)
    try:
        _check(model)
    except onnx.checker.ValidationError as error:
        raise _broken(path, error) from error
    return model


def parse(path: Path) -> Any:
    """A ModelProto with its weights, of a file that was checked before. Raises BadModelFile."""
    import google.protobuf.message
    import onnx

    if not path.is_file():
        raise BadModelFile(f"{path}: no such file")
    try:
        model = onnx.load(str(path))
    except (google.protobuf.message.DecodeError, onnx.checker.ValidationError) as error:
        raise _broken(path, error) from error
    except (OSError, ValueError) as error:
        raise BadModelFile(f"{path}: its external weights cannot be read: {error}") from error
    if not model.graph.node:
        raise BadModelFile(f"{path} is not a whole ONNX file: its graph has no operators")
    return model


def _broken(path: Path, error: Exception) -> BadModelFile:
    return BadModelFile(f"{path} is not a whole ONNX file: {str(error)[:300]}")


def _check(model: Any) -> None:
    """Raise what onnx's checker raises; whether an operator exists is the runtime's to say."""
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        if "No Op registered" not in str(error):
            raise


def structure(model: Any) -> Structure:
    """What a ModelProto holds."""
    operators: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    _count(attribute.t, weights)
        else:
            operators[node.op_type] += 1
    for tensor in model.graph.initializer:
        _count(tensor, weights)
    known = {t.name for t in model.graph.initializer}
    return Structure(
        operators=dict(operators),
        weights=dict(weights),
        macs=_macs(model),
        inputs=tuple(_described(i) for i in model.graph.input if i.name not in known),
        outputs=tuple(_described(o) for o in model.graph.output),
        notes=(f"opset {_opset(model)}", *_kept_notes(model)),
    )


def _kept_notes(model: Any) -> list[str]:
    """What the exporter wrote into the graph's metadata."""
    return [p.value for p in model.metadata_props if p.key.startswith("opclock.")]


def _opset(model: Any) -> int:
    found = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return int(found[0]) if found else 0


def type_name(number: int) -> str:
    """Our word for a TensorProto type."""
    import onnx

    name = str(onnx.TensorProto.DataType.Name(number))
    return TYPES.get(name, name.lower())


def _count(tensor: Any, weights: Counter[str]) -> None:
    weights[type_name(tensor.data_type)] += math.prod(tensor.dims)


def _described(value: Any) -> str:
    kind = value.type.tensor_type
    sizes = ",".join(str(d.dim_value or d.dim_param or "?") for d in kind.shape.dim)
    return f"{value.name}: {type_name(kind.elem_type)}[{sizes}]"


def _macs(model: Any) -> int | None:
    """Multiply-adds of convolutions and matrix products; None when a shape is not in the file."""
    shapes = _shapes(model)
    total = 0
    for node in model.graph.node:
        if node.op_type not in MATRIX_PRODUCTS:
            continue
        try:
            total += _node_macs(node, shapes)
        except KeyError:
            return None
    return total


def _shapes(model: Any) -> Shapes:
    shapes: Shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        sizes = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        if all(sizes):
            shapes[value.name] = sizes
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    shapes[node.output[0]] = tuple(attribute.t.dims)
        elif node.op_type in ("DequantizeLinear", "QuantizeLinear") and node.input[0] in shapes:
            shapes.setdefault(node.output[0], shapes[node.input[0]])
    return shapes


def _node_macs(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type == "Einsum":
        return _einsum_macs(node, shapes)
    left, right = shapes[node.input[0]], shapes[node.input[1]]
    if node.op_type == "Conv":
        return math.prod(shapes[node.output[0]]) * math.prod(right[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:])
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(shapes[node.output[0]]) * left[0 if transposed else -1]
    return math.prod(shapes[node.output[0]]) * left[-1]


def _einsum_macs(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The product of all letters' sizes; one operand alone is a sum or a transposition."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
    if len(node.input) < 2:
        return 0
    sizes: dict[str, int] = {}
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    for letters, name in zip(terms, node.input, strict=True):
        sizes.update(zip(letters, shapes[name], strict=True))
    return math.prod(sizes.values())
