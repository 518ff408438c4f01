"""Reading ExecuTorch programs: kernel calls, delegates, and the graphs inside delegates.

XNNPACK's graphs are flatbuffers, which the compiler and the schema that ExecuTorch brings turn
into JSON; Core ML's are whole packages. What other backends hold stays unread, and is noted.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporters import _coreml_program
from profiler.errors import BadModelFile
from profiler.types import Structure

# The numbers of the schema's scalar types.
TYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "fp16", 6: "fp32"}
TYPES |= {7: "fp64", 11: "bool", 15: "bf16"}
# Which argument of a matrix product has the summed dimension last.
SUMMED = {"aten::mm": 0, "aten::bmm": 0, "aten::linear": 0, "aten::addmm": 1}
CONVOLUTIONS = ("XNNConv2d", "XNNDepthwiseConv2d", "XNNConvTranspose2d")


def structure(path: Path) -> Structure:
    """What a program holds. Raises BadModelFile when it is truncated or another format."""
    from executorch.exir.schema import DelegateCall, KernelCall, Tensor

    program = _read(path)
    plan = program.execution_plan[0]
    values = [v.val for v in plan.values]
    calls = [i.instr_args for chain in plan.chains for i in chain.instructions]
    kernels = [c for c in calls if isinstance(c, KernelCall)]
    delegates = [plan.delegates[c.delegate_index] for c in calls if isinstance(c, DelegateCall)]
    outside = Counter(_name(plan.operators[c.op_index]) for c in kernels)
    constants = {
        (v.allocation_info is None, v.data_buffer_idx): v
        for v in values
        if isinstance(v, Tensor) and v.data_buffer_idx
    }
    weights: Counter[str] = Counter()
    for tensor in constants.values():
        weights[TYPES.get(tensor.scalar_type, "unknown")] += math.prod(tensor.sizes)
    macs = [
        _kernel_macs(plan.operators[c.op_index].name, [values[i] for i in c.args]) for c in kernels
    ]
    blobs: dict[str, list[bytes]] = {}
    for delegate in plan.delegates:
        data = program.backend_delegate_data[delegate.processed.index].data
        blobs.setdefault(delegate.id, []).append(bytes(data))
    inside = [READERS.get(backend, _unread)(contents) for backend, contents in blobs.items()]
    delegated: Counter[str] = Counter()
    for part in inside:
        delegated.update(part.operators)
        weights.update(part.weights)
        macs.append(part.macs)
    return Structure(
        operators=dict(outside + Counter(f"delegate:{d.id}" for d in delegates)),
        weights=dict(weights),
        macs=None if None in macs else sum(m for m in macs if m is not None),
        inputs=tuple(_signature(f"input{n}", values[i]) for n, i in enumerate(plan.inputs)),
        outputs=tuple(_signature(f"output{n}", values[i]) for n, i in enumerate(plan.outputs)),
        delegated=dict(delegated),
        notes=(_summary(len(delegates), outside), *(n for part in inside for n in part.notes)),
    )


def _read(path: Path) -> Any:
    """The program with its delegates' data, once the engine's own verifier has passed it."""
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.extension.pybindings import portable_lib

    if not path.is_file():
        raise BadModelFile(f"{path}: no such file")
    whole = portable_lib.Verification.InternalConsistency
    try:
        portable_lib._load_program(str(path), program_verification=whole)
        return deserialize_pte_binary(path.read_bytes()).program
    except (RuntimeError, OSError) as error:
        raise BadModelFile(f"{path} is not a whole ExecuTorch program: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadModelFile(f"{path} is broken, or of another ExecuTorch: {error}") from error


def _name(operator: Any) -> str:
    return f"{operator.name}.{operator.overload}" if operator.overload else str(operator.name)


def _summary(delegates: int, outside: Mapping[str, int]) -> str:
    total = sum(outside.values())
    if not delegates:
        return f"no delegate: all {total} operators are ExecuTorch's own kernels"
    most = sorted(outside, key=lambda name: (-outside[name], name))
    names = ": " + ", ".join(f"{outside[n]} {n}" for n in most) if most else ""
    plural = "" if delegates == 1 else "s"
    return f"{delegates} delegate{plural}, {total} operators left outside{names}"


def _signature(name: str, value: Any) -> str:
    """A value as "input0: fp32[1,3,224,224]"; programs have no names."""
    if not hasattr(value, "sizes"):
        return f"{name}: {type(value).__name__}"
    return f"{name}: {TYPES.get(value.scalar_type, 'unknown')}[{','.join(map(str, value.sizes))}]"


def _kernel_macs(name: str, arguments: Sequence[Any]) -> int | None:
    """Multiply-adds of a kernel call, whose last argument is its result."""
    if name != "aten::convolution" and name not in SUMMED:
        return 0
    result = arguments[-1]
    if result.shape_dynamism:
        return None
    if name in SUMMED:
        return int(math.prod((*result.sizes, arguments[SUMMED[name]].sizes[-1])))
    data, kernel, transposed = arguments[0], arguments[1], arguments[6].bool_val
    # (out, in / groups, ...) meets every output, a transposed (in, out / groups, ...) every input.
    return int(math.prod((*(data if transposed else result).sizes, *kernel.sizes[1:])))


def _unread(contents: Sequence[bytes]) -> Structure:
    """Delegates of a backend whose data nobody can read."""
    note = f"what {len(contents)} delegates hold cannot be read: their operators are not counted"
    return Structure({}, {}, None, notes=(note,))


def _core_ml(contents: Sequence[bytes]) -> Structure:
    """Core ML's packages: operators, weights, multiply-adds."""
    from executorch.backends.apple.coreml import executorchcoreml

    operators: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    macs: list[int | None] = []
    for content in contents:
        with tempfile.TemporaryDirectory() as folder:
            executorchcoreml.unflatten_directory_contents(content, folder)
            packages = list(Path(folder).rglob("*.mlpackage"))
            if len(packages) != 1:
                return _unread(contents)
            part = _coreml_program.structure(packages[0])
        operators.update(part.operators)
        weights.update(part.weights)
        macs.append(part.macs)
    total = None if None in macs else sum(m for m in macs if m is not None)
    return Structure(operators, weights, total)


