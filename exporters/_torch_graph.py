"""What torch's exported programs hold: operators, weights and multiply-adds of an ATen graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from profiler.types import Structure

TYPES = {
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float64": "fp64",
}


def structure(program: Any, notes: Sequence[str] = ()) -> Structure:
    """The structure of a torch.export.ExportedProgram."""
    calls = [n for n in program.graph.nodes if n.op == "call_function"]
    operators = Counter(_name(n.target) for n in calls if _is_operator(n.target))
    weights: Counter[str] = Counter()
    tensors = {**program.state_dict, **program.constants}
    for tensor in {id(t): t for t in tensors.values() if hasattr(t, "numel")}.values():
        weights[type_name(tensor.dtype)] += tensor.numel()
    return Structure(
        operators=dict(operators),
        weights=dict(weights),
        macs=sum(_macs(n) for n in calls),
        inputs=tuple(_described(n) for n in _placeholders(program)),
        outputs=tuple(
            f"output{i}: {_kind(n)}" for i, n in enumerate(_outputs(program)) if n is not None
        ),
        notes=tuple(notes),
    )


def type_name(dtype: Any) -> str:
    """Our word for a torch dtype."""
    name = str(dtype).removeprefix("torch.")
    return TYPES.get(name, name)


def place(node: Any, wrapper: str = "") -> str:
    """The module that a node comes from, as " in blocks.3.attention (Attention)", or nothing.

    `wrapper` is where an exporter has put the network inside a module of its own.
    """
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path, kind = stack[-1]
    name = (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]
    path = path.removeprefix(wrapper).removeprefix(".")
    return f" in {path} ({name})" if path else f" in {name}"


def failed_node(error: BaseException) -> Any:
    """The node of torch's graph that a converter was at, from the traceback's frames, or None."""
    import torch

    found, trace = None, error.__traceback__
    while trace is not None:
        for name in ("n", "node"):
            value = trace.tb_frame.f_locals.get(name)
            found = value if isinstance(value, torch.fx.Node) else found
        trace = trace.tb_next
    return found


def _is_operator(target: Any) -> bool:
    return "getitem" not in str(target) and "_guards" not in str(target)


def _name(target: Any) -> str:
    """`aten.conv2d.default` without its overload."""
    parts = str(target).split(".")
    return ".".join(parts[:2]) if parts[0] == "aten" else str(target)


def _placeholders(program: Any) -> list[Any]:
    names = set(program.graph_signature.user_inputs)
    return [n for n in program.graph.nodes if n.op == "placeholder" and n.name in names]


def _outputs(program: Any) -> list[Any]:
    (node,) = [n for n in program.graph.nodes if n.op == "output"]
    names = set(program.graph_signature.user_outputs)
    return [n for n in node.args[0] if getattr(n, "name", None) in names]


def _described(node: Any) -> str:
    return f"{node.name}: {_kind(node)}"


def _kind(node: Any) -> str:
    value = node.meta.get("val")
    if not hasattr(value, "shape"):
        return type(value).__name__
    return f"{type_name(value.dtype)}[{','.join(map(str, value.shape))}]"


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(int(s) for s in node.meta["val"].shape)


def _macs(node: Any) -> int:
    count = MACS.get(_name(node.target).removeprefix("aten.").strip("_"))
    return count(node) if count else 0


def _convolution_macs(node: Any) -> int:
    return math.prod(_shape(node)) * math.prod(_shape(node.args[1])[1:])


def _transposed_macs(node: Any) -> int:
    return math.prod(_shape(node.args[0])) * math.prod(_shape(node.args[1])[1:])


def _product_macs(node: Any) -> int:
    return math.prod(_shape(node)) * _shape(node.args[0])[-1]


def _added_product_macs(node: Any) -> int:
    return math.prod(_shape(node)) * _shape(node.args[1])[-1]


def _attention_macs(node: Any) -> int:
    query, key, value = (_shape(a) for a in node.args[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _einsum_macs(node: Any) -> int:
    equation, operands = node.args[0], node.args[1]
    if len(operands) < 2:
        return 0
    sizes: dict[str, int] = {}
    for letters, operand in zip(equation.split("->")[0].split(","), operands, strict=True):
        sizes.update(zip(letters.strip(), _shape(operand), strict=False))
    return math.prod(sizes.values())


MACS = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution_macs),
    "conv_transpose2d": _transposed_macs,
    **dict.fromkeys(("linear", "matmul", "mm", "bmm"), _product_macs),
    **dict.fromkeys(("addmm", "baddbmm"), _added_product_macs),
    "scaled_dot_product_attention": _attention_macs,
    "einsum": _einsum_macs,
}
