"""Which operators of the network an ExecuTorch program's instructions stand for.

Names are `instruction/node`: a delegate is one instruction of many operators. What the compiler
decomposed keeps the modules of what it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exporters import _sources
from profiler.types import Source


def of_executable(executable: Any) -> list[Source]:
    """The operators of an ExecutorchProgramManager's one method, in order of their instructions."""
    from executorch.exir.lowered_backend_module import get_lowered_submodules

    graph = executable.exported_program().graph_module
    modules = {node.name: module for _, module, node in get_lowered_submodules(graph)}
    found: list[Source] = []
    for place, node in _placed(executable.executorch_program.execution_plan[0], _calls(graph)):
        if node.name in modules:
            found += _inside(place, modules[node.name].original_module)
        else:
            found.append(_source(place, node, ()))
    return found


def _placed(plan: Any, nodes: list[Any]) -> list[tuple[int, Any]]:
    """The node behind each instruction; both are in order, but not every node is called."""
    found, rest = [], iter(nodes)
    for place, instruction in enumerate(plan.chains[0].instructions):
        wanted = _called(plan, instruction.instr_args)
        if wanted:
            node = next((n for n in rest if _operator(n) == wanted), None)
            if node is not None:
                found.append((place, node))
    return found


def _called(plan: Any, call: Any) -> str:
    """The name of what an instruction calls; nothing where it is none of a network's operators."""
    if hasattr(call, "delegate_index"):
        return "executorch_call_delegate"
    if not hasattr(call, "op_index"):
        return ""
    operator = plan.operators[call.op_index]
    return f"{operator.name.replace('::', '.')}.{operator.overload}".rstrip(".")


def _inside(place: int, program: Any) -> Iterator[Source]:
    fed = set(program.graph_signature.user_inputs)
    for node in _calls(program.graph_module):
        if _maker(node) is not node:
            continue
        makers = [_maker(n) for n in node.all_input_nodes]
        inputs = [n.name for n in makers if n.op == "call_function" or n.name in fed]
        yield _source(place, node, tuple(f"{place}/{name}" for name in inputs))


def _source(place: int, node: Any, inputs: tuple[str, ...]) -> Source:
    name = f"{place}/{node.name}"
    modules, classes = _sources.of_stack(node.meta.get("nn_module_stack"))
    return Source(name, _operator(node), inputs or (f"{place}",), (name,), modules, classes)


def _calls(graph: Any) -> list[Any]:
    return [n for n in graph.graph.nodes if n.op == "call_function"]


def _maker(node: Any) -> Any:
    """The operator behind the choice of one of its results."""
    while node.op == "call_function" and "getitem" in str(node.target):
        node = node.args[0]
    return node


def _operator(node: Any) -> str:
    """`aten.convolution.default` of an edge operator, whose own text is a whole signature."""
    text = str(node.target)
    return str(node.target.__name__) if " " in text else text
