"""ONNX, opset 20, static shapes, weights inside the file (beside it from 1.8 GB on).

Through torch.export and `torch.onnx.export(dynamo=True)`: GELU stays one node, and every node
carries the module that it came from. Blocks and whole networks go through the same exporter, so
that they are made of the same operators.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.environment import installed, package_version
from profiler.errors import BadModelFile, DynamicShape, MissingPackage
from profiler.types import Graph, Model

SUFFIX = ".onnx"
OPSET = 20
INSTALL = "pip install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2"
# Protocol buffers end at 2 GiB; larger weights go into a file beside the graph.
MAX_INSIDE_BYTES = 1_800_000_000


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    return None if all(installed(m) for m in ("torch", "onnx", "onnxscript")) else INSTALL


def versions() -> dict[str, str]:
    """What decides the exported graph."""
    names = ("torch", "onnx", "onnxscript")
    return {"opset": str(OPSET), **{n: package_version(n) or "not installed" for n in names}}


def export(model: Model, out: Path) -> dict[str, Any]:
    """Write a torch module as ONNX. Returns the facts of the graph (see `facts`)."""
    if missing():
        raise MissingPackage(f"exporting to ONNX needs torch and onnx: {INSTALL}")
    import torch

    _keep_operator_registry()
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            model.module, model.inputs, dynamo=True, opset_version=OPSET, verbose=False
        )
    assert program is not None
    size = sum(p.numel() * p.element_size() for p in model.module.parameters())
    program.save(str(out), external_data=size > MAX_INSIDE_BYTES)
    return facts(out)


@functools.cache
def _keep_operator_registry() -> None:
    """Let torch make its registry of ONNX translations once, not for every export.

    It parses 500 functions each time, which is two thirds of a small block's export. The name
    is private to torch; where it is gone, exports only take longer.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from torch.onnx._internal.exporter import _registration

        registry = _registration.ONNXRegistry
        registry.from_torchlib = staticmethod(  # type: ignore[method-assign]
            functools.cache(registry.from_torchlib)
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints; what it prints belongs into the log."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def adopt(graph: Graph, out: Path) -> dict[str, Any]:
    """Copy a user's own file, with its external weights, after making sure that it can be used.

    Raises BadModelFile when it is not ONNX or truncated, DynamicShape when an input dimension
    has no number and none was given.
    """
    if not installed("onnx"):
        raise MissingPackage(
            "reading an ONNX file needs the onnx package: pip install onnx==1.23.2"
        )
    import onnx

    model = _read(graph.path)
    _fix_shapes(model, graph)
    size = sum(len(t.raw_data) for t in model.graph.initializer)
    onnx.save_model(
        model,
        str(out),
        save_as_external_data=size > MAX_INSIDE_BYTES,
        location=out.name + ".data",
    )
    return facts(out)


def _read(path: Path) -> Any:
    import google.protobuf.message
    import onnx

    if not path.is_file():
        raise BadModelFile(f"{path}: no such file")
    try:
        model = onnx.load(str(path))
        _check(model)
    except (google.protobuf.message.DecodeError, onnx.checker.ValidationError) as error:
        raise BadModelFile(f"{path} is not a whole ONNX file: {str(error)[:300]}") from error
    except (OSError, ValueError) as error:
        raise BadModelFile(f"{path}: its external weights cannot be read: {error}") from error
    if not model.graph.node:
        raise BadModelFile(f"{path} is not a whole ONNX file: its graph has no operators")
    return model


def _check(model: Any) -> None:
    """Raise what onnx's checker raises; whether an operator exists is the runtime's to say."""
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        if "No Op registered" not in str(error):
            raise


def _fix_shapes(model: Any, graph: Graph) -> None:
    known = {t.name for t in model.graph.initializer}
    inputs = {i.name: i for i in model.graph.input if i.name not in known}
    for name in graph.shapes:
        if name not in inputs:
            raise BadModelFile(
                f"{graph.path} has no input {name!r}; its inputs: {', '.join(inputs)}"
            )
    for name, value in inputs.items():
        dimensions = value.type.tensor_type.shape.dim
        wanted = graph.shapes.get(name)
        if wanted and len(wanted) != len(dimensions):
            raise BadModelFile(
                f"input {name!r} has {len(dimensions)} dimensions, not {len(wanted)}"
            )
        for number, dimension in enumerate(dimensions):
            if dimension.dim_value > 0 and (not wanted or wanted[number] == dimension.dim_value):
                continue
            if not wanted:
                label = dimension.dim_param or "unnamed"
                shape = ",".join(str(d.dim_value or "?") for d in dimensions)
                raise DynamicShape(
                    f"{graph.path}: dimension {number} ({label}) of input {name!r} is dynamic; "
                    f"a latency needs a number: give the whole shape, as in --shape {name}={shape}"
                )
            if dimension.dim_value > 0:
                raise BadModelFile(
                    f"dimension {number} of input {name!r} is {dimension.dim_value}, "
                    f"it cannot become {wanted[number]}"
                )
            dimension.dim_value = wanted[number]
    if graph.shapes:
        # What was inferred from the old shapes no longer holds.
        del model.graph.value_info[:]


def compose(parts: Sequence[Path], out: Path) -> dict[str, Any]:
    """Chain artifacts of one input and one output each: every output feeds the next input.

    A part that occurs several times gets weights of its own each time (the same values, rolled),
    so that no cache and no runtime can take two blocks for one.
    """
    import onnx

    whole = onnx.ModelProto()
    feed = ""
    for number, path in enumerate(parts):
        part = onnx.load(str(path))
        if not number:
            whole.CopyFrom(part)
            whole.graph.ClearField("node")
            whole.graph.ClearField("initializer")
            whole.graph.ClearField("value_info")
            whole.graph.ClearField("output")
            feed = part.graph.input[0].name
        names = {part.graph.input[0].name: feed}
        _append(whole.graph, part.graph, f"b{number}/", names, number)
        feed = names[part.graph.output[0].name]
        if number == len(parts) - 1:
            output = whole.graph.output.add()
            output.CopyFrom(part.graph.output[0])
            output.name = feed
    onnx.save_model(whole, str(out))
    return _facts(whole)


def _append(graph: Any, part: Any, prefix: str, names: dict[str, str], number: int) -> None:
    import numpy
    import onnx

    for tensor in part.initializer:
        names[tensor.name] = prefix + tensor.name
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = names[tensor.name]
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.raw_data:
            values = numpy.frombuffer(tensor.raw_data, dtype="<f4")
            copy.raw_data = numpy.roll(values, number).tobytes()
    for node in part.node:
        for name in node.output:
            names.setdefault(name, prefix + name)
    for node in part.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        copy.input[:] = [names[n] if n else "" for n in node.input]
        copy.output[:] = [names[n] if n else "" for n in node.output]


def facts(path: Path) -> dict[str, Any]:
    """What a graph holds: {operators: by type, parameters: floats in it, precision}."""
    import onnx

    return _facts(onnx.load(os.fspath(path), load_external_data=False))


def _facts(model: Any) -> dict[str, Any]:
    import onnx

    floats = {
        onnx.TensorProto.FLOAT: "fp32",
        onnx.TensorProto.FLOAT16: "fp16",
        onnx.TensorProto.BFLOAT16: "bf16",
        onnx.TensorProto.DOUBLE: "fp64",
    }
    operators: dict[str, int] = {}
    counts: dict[str, int] = {}
    for node in model.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                _count(attribute.t, floats, counts)
    for tensor in model.graph.initializer:
        _count(tensor, floats, counts)
    precision = max(counts, key=lambda name: counts[name]) if counts else "fp32"
    return {"operators": operators, "parameters": sum(counts.values()), "precision": precision}


def _count(tensor: Any, floats: Mapping[Any, str], counts: dict[str, int]) -> None:
    size = 1
    for dimension in tensor.dims:
        size *= dimension
    if tensor.data_type in floats:
        name = floats[tensor.data_type]
        counts[name] = counts.get(name, 0) + size
