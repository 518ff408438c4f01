"""Small modules through torch's exporter side by side, each into a graph of its own.

Most of what a small block's export takes does not depend on the block: for each export torch notes
thousands of kernels anew. The graphs come out as they would of blocks that are exported one by one:
they are taken apart before anything is optimised, and nothing in them is named after what stood
beside them.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exporters._sources import CLASSES, SCOPES
from profiler.types import Model

PREFIX = re.compile(r"parts\.\d+\.")
ROOT = re.compile(r"parts\.\d+")


def exported(models: Sequence[Model], opset: int) -> Iterator[Any]:
    """An ONNXProgram for each model, in their order. Raises what torch's exporter raises."""
    import torch

    whole = torch.onnx.export(
        _side_by_side(models),
        tuple(x for m in models for x in m.inputs),
        dynamo=True,
        opset_version=opset,
        optimize=False,
        verbose=False,
    )
    assert whole is not None
    takes = iter(whole.model.graph.inputs)
    for model, gives in zip(models, _outputs(whole), strict=True):
        part = _part(whole.model, [next(takes) for _ in model.inputs], gives)
        program = torch.onnx.ONNXProgram(part, None)
        program.optimize()
        _name(program.model.graph, model)
        yield program


def _part(whole: Any, takes: Sequence[Any], gives: Sequence[Any]) -> Any:
    """What leads from these inputs to these outputs, its weights in the order of the whole."""
    import onnx_ir

    graph = onnx_ir.convenience.extract(whole.graph, takes, gives)
    graph.metadata_props.clear()
    held = dict(graph.initializers)
    graph.initializers.clear()
    for name in whole.graph.initializers:
        if name in held:
            graph.initializers.add(held[name])
    part = onnx_ir.Model(graph, ir_version=whole.ir_version)
    part.producer_name, part.producer_version = whole.producer_name, whole.producer_version
    part.functions.update(whole.functions)
    return part


def _side_by_side(models: Sequence[Model]) -> Any:
    import torch

    class SideBySide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(m.module for m in models)

        def forward(self, *inputs: Any) -> Any:
            given = iter(inputs)
            return tuple(
                part(*(next(given) for _ in model.inputs))
                for part, model in zip(self.parts, models, strict=True)
            )

    return SideBySide().eval()


def _outputs(program: Any) -> list[list[Any]]:
    """The outputs of each of the models."""
    import torch

    values = list(program.model.graph.outputs)
    spec = program.exported_program.call_spec.out_spec
    each = torch.utils._pytree.tree_unflatten(values, spec)
    return [torch.utils._pytree.tree_leaves(given) for given in each]


def _name(graph: Any, model: Model) -> None:
    """Name all that a graph holds by its place, weights and inputs as the module calls them."""
    constants = 0
    used = {v: None for node in graph for v in node.inputs if v is not None and v.is_initializer()}
    used |= dict.fromkeys(graph.initializers.values())
    for value in used:
        own = PREFIX.sub("", value.name, count=1)
        if own == value.name:
            own, constants = f"constant/{constants}", constants + 1
        value.name = own
        value.metadata_props.clear()
        value.const_value.metadata_props.clear()
    graph.initializers.clear()
    for value in used:
        graph.initializers.add(value)
    for number, node in enumerate(graph):
        node.name = f"{node.op_type}_{number}"
        for place, value in enumerate(node.outputs):
            value.name = f"{node.name}/{place}"
            value.metadata_props.clear()
        told = _as_alone(node.metadata_props, node.name)
        node.metadata_props.clear()
        node.metadata_props.update(told)
    for value, name in zip(graph.inputs, _input_names(model), strict=True):
        value.name = name


def _as_alone(told: Mapping[str, str], name: str) -> dict[str, str]:
    """The modules of an operator of this name, without what stands around all of them."""
    try:
        scopes, classes = (list(ast.literal_eval(told[k])) for k in (SCOPES, CLASSES))
    except (KeyError, TypeError, ValueError, SyntaxError):
        return {}
    if len(scopes) > 2 and ROOT.fullmatch(scopes[1]):
        inner = (PREFIX.sub("", s, count=1) for s in scopes[2:-1])
        scopes, classes = ["", *inner, name], classes[1:]
    return {SCOPES: repr(scopes), CLASSES: repr(classes)}


def _input_names(model: Model) -> list[str]:
    """What the module calls its inputs."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = inspect.signature(model.module.forward).parameters.values()
    names = [p.name for p in known if p.kind in kinds][: len(model.inputs)]
    return names + [f"input/{n}" for n in range(len(names), len(model.inputs))]
