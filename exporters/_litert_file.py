"""What a `.tflite` file holds, read from its flatbuffer alone."""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.errors import BadModelFile
from profiler.lineage import NETWORK
from profiler.types import Source, Structure

TYPES = {"FLOAT32": "fp32", "FLOAT16": "fp16", "FLOAT64": "fp64", "BFLOAT16": "bf16"}
# Operators that may hold matrix products which no shape in the file tells.
OPAQUE = {"CUSTOM", "WHILE", "IF", "CALL", "RNN", "LSTM", "SVDF"}
OPAQUE |= {f"{way}DIRECTIONAL_SEQUENCE_{cell}" for way in ("UNI", "BI") for cell in ("RNN", "LSTM")}
OPAQUE |= {"STABLEHLO_" + n for n in ("DOT_GENERAL", "CONVOLUTION", "COMPOSITE", "CUSTOM_CALL")}
OPAQUE |= {"STABLEHLO_" + n for n in ("WHILE", "CASE")}
MAX_FLATBUFFER_BYTES = 2**31

Shape = tuple[int, ...]
# Multiply-adds from the shapes of the inputs and the output's count of numbers. Kernels are
# (out, h, w, in), in three dimensions (d, h, w, in, out), for depthwise (1, h, w, out).
COSTS: dict[str, Callable[[Sequence[Shape], int], int]] = {
    "CONV_2D": lambda inputs, out: out * math.prod(inputs[1][1:]),
    "DEPTHWISE_CONV_2D": lambda inputs, out: out * math.prod(inputs[1][1:3]),
    "CONV_3D": lambda inputs, out: out * math.prod(inputs[1][:4]),
    "FULLY_CONNECTED": lambda inputs, out: out * inputs[1][-1],
    "BATCH_MATMUL": lambda inputs, out: out * inputs[0][-1],
    # Every number that goes in is multiplied with every kernel's place for it.
    "TRANSPOSE_CONV": lambda inputs, out: math.prod(inputs[2]) * math.prod(inputs[1][:3]),
    "CONV_3D_TRANSPOSE": lambda inputs, out: math.prod(inputs[2]) * math.prod(inputs[1][:4]),
}


