"""ONNX graphs one after the other as a single one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Tensors of so many numbers may say how an operator works.
MOST_FACTORS = 8
# What a message of protobuf may be at most, and how a field says that its length follows.
MOST_BYTES = 2**31 - 1
LENGTH_DELIMITED = 2
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
# What ONNX Runtime's quantiser quantises only if its input is quantised already.
LATENT = (
    "AveragePool",
    "Flatten",
    "MaxPool",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)


@dataclass
class Chain:
    """A ModelProto, and beside it the bytes of each of its initializers, in two pieces.

    A network's weights are most of its bytes. In a ModelProto they would be copied four times and
    more until they are in a file.
    """

    model: Any
    values: list[tuple[memoryview, memoryview]] = field(default_factory=list)

    def save(self, out: Path) -> None:
        """Write the file. Raises ValueError where it would be larger than protobuf can read."""
        import onnx

        known = onnx.TensorProto.DESCRIPTOR.fields_by_name
        initializer = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"]
        pieces: list[bytes | memoryview] = []
        for tensor, (first, second) in zip(self.model.graph.initializer, self.values, strict=True):
            size = len(first) + len(second)
            begin = tensor.SerializeToString()
            if size:
                begin += _field(known["raw_data"], size)
            pieces += [_field(initializer, len(begin) + size), begin, first, second]
        rest = type(self.model)()
        rest.CopyFrom(self.model)
        rest.graph.ClearField("initializer")
        pieces.insert(0, rest.graph.SerializeToString())
        rest.ClearField("graph")
        total = sum(map(len, pieces))
        if total > MOST_BYTES:
            raise ValueError(f"{total / 1e9:.1f} GB of weights are more than a file of ONNX holds")
        with out.open("wb") as file:
            file.write(rest.SerializeToString())
            file.write(_field(onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"], total))
            file.writelines(pieces)


def _field(described: Any, size_bytes: int) -> bytes:
    """How a field of so many bytes begins in a protobuf message."""
    return _varint(described.number << 3 | LENGTH_DELIMITED) + _varint(size_bytes)


def _varint(number: int) -> bytes:
    """A number as protobuf writes it, seven bits to a byte, the lowest first."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


@dataclass
class _Part:
    """A block's graph, and the bytes of its tensors by name."""

    graph: Any
    values: dict[str, memoryview]


def chained(parts: Sequence[Path]) -> Chain:
    """All parts as one: every output feeds the next one's input of the same place.

    A part that occurs several times gets weights of its own each time (the same values, rolled),
    so that no cache and no runtime can take two blocks for one.
    """
    import onnx

    models = {path: onnx.load(str(path)) for path in dict.fromkeys(parts)}
    loaded = {path: _part(model.graph) for path, model in models.items()}
    chain = Chain(onnx.ModelProto())
    whole = chain.model
    whole.CopyFrom(models[parts[0]])
    for kind in ("node", "initializer", "value_info", "output"):
        whole.graph.ClearField(kind)
    flowing = [i.name for i in whole.graph.input]
    last: list[Any] = []
    for number, path in enumerate(parts):
        graph, names = _joined(whole.graph, loaded[path].graph, flowing)
        _append(chain, _Part(graph, loaded[path].values), f"b{number}/", names, number)
        last = list(graph.output)
        flowing = [names[o.name] for o in last]
    for name, described in zip(flowing, last, strict=True):
        output = whole.graph.output.add()
        output.CopyFrom(described)
        output.name = name
    return chain


def _part(graph: Any) -> _Part:
    """Take the bytes out of a graph."""
    values = {t.name: memoryview(t.raw_data) for t in graph.initializer}
    for tensor in graph.initializer:
        tensor.ClearField("raw_data")
    return _Part(graph, values)


def _joined(graph: Any, part: Any, flowing: Sequence[str]) -> tuple[Any, dict[str, str]]:
    """A part and how its names are called in the graph: its inputs are these tensors.

    Where one of these was quantised, the part is as it would have been within a network.
    """
    names: dict[str, str] = {}
    factors: dict[str, tuple[str, ...]] = {}
    for own, place in zip((i.name for i in part.input), flowing, strict=True):
        names[own] = place
        takers = {n.op_type for n in part.node if own in n.input}
        if takers == {"QuantizeLinear"} and (before := _not_yet_quantized(graph, place)):
            names[own], factors[own] = before, ()
        elif takers and takers <= set(LATENT) and (given := _factors(graph, place)):
            factors[own] = given
            names |= {f: f for f in given}
    return (_quantized_further(part, factors) if factors else part), names