def _xnnpack(contents: Sequence[bytes]) -> Structure:
    """XNNPACK's graphs: node types, constants, multiply-adds."""
    operators: Counter[str] = Counter()
    constants: dict[Any, tuple[str, int]] = {}
    macs = 0
    for number, graph in enumerate(_graphs(contents)):
        shapes = {}
        for value in graph["xvalues"]:
            union = value["xvalue_union"]
            tensor = union.get("tensor_value", union)
            shapes[tensor["id_out"]] = tensor.get("dims", [])
            for index, kind, count in _stored(tensor, union.get("quant_params", {})):
                # Constants of equal content have the same key, and are stored once.
                key = graph["constant_data"][index].get("named_key") or (number, index)
                constants[key] = (kind, count)
        for node in graph["xnodes"]:
            operators[node["xnode_union_type"]] += 1
            macs += _node_macs(node["xnode_union_type"], node["xnode_union"], shapes)
    weights: Counter[str] = Counter()
    for kind, count in constants.values():
        weights[kind] += count
    return Structure(operators, weights, macs)


READERS = {"XnnpackBackend": _xnnpack, "CoreMLBackend": _core_ml}


def _graphs(contents: Sequence[bytes]) -> Iterator[Any]:
    import importlib.resources

    import executorch.backends.xnnpack.serialization as package
    from executorch.exir._serialize._flatbuffer import _get_flatc_path

    schema = importlib.resources.files(package).joinpath("schema.fbs").read_bytes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "schema.fbs").write_bytes(schema)
        files = [folder / f"{number}.bin" for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            # A header XH00 tells where the flatbuffer is, and how long.
            start, size = (int.from_bytes(content[i : i + 4], "little") for i in (10, 14))
            headed = content[4:8] == b"XH00"
            file.write_bytes(content[start : start + size] if headed else content)
        flags = ["--json", "--strict-json", "--defaults-json", "--raw-binary", "schema.fbs", "--"]
        command = [_get_flatc_path(), *flags, *(f.name for f in files)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BadModelFile(f"a delegate of XNNPACK cannot be read: {done.stderr[:300]}")
        for file in files:
            text = file.with_suffix(".json").read_text()
            # Bounds of activations may be infinite, which flatc writes as C does.
            yield json.loads(re.sub(r"(?<=[\[:, ])(-?)inf\b", r"\1Infinity", text))


def _stored(
    tensor: Mapping[str, Any], quantized: Mapping[str, Any]
) -> Iterator[tuple[int, str, int]]:
    """Where, as what and how many numbers of a value are stored: its own, and its scales."""
    if tensor["constant_buffer_idx"]:
        # qcint8, qbint4, quint8, pfp32: quantized or packed, per channel, per block, ...
        kind = re.sub(r"xnn_datatype_(q[bcdp]?|p)?(?=u?int|fp|bf)", "", tensor["datatype"])
        yield tensor["constant_buffer_idx"], kind, math.prod(tensor.get("dims", []))
    if quantized.get("scale_buffer_idx"):
        yield quantized["scale_buffer_idx"], "fp32", quantized["num_scales"]


def _node_macs(kind: str, node: Mapping[str, Any], shapes: Mapping[int, list[int]]) -> int:
    """Multiply-adds of a node; images are (n, h, w, c)."""
    if kind in CONVOLUTIONS:
        window = [node["kernel_height"], node["kernel_width"]]
        if kind == "XNNConvTranspose2d":
            return math.prod((*shapes[node["input1_id"]], *window, node["group_output_channels"]))
        return math.prod((*shapes[node["output_id"]], *window, node["group_input_channels"]))
    if kind == "XNNFullyConnected":
        output = shapes[node["output_id"]]
        return math.prod(output) * math.prod(shapes[node["filter_id"]]) // output[-1]
    if kind == "XNNBatchMatrixMultiply":
        return math.prod((*shapes[node["output_id"]], shapes[node["input1_id"]][-1]))
    if kind == "XNNScaledDotProductAttention":
        query, output = shapes[node["query_id"]], shapes[node["output_id"]]
        return shapes[node["key_id"]][-2] * (math.prod(query) + math.prod(output))
    return 0
