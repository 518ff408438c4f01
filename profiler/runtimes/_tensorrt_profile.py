"""TensorRT's layers: their times, and the ONNX nodes that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.lineage import Compiled, trace
from profiler.types import Executed, OperatorTimes, Source

# Layers of several nodes without metadata: `A + B`, `A || B`, `PWN(A, B)`.
JOINTS = re.compile(r" \+ | \|\| |, ")
WRAPPED = re.compile(r"^\w+\((.*)\)$")


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an engine: the ONNX nodes that it stands for, and its time with profiling on."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    time_ns: int


def names_in(layer: str) -> tuple[str, ...]:
    """The nodes that a layer's own name lists."""
    inner = WRAPPED.sub(r"\1", layer.strip("{}"))
    found: list[str] = []
    for part in JOINTS.split(inner):
        wrapped = WRAPPED.match(part)
        found += names_in(wrapped[1]) if wrapped else [part.strip()]
    return tuple(n for n in found if n)


def times_of(layers: Sequence[Layer], sources: Sequence[Source], latency_ns: int) -> OperatorTimes:
    """The layers with the source operators that they stand for, in order of execution."""
    compiled = [
        Compiled(one.name, one.kind, one.nodes or names_in(one.name), before)
        for one, before in zip(layers, [(), *((one.name,) for one in layers[:-1])], strict=True)
    ]
    traced = trace(compiled, sources)
    found = tuple(
        Executed(one.name, one.kind, one.time_ns, traced[one.name].sources, traced[one.name].beside)
        for one in layers
    )
    between_ns = latency_ns - sum(one.time_ns for one in layers)
    return OperatorTimes(found, latency_ns, between_ns, level="median")