def _not_yet_quantized(graph: Any, name: str) -> str | None:
    """What was quantised and turned back to give this, if it was; that pair is taken out.

    Two blocks that were quantised each for itself have a pair on both sides; a network has one.
    """
    back = _only(graph, "DequantizeLinear", name)
    there = _only(graph, "QuantizeLinear", back.input[0]) if back is not None else None
    if back is None or there is None or any(name in n.input for n in graph.node):
        return None
    graph.node.remove(back)
    if not any(there.output[0] in n.input for n in graph.node):
        graph.node.remove(there)
    return str(there.input[0])


def _factors(graph: Any, name: str) -> tuple[str, ...]:
    """The scale and zero point with which this was quantised; none if it was not."""
    back = _only(graph, "DequantizeLinear", name)
    return tuple(back.input[1:]) if back is not None else ()


def _quantized_further(part: Any, inputs: Mapping[str, tuple[str, ...]]) -> Any:
    """A part in which what reads its inputs was quantised as in a network, where those were.

    An average pool that begins a block was left in float32, because nothing had been quantised yet.
    `inputs` are those that are quantised: with their scales and zero points, if not by the part.
    """
    import onnx

    done = type(part)()
    done.CopyFrom(part)
    done.ClearField("node")
    taken = {i for n in part.node if n.op_type == "QuantizeLinear" for i in n.input[:1]}
    given = {o.name for o in part.output}
    scales = dict(inputs)
    renamed: dict[str, str] = {}
    for node in part.node:
        copy = done.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [renamed.get(n, n) for n in node.input]
        own = node.output[0]
        if node.op_type in QUANTIZING and copy.input[0] in scales:
            scales[own] = tuple(copy.input[1:])
        elif node.op_type in LATENT and copy.input[0] in scales and not {own} & (taken | given):
            factors = scales[copy.input[0]]
            there, back = f"{own}/quantized", f"{own}/again"
            for kind, before, after in ((0, own, there), (1, there, back)):
                new = onnx.helper.make_node(
                    QUANTIZING[kind], [before, *factors], [after], name=after
                )
                done.node.append(new)
            renamed[own], scales[back] = back, factors
    return done


def _only(graph: Any, kind: str, name: str) -> Any:
    """The operator of this kind that gives a tensor, or None."""
    return next((n for n in graph.node if n.op_type == kind and name in n.output), None)


def _append(chain: Chain, part: _Part, prefix: str, names: dict[str, str], number: int) -> None:
    graph = chain.model.graph
    # The scales of quantised weights and of their biases belong together.
    scales = {i for n in part.graph.node if n.op_type in QUANTIZING for i in n.input[1:]}
    for tensor in part.graph.initializer:
        names[tensor.name] = prefix + tensor.name
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = names[tensor.name]
        rolled = 0 if tensor.name in scales else number
        chain.values.append(_rolled(tensor, part.values[tensor.name], rolled))
    for node in part.graph.node:
        for name in node.output:
            names.setdefault(name, prefix + name)
    for node in part.graph.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        copy.input[:] = [names[n] if n else "" for n in node.input]
        copy.output[:] = [names[n] if n else "" for n in node.output]


def _rolled(tensor: Any, values: memoryview, number: int) -> tuple[memoryview, memoryview]:
    """A tensor's values in two pieces, weights in another order: the last `number` come first.

    Shapes and indices stay, and so do small tensors, which may be factors of a resize.
    """
    import onnx

    kinds = {
        onnx.TensorProto.FLOAT: 4,
        onnx.TensorProto.FLOAT16: 2,
        onnx.TensorProto.INT8: 1,
    }
    count = math.prod(tensor.dims)
    if count <= MOST_FACTORS:
        number = 0
    place = len(values) - kinds.get(tensor.data_type, 0) * (number % max(1, count))
    return values[place:], values[:place]