def structure(path: Path) -> Structure:
    """Read a file. Raises BadModelFile when it is absent, truncated or of another format."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadModelFile(f"{path} cannot be read: {error.strerror}") from error
    if not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise BadModelFile(f"{path} is not a LiteRT file")
    try:
        return _File(schema, data).structure()
    except (struct.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadModelFile(f"{path} is not a whole LiteRT file: {error}") from error


def sources(path: Path) -> list[Source]:
    """The main graph's operators with the modules that the converter wrote into tensors' names."""
    from ai_edge_litert import schema_py_generated as schema

    return _File(schema, path.read_bytes()).sources()


class _File:
    """One flatbuffer. Operators are those of the main graph, weights those of all graphs.

    Every method raises what the flatbuffer's reader raises where bytes are missing.
    """

    def __init__(self, schema: Any, data: bytes) -> None:
        self._schema = schema
        self._size_bytes = len(data)
        self._model = schema.Model.GetRootAs(data, 0)
        self._graphs = list(_each(self._model, "Subgraphs"))
        self._tensors = list(_each(self._graphs[0], "Tensors"))
        self._types = {n: TYPES.get(name, name.lower()) for n, name in _names(schema.TensorType)}
        self._builtins = dict(_names(schema.BuiltinOperator))

    def structure(self) -> Structure:
        """All that the file tells."""
        operators = list(_each(self._graphs[0], "Operators"))
        costs = [self._macs(o) for o in operators]
        known = [c for c in costs if c is not None]
        return Structure(
            operators=dict(Counter(self._name(o) for o in operators)),
            weights=self._weights(),
            macs=sum(known) if len(known) == len(costs) else None,
            inputs=self._end("Inputs"),
            outputs=self._end("Outputs"),
            notes=tuple(self._notes(operators)),
        )

    def sources(self) -> list[Source]:
        """Operators in order, by the names of what they put out."""
        return [self._source(o) for o in _each(self._graphs[0], "Operators")]

    def _source(self, operator: Any) -> Source:
        made = [self._tensor_name(operator.Outputs(i)) for i in range(operator.OutputsLength())]
        taken = [operator.Inputs(i) for i in range(operator.InputsLength())]
        inputs = [self._tensor_name(i) for i in taken if i >= 0 and not self._is_stored(i)]
        name = made[0] if made else ""
        return Source(name, self._name(operator), tuple(inputs), tuple(made), *modules_of(name))

    def _tensor_name(self, index: int) -> str:
        """A name of its own for each tensor: the converter's may stand twice."""
        return f"{_text(self._tensors[index].Name())}#{index}"

    def _is_stored(self, index: int) -> bool:
        return self._bytes(self._model.Buffers(self._tensors[index].Buffer())) > 0

    def _builtin(self, operator: Any) -> str:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        # Numbers that fit a byte stand in the older field, all others in the newer.
        return self._builtins[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]

    def _name(self, operator: Any) -> str:
        """The built-in operator's name, or what its maker calls a custom one."""
        name = self._builtin(operator)
        custom = self._model.OperatorCodes(operator.OpcodeIndex()).CustomCode()
        return _text(custom) if name == "CUSTOM" and custom else name

    def _macs(self, operator: Any) -> int | None:
        """Multiply-adds of one operator, None where its shapes do not tell."""
        name = self._builtin(operator)
        inputs = [self._shape(operator.Inputs(i)) for i in range(operator.InputsLength())]
        outputs = [self._shape(operator.Outputs(i)) for i in range(operator.OutputsLength())]
        if name in OPAQUE or any(d < 0 for shape in (*inputs, *outputs) for d in shape):
            return None
        if name == "BATCH_MATMUL" and self._transposes_its_left(operator):
            *batch, rows, columns = inputs[0]
            inputs[0] = (*batch, columns, rows)
        return COSTS[name](inputs, math.prod(outputs[0])) if name in COSTS else 0

    def _transposes_its_left(self, operator: Any) -> bool:
        table = operator.BuiltinOptions()
        if table is None:
            return False
        options = self._schema.BatchMatMulOptions()
        options.Init(table.Bytes, table.Pos)
        return bool(options.AdjX())

    def _shape(self, index: int) -> Shape:
        """A tensor's shape, -1 where a dimension is dynamic; () for an input left out."""
        if index < 0:
            return ()
        tensor = self._tensors[index]
        signature = tuple(tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength()))
        return signature or _static_shape(tensor)

    def _weights(self) -> dict[str, int]:
        """Stored numbers by type, each buffer once."""
        stored = {i for i, b in enumerate(_each(self._model, "Buffers")) if self._bytes(b)}
        weights: Counter[str] = Counter()
        for tensor in (t for g in self._graphs for t in _each(g, "Tensors")):
            if tensor.Buffer() in stored or tensor.ExternalBuffer():
                stored.discard(tensor.Buffer())
                weights[self._types[tensor.Type()]] += math.prod(_static_shape(tensor))
        return dict(weights)

    def _bytes(self, buffer: Any) -> int:
        """A buffer's size. Raises ValueError when the file ends before it does."""
        if _is_behind(buffer):
            if buffer.Offset() + buffer.Size() > self._size_bytes:
                raise ValueError("the weights behind the flatbuffer are cut off")
            return int(buffer.Size())
        # A view on the bytes, made to see whether they are there.
        return 0 if buffer.DataIsNone() else len(buffer.DataAsNumpy())

    def _end(self, end: str) -> tuple[str, ...]:
        """Inputs or outputs in torch's order, as `args_0: fp32[1,3,224,224]`."""
        graph = self._graphs[0]
        indices = [getattr(graph, end)(i) for i in range(getattr(graph, f"{end}Length")())]
        signatures = list(_each(self._model, "SignatureDefs"))
        entries = list(_each(signatures[0], end)) if signatures else []
        names = {_text(entry.Name()): int(entry.TensorIndex()) for entry in entries}
        return tuple(self._described(name, i) for name, i in in_order(names, indices))

    def _described(self, name: str, index: int) -> str:
        tensor = self._tensors[index]
        shape = ",".join("?" if d < 0 else str(d) for d in self._shape(index))
        return f"{name or _text(tensor.Name())}: {self._types[tensor.Type()]}[{shape}]"

    def _notes(self, operators: Sequence[Any]) -> Iterator[str]:
        hybrid = sum(self._quantises_as_it_runs(o) for o in operators)
        if hybrid:
            yield (
                f"{hybrid} operators have int8 weights and float32 activations, "
                "which are quantised while they run"
            )
        if len(self._graphs) > 1:
            yield f"operators of {len(self._graphs) - 1} further graphs are not counted"
        if self._size_bytes >= MAX_FLATBUFFER_BYTES:
            yield "the file is larger than a flatbuffer can be: weights lie behind it"
        if any(t.ExternalBuffer() for g in self._graphs for t in _each(g, "Tensors")):
            yield "weights lie in other files, which were not looked at"

    def _quantises_as_it_runs(self, operator: Any) -> bool:
        found = [operator.Inputs(i) for i in range(min(2, operator.InputsLength()))]
        kinds = [self._types[self._tensors[i].Type()] for i in found if i >= 0]
        return kinds == ["fp32", "int8"]


def modules_of(tensor: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The modules in a tensor's name, the last first, and the classes along that one's path.

    The converter writes `Net/Stage_stages.0/Conv2d_conv1;`, with whole names of classes; operators
    that it fused stand one after the other.
    """
    paths: dict[str, tuple[str, ...]] = {}
    for part in reversed(tensor.partition("#")[0].split(";")):
        root, *inner = part.split("/")
        found = [re.fullmatch(r"((?:\w+\.)*_*[A-Z][A-Za-z0-9]*)_(.+)", p) for p in inner]
        if "." in root and all(found):
            path = ".".join(f[2] for f in found if f) or NETWORK
            paths.setdefault(path, (root, *(f[1] for f in found if f)))
    return tuple(paths), next(iter(paths.values()), ())


def in_order(names: Mapping[str, int], indices: Sequence[int]) -> list[tuple[str, int]]:
    """Names and tensors in torch's order: by number where the names are numbered.

    A signature is sorted by its text, `output_10` before `output_2`. Where a module returned a
    dictionary, the graph's own order is torch's.
    """
    if names and all(re.fullmatch(r"(args|output)_\d+", name) for name in names):
        return sorted(names.items(), key=lambda item: int(item[0].rpartition("_")[2]))
    by_index = {index: name for name, index in names.items()}
    return [(by_index.get(i, ""), i) for i in indices]


def _each(table: Any, field: str) -> Iterator[Any]:
    for i in range(getattr(table, f"{field}Length")()):
        yield getattr(table, field)(i)


def _names(constants: type) -> Iterator[tuple[int, str]]:
    return ((v, k) for k, v in vars(constants).items() if isinstance(v, int))


def _static_shape(tensor: Any) -> Shape:
    return tuple(tensor.Shape(i) for i in range(tensor.ShapeLength()))


def _is_behind(buffer: Any) -> bool:
    """Whether a buffer's bytes follow the flatbuffer; offsets 0 and 1 mean that they do not."""
    return bool(buffer.Offset() > 1)


def _text(name: bytes | None) -> str:
    return (name or b"").decode()
