"""From exported operators back to modules.

torch.export gives every operator the stack of modules that called it; torch's ONNX exporter writes
that stack into the nodes' metadata. Formats that lose it keep it in a file beside the artifact.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from profiler.encoding import from_json, to_json
from profiler.errors import BadModelFile
from profiler.lineage import NETWORK
from profiler.types import Source

SCOPES = "pkg.torch.onnx.name_scopes"
CLASSES = "pkg.torch.onnx.class_hierarchy"
PARAMETERS = (".weight", ".bias")


def of_onnx(model: Any) -> list[Source]:
    """The operators of a ModelProto, constants left out."""
    constants = {o for n in model.graph.node if n.op_type == "Constant" for o in n.output}
    weights = {t.name for t in model.graph.initializer}
    known = weights | constants
    found = [
        Source(
            node.name or f"{node.op_type}_{number}",
            node.op_type,
            tuple(n for n in node.input if n and n not in known),
            tuple(n for n in node.output if n),
            *_modules(node, weights),
        )
        for number, node in enumerate(model.graph.node)
        if node.op_type != "Constant"
    ]
    return _filled(found)


def _filled(sources: Sequence[Source]) -> list[Source]:
    """What the exporter made up belongs to the module of what it reads, or else is read by."""
    by_tensor = {t: s for s in sources for t in s.outputs}
    filled: list[Source] = []
    for source in sources:
        known = source
        if not source.modules:
            near = [by_tensor[t] for t in source.inputs if t in by_tensor]
            near += [s for s in sources if set(s.inputs) & set(source.outputs)]
            known = next((s for s in near if s.modules), source)
        filled.append(dataclasses.replace(source, modules=known.modules, classes=known.classes))
        by_tensor |= dict.fromkeys(source.outputs, filled[-1])
    return filled


def _modules(node: Any, weights: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The modules of a node and the classes along the first.

    A normalisation that was folded into a convolution leaves its own name on the node; the weights
    still bear the convolution's.
    """
    told = {p.key: p.value for p in node.metadata_props}
    scopes, classes = _listed(told.get(SCOPES, "")), _listed(told.get(CLASSES, ""))
    if not scopes:
        path = _from_name(node.name)
        return ((path,) if path else ()), ()
    path = scopes[-2] if len(scopes) > 1 else ""
    found = [_parameter_owner(n) for n in node.input if n in weights]
    owners = [o for o in found if o and _parent(o) == _parent(path)]
    paths = dict.fromkeys([*owners[:1], path])
    # The owner's own class is not told: its parents' are those of its neighbour.
    known = classes[:-2] if owners and owners[0] != path else classes[:-1]
    return tuple(p or NETWORK for p in paths), tuple(known)


def _listed(text: str) -> list[str]:
    """A list that was written as Python writes it; empty when it is nothing of the kind."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    return [str(v) for v in value] if isinstance(value, list) else []


def _parameter_owner(name: str) -> str:
    ending = next((e for e in PARAMETERS if name.endswith(e)), None)
    return name.removesuffix(ending) if ending else ""


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _from_name(name: str) -> str:
    """The path in a name of torch's older exporter: `/layer1/layer1.0/conv1/Conv`."""
    parts = name.split("/")[1:-1] if name.startswith("/") else []
    path: list[str] = []
    for part in parts:
        if path and part.startswith(path[-1] + "."):
            path[-1] = part
        else:
            path.append(part)
    return ".".join(path)


def of_program(program: Any) -> list[Source]:
    """The operators of a torch.export.ExportedProgram; tensors bear their operators' names."""
    constants = {n.name for n in program.graph.nodes if n.op == "placeholder"}
    constants -= set(program.graph_signature.user_inputs)
    return [
        Source(
            node.name,
            str(node.target),
            tuple(n.name for n in node.all_input_nodes if n.name not in constants),
            (node.name,),
            *of_stack(node.meta.get("nn_module_stack")),
        )
        for node in program.graph.nodes
        if node.op == "call_function"
    ]


def of_stack(stack: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The module of a stack of torch.export, and the classes along its path."""
    entries = list((stack or {}).values())
    if not entries:
        return (), ()
    classes = tuple(
        kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        for _, kind in entries
    )
    return (entries[-1][0] or NETWORK,), classes


def beside(artifact: Path) -> Path:
    """Where the sources of an artifact lie that cannot hold them itself."""
    return artifact.with_name(artifact.name + ".sources.json")


def write(artifact: Path, sources: Sequence[Source]) -> None:
    """Put the sources beside an artifact."""
    beside(artifact).write_text(json.dumps([to_json(s) for s in sources]))


def read(artifact: Path) -> list[Source]:
    """The sources that lie beside an artifact; none when it has no such file.

    Raises BadModelFile when the file is damaged.
    """
    place = beside(artifact)
    if not place.is_file():
        return []
    try:
        records: Iterable[Any] = json.loads(place.read_text())
        return [from_json(Source, record) for record in records]
    except (ValueError, TypeError) as error:
        raise BadModelFile(f"{place} does not hold sources: {error}") from error
