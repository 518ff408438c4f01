"""Reading ML Programs: whole packages only, and what they hold.

A weight is a number that an operator computes with: a tensor of floats, or whatever lies in the
weight file or in a compressed tensor. Strides, axes, shapes and single numbers such as an epsilon
are settings, though they are stored as constants too. A weight behind a table of values counts by
its index, as uint4, uint6 or uint8.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profiler.errors import BadModelFile
from profiler.types import Structure

# How the deployment is written in a file: the version of its format.
DEPLOYMENTS = {6: "ios15", 7: "ios16", 8: "ios17", 9: "ios18", 10: "ios26"}
# Where the exporter notes which operators of the network torch took apart.
TAKEN_APART = "opclock.taken_apart"
COMPRESSED = "constexpr_"
# What compressed tensors have beside numbers.
SETTINGS = ("name", "axis", "shape", "vector_axis", "output_dtype")
# Multiply-adds that static shapes do not tell: steps of a sequence, turns of a loop.
RECURRENT = ("lstm", "gru", "rnn")
# The numbers of a constant that may be weights wherever they lie.
FLOATS = ("fp16", "fp32", "fp64", "bf16")
# A record of the weight file: mark, type, size and place of the numbers.
BLOB = struct.Struct("<IIQQ")
BLOB_MARK = 0xDEADBEEF
Shape = tuple[Any, ...]


def model_file(package: Path) -> Path:
    """The file inside a package that holds the program. Raises BadModelFile."""
    if not package.exists():
        raise BadModelFile(f"{package}: no such file")
    if not package.is_dir():
        raise BadModelFile(f"{package} is one file, not a Core ML package, which is a folder")
    try:
        manifest = json.loads((package / "Manifest.json").read_text())
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except OSError as error:
        raise BadModelFile(f"{package} is no Core ML package: it has no Manifest.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadModelFile(f"{package} is not a whole package: its manifest is broken") from error
    return package / "Data" / str(entry)


def read(package: Path) -> Any:
    """The specification in a package, a coremltools.proto.Model. Raises BadModelFile."""
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError

    try:
        spec = Model_pb2.Model.FromString(model_file(package).read_bytes())
    except OSError as error:
        raise BadModelFile(f"{package} is not a whole package: its model is missing") from error
    except DecodeError as error:
        raise BadModelFile(f"{package} is not a whole package: its model is cut off") from error
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise BadModelFile(f"{package} holds {kind or 'nothing'}, not an mlProgram")
    return spec


def structure(package: Path) -> Structure:
    """What a package holds. Raises BadModelFile when a part of it is missing."""
    spec = read(package)
    name = spec.description.defaultFunctionName or "main"
    function = spec.mlProgram.functions[name]
    block = function.block_specializations[function.opset]
    program = Program(model_file(package).parent)
    for value in function.inputs:
        program.types[value.name] = value.type.tensorType
    program.walk(block)
    if not set(block.outputs) <= set(program.types):
        raise BadModelFile(f"{package} is not a whole package: it lacks operators")
    return Structure(
        operators=dict(program.operators.most_common()),
        weights=dict(program.weights.most_common()),
        macs=None if program.unknown else program.macs,
        inputs=tuple(program.described(value.name) for value in function.inputs),
        outputs=tuple(program.described(name) for name in block.outputs),
        notes=tuple(_notes(spec, program)),
    )


def _notes(spec: Any, program: Program) -> Iterator[str]:
    yield f"deployment {DEPLOYMENTS.get(spec.specificationVersion, 'unknown')} or newer"
    for kind, count in sorted(program.compressed.items()):
        yield f"{count} weight tensors are stored compressed ({kind})"
    if apart := spec.description.metadata.userDefined.get(TAKEN_APART):
        yield f"coremltools does not know {apart}: torch took that apart"
    if program.unknown:
        yield f"multiply-adds are not known: {program.unknown}"
    if (count := len(spec.mlProgram.functions)) > 1:
        yield f"only one function of {count} was read"


@dataclass
class Program:
    """What has been seen of a program while its blocks are walked."""

    folder: Path
    types: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    operators: Counter[str] = field(default_factory=Counter)
    weights: Counter[str] = field(default_factory=Counter)
    compressed: Counter[str] = field(default_factory=Counter)
    macs: int = 0
    unknown: str = ""

    def walk(self, block: Any) -> None:
        """Take in every operator of a block and of the blocks inside it."""
        for value in block.inputs:
            self.types[value.name] = value.type.tensorType
        for operator in block.operations:
            for output in operator.outputs:
                self.types[output.name] = output.type.tensorType
            self._count_weights(operator)
            if operator.type == "const":
                self.constants[operator.outputs[0].name] = operator.attributes["val"]
            elif operator.type.startswith(COMPRESSED):
                self.compressed[operator.type] += 1
            else:
                self.operators[operator.type] += 1
                self._count_macs(operator)
            for inner in operator.blocks:
                self.walk(inner)

    def described(self, name: str) -> str:
        """A value as "name: fp16[1,3,224,224]"."""
        sizes = ",".join("?" if n is None else str(n) for n in shape_of(self.types[name]))
        return f"{name}: {type_name(self.types[name])}[{sizes}]"

    def _count_weights(self, operator: Any) -> None:
        compressed = operator.type.startswith(COMPRESSED)
        for name, value in _stored(operator):
            in_file = value.WhichOneof("value") == "blobFileValue"
            if in_file:
                _require_blob(self.folder, value.blobFileValue)
            kind, shape = type_name(value.type.tensorType), shape_of(value.type.tensorType)
            if compressed and name == "indices" and "shape" in operator.attributes:
                # Up to ios17 indices of any number of bits are packed into bytes.
                table = shape_of(operator.attributes["lut"].type.tensorType)
                kind = f"uint{math.log2(table[0]):.0f}"
                shape = shape_of(operator.outputs[0].type.tensorType)
            if in_file or (kind in FLOATS and shape) or (compressed and name not in SETTINGS):
                self.weights[kind] += math.prod(shape)

    def _count_macs(self, operator: Any) -> None:
        if operator.blocks or operator.type in RECURRENT:
            self.unknown = f"how often {operator.type} repeats is not in the file"
            return
        try:
            self.macs += sum(math.prod(factors) for factors in self._products(operator))
        except TypeError:  # one of the factors is None
            self.unknown = f"a size of {operator.type} has no number"

    def _products(self, operator: Any) -> list[Shape]:
        """What has to be multiplied to get the multiply-adds of an operator, and then added."""

        def shape(name: str) -> Shape:
            return shape_of(self._argument(operator, name))

        out = shape_of(operator.outputs[0].type.tensorType) if operator.outputs else ()
        products: list[Shape] = []
        match operator.type:
            case "conv":
                products = [(*out, *shape("weight")[1:])]
            case "conv_transpose":  # every input meets the whole kernel
                products = [(*shape("x"), *shape("weight")[1:])]
            case "linear":
                products = [(*out, shape("weight")[-1])]
            case "matmul":
                inner = -2 if self._is_set(operator, "transpose_x") else -1
                products = [(*out, shape("x")[inner])]
            case "einsum":  # the only equations that there are sum over the first one's last size
                products = [(*out, shape("values")[-1])]
            case "scaled_dot_product_attention":
                products = [(*shape("query"), shape("key")[-2]), (*out, shape("key")[-2])]
        return products

    def _argument(self, operator: Any, name: str) -> Any:
        """The tensor type of an operator's first argument of that name."""
        argument = operator.inputs[name].arguments[0]
        if argument.WhichOneof("binding") == "value":
            return argument.value.type.tensorType
        return self.types[argument.name]

    def _is_set(self, operator: Any, name: str) -> bool:
        """A constant truth value among an operator's arguments; false when it is absent."""
        if name not in operator.inputs:
            return False
        argument = operator.inputs[name].arguments[0]
        inline = argument.WhichOneof("binding") == "value"
        value = argument.value if inline else self.constants[argument.name]
        return any(value.immediateValue.tensor.bools.values)


