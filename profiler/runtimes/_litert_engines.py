"""LiteRT's two interfaces, made alike: the Interpreter, and CompiledModel for fp16.

Each has `inputs` as (name, shape, numpy type), `write`, `call` and `read`, all in torch's order
and in the layout of the file.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from profiler import plugins
from profiler.types import Target

# TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16
FORCE_FP16 = 4


class Interpreted:
    """LiteRT's Interpreter: XNNPACK is its default delegate."""

    def __init__(self, path: str, target: Target) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = {
            "xnnpack": OpResolverType.BUILTIN,
            "none": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        }
        self._interpreter = Interpreter(
            path,
            num_threads=int(target.options["threads"]),
            experimental_op_resolver_type=resolver[target.options["delegate"]],
        )
        self._interpreter.allocate_tensors()
        # The exporter knows how its signatures are sorted.
        in_order = plugins.load("exporters", "litert").in_order
        details = {d["index"]: d for d in self._interpreter.get_input_details()}
        signature = self._signature()
        ordered = in_order(signature["inputs"], list(details))
        self._inputs = [index for _, index in ordered]
        self.inputs = [
            (
                name or details[index]["name"],
                tuple(details[index]["shape"].tolist()),
                details[index]["dtype"].__name__.rstrip("_"),
            )
            for name, index in ordered
        ]
        outputs = [d["index"] for d in self._interpreter.get_output_details()]
        self._outputs = [index for _, index in in_order(signature["outputs"], outputs)]
        self.call = self._interpreter.invoke

    def _signature(self) -> Mapping[str, Mapping[str, int]]:
        found = list(self._interpreter._get_full_signature_list().values())
        return found[0] if found else {"inputs": {}, "outputs": {}}

    def write(self, number: int, array: Any) -> None:
        """Set one input."""
        self._interpreter.set_tensor(self._inputs[number], array)

    def read(self) -> list[Any]:
        """Copies of all outputs."""
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def delegated(self) -> tuple[int, int]:
        """How many operators a delegate took, and how many there are.

        The list of nodes keeps the operators that were taken, and ends with a node for every part
        of the graph that was. What lies between its inputs and its outputs is that part.
        """
        nodes = self._interpreter._get_ops_details()
        operators = [n for n in nodes if n["op_name"] != "DELEGATE"]
        maker = {t: n for n in operators for t in n["outputs"].tolist()}
        taken: set[int] = set()
        for part in (n for n in nodes if n["op_name"] == "DELEGATE"):
            edge = set(part["inputs"].tolist())
            todo = [t for t in part["outputs"].tolist() if t in maker]
            while todo:
                node = maker[todo.pop()]
                if node["index"] not in taken:
                    taken.add(node["index"])
                    todo += [t for t in node["inputs"].tolist() if t in maker and t not in edge]
        return len(taken), len(operators)

    def precision(self) -> str:
        """The smallest type of the artifact's tensors, in which kernels compute where they can."""
        kinds = {d["dtype"].__name__ for d in self._interpreter.get_tensor_details()}
        return "int8" if "int8" in kinds else "fp16" if "float16" in kinds else "fp32"


class Compiled:
    """LiteRT's CompiledModel, with XNNPACK made to compute in half."""

    def __init__(self, path: str, target: Target) -> None:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_litert.options import CpuOptions, Options

        # A truncated file crashes CompiledModel; the Interpreter looks at it and raises.
        graph = Interpreter(path)
        options = CpuOptions(num_threads=int(target.options["threads"]), xnnpack_flags=FORCE_FP16)
        self._model = CompiledModel.from_file(
            path, environment=_environment(), options=Options(cpu_options=options)
        )
        signature = self._model.get_signature_by_index(0)
        types = self._model.get_input_tensor_details(signature["key"])
        # The lists are in the graph's order, which is torch's.
        self.inputs = [
            (name, tuple(types[name]["shape"]), str(types[name]["dtype"]))
            for name in signature["inputs"]
        ]
        self._inputs = self._model.create_input_buffers(0)
        # One tensor, one buffer: an output may be an input, or another output once more.
        tensors = [d["index"] for d in graph.get_output_details()]
        buffers = dict(zip(tensors, self._model.create_output_buffers(0), strict=True))
        for details, buffer in zip(graph.get_input_details(), self._inputs, strict=True):
            buffers[details["index"]] = buffer
        self._outputs = [buffers[tensor] for tensor in tensors]
        self.call = functools.partial(self._model.run_by_index, 0, self._inputs, self._outputs)

    def write(self, number: int, array: Any) -> None:
        """Set one input."""
        self._inputs[number].write(array)

    def read(self) -> list[Any]:
        """Copies of all outputs."""
        found = []
        for buffer in self._outputs:
            details = buffer.get_tensor_details()
            flat = buffer.read(math.prod(details["shape"]), details["dtype"])
            found.append(flat.reshape(details["shape"]))
        return found

    def is_delegated_whole(self) -> bool:
        """Whether XNNPACK took every operator."""
        return bool(self._model.is_fully_accelerated())

    def precision(self) -> str:
        """What XNNPACK computes in: told to use half, it does not load what it cannot."""
        return "fp16"


@functools.cache
def _environment() -> Any:
    """What all compiled models of a process share."""
    from ai_edge_litert.compiled_model import Environment

    return Environment.create()
