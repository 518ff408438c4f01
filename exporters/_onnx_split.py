"""An ONNX graph taken apart: every operator as a graph of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def split(path: Path, folder: Path) -> list[Path]:
    """A file for each operator, in the graph's order; equal operators share one.

    Weights stay inside, other inputs become inputs. Operators that compute shapes of constants
    only are left out.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    graph = model.graph
    values = {v.name: v for v in (*graph.input, *graph.value_info, *graph.output)}
    weights = {t.name: t for t in graph.initializer}
    constants = {n.output[0]: n for n in graph.node if n.op_type == "Constant"}
    files = []
    for node in graph.node:
        fed = [i for i in node.input if i in values and i not in weights and i not in constants]
        if node.op_type == "Constant" or not fed:
            continue
        single = _single(model, node, dict.fromkeys(fed), values, weights, constants)
        name = hashlib.sha256(_signature(single)).hexdigest()[:16]
        file = folder / f"{node.op_type}-{name}.onnx"
        if not file.exists():
            onnx.save_model(single, str(file))
        files.append(file)
    return files


def _single(
    model: Any,
    node: Any,
    fed: Mapping[str, None],
    values: Mapping[str, Any],
    weights: Mapping[str, Any],
    constants: Mapping[str, Any],
) -> Any:
    import onnx

    single = onnx.ModelProto()
    single.ir_version = model.ir_version
    single.opset_import.extend(model.opset_import)
    single.graph.name = "operator"
    names = {n: f"input{i}" for i, n in enumerate(fed)}
    names |= {n: f"weight{i}" for i, n in enumerate(node.input) if n and n not in fed}
    names |= {n: f"output{i}" for i, n in enumerate(node.output) if n}
    for old in fed:
        described = single.graph.input.add()
        described.name = names[old]
        described.type.CopyFrom(values[old].type)
    for old in dict.fromkeys(node.input):
        if old in weights:
            single.graph.initializer.add().CopyFrom(weights[old])
            single.graph.initializer[-1].name = names[old]
        elif old in constants:
            copy = single.graph.node.add()
            copy.CopyFrom(constants[old])
            copy.name, copy.output[0] = names[old], names[old]
    copy = single.graph.node.add()
    copy.CopyFrom(node)
    copy.name, copy.doc_string = "operator", ""
    del copy.metadata_props[:]
    copy.input[:] = [names.get(n, "") for n in node.input]
    copy.output[:] = [names.get(n, "") for n in node.output]
    for old in node.output:
        if old:
            described = single.graph.output.add()
            described.name = names[old]
            described.type.CopyFrom(values[old].type)
    return single


def _signature(single: Any) -> bytes:
    """What two equal operators have in common: all but the values of their weights."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(single)
    for tensor in bare.graph.initializer:
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    return bytes(bare.SerializeToString(deterministic=True))