def type_name(kind: Any) -> str:
    """Our word for the numbers of a tensor type: fp16, fp32, int32, uint4, bool, ..."""
    from coremltools.proto import MIL_pb2

    name: str = MIL_pb2.DataType.Name(kind.dataType).lower()
    return name.replace("bfloat", "bf").replace("float", "fp")


def shape_of(kind: Any) -> Shape:
    """The sizes of a tensor type; None for one that has no number."""
    return tuple(
        d.constant.size if d.WhichOneof("dimension") == "constant" else None
        for d in kind.dimensions
    )


def _stored(operator: Any) -> Iterator[tuple[str, Any]]:
    """The tensors that are written down at an operator, by what they are for."""
    for name, value in operator.attributes.items():
        if name != "name" and value.type.WhichOneof("type") == "tensorType":
            yield name, value
    for name, given in operator.inputs.items():
        for argument in given.arguments:
            if argument.WhichOneof("binding") == "value":
                yield name, argument.value


def _require_blob(folder: Path, blob: Any) -> None:
    """Raise BadModelFile when the weight file ends before these numbers do."""
    file = folder / blob.fileName.removeprefix("@model_path/")
    try:
        with file.open("rb") as stream:
            stream.seek(blob.offset)
            mark, _, size_bytes, start = BLOB.unpack(stream.read(BLOB.size))
            if mark == BLOB_MARK and start + size_bytes <= file.stat().st_size:
                return
    except (OSError, struct.error):
        pass
    raise BadModelFile(f"{file} is missing, cut off or no weight file")
