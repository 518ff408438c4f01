"""ONNX, opset 17 to 20, static shapes: float32, float16, or int8 (QDQ).

torch's exporter that works from `torch.export` writes opsets 18 to 20 and keeps for every node the
modules that it came from; opset 17 only the older exporter writes, which keeps nothing. From opset
20 on GELU is one operator. Networks and blocks go through the same exporter, so that they are made
of the same operators.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from exporters import (
    _nnapi,
    _onnx_chain,
    _onnx_graph,
    _onnx_int8,
    _onnx_split,
    _onnx_together,
    _sources,
    _torch_graph,
)
from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import (
    BadModelFile,
    BadTarget,
    DynamicShape,
    MissingPackage,
    UnsupportedOperator,
)
from profiler.types import Format, Graph, Model, Source, Structure

SUFFIX = ".onnx"
PRECISIONS = ("fp32", "fp16", "int8")
OPTIONS = {"opset": "20", "profile": "none", "gelu": "exact", "calibration": "random"}
CHOICES = {
    "opset": ("17", "18", "19", "20"),
    "profile": ("none", "nnapi"),
    "gelu": ("exact", "tanh"),
}
EXTRA = "onnx"
INSTALL = "pip install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2"
# Protocol buffers end at 2 GiB; larger weights go into a file beside the graph.
MAX_INSIDE_BYTES = 1_800_000_000


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    return None if all(installed(m) for m in ("torch", "onnx", "onnxscript")) else INSTALL


def versions() -> dict[str, str]:
    """What decides the exported graph; onnxruntime quantises and optimises for NNAPI."""
    names = ("torch", "onnx", "onnxscript", "onnxruntime")
    return {n: package_version(n) or "not installed" for n in names}


def check(wanted: Format) -> None:
    """Raise BadTarget on an option value that does not exist."""
    choices.check(wanted, CHOICES)
    file = wanted.options["calibration"]
    if file != "random" and not Path(file).is_file():
        raise BadTarget(f"format {wanted}: calibration={file} is neither 'random' nor an .npz file")


def export(model: Model, out: Path, wanted: Format) -> None:
    """Write a torch module as ONNX; the model is changed (its precision, its GELUs)."""
    model = _prepared(model, wanted)
    if wanted.options["opset"] == "17":
        _write_by_script(model, out)
    else:
        _write(model, out, int(wanted.options["opset"]))
    _finish(out, wanted)


def export_together(models: Sequence[Model], outs: Sequence[Path], wanted: Format) -> None:
    """Write small modules, a file for each, in less time than one by one.

    An error does not tell whose it is. Of opset 17 there is nothing to be gained.
    """
    if wanted.options["opset"] == "17":
        for model, out in zip(models, outs, strict=True):
            export(model, out, wanted)
        return
    models = [_prepared(m, wanted) for m in models]
    with _exporting():
        programs = _onnx_together.exported(models, int(wanted.options["opset"]))
        for model, out, program in zip(models, outs, programs, strict=True):
            program.save(str(out), external_data=_size_bytes(model) > MAX_INSIDE_BYTES)
    for out in outs:
        _finish(out, wanted)


def _prepared(model: Model, wanted: Format) -> Model:
    """A model in the form and the precision that are wanted."""
    if missing():
        raise MissingPackage(f"exporting to ONNX needs torch and onnx: {INSTALL}")
    if wanted.options["profile"] == "nnapi":
        model = _nnapi.prepare(model)
    if wanted.options["gelu"] == "tanh":
        model = _with_tanh_gelu(model)
    if wanted.precision == "fp16":
        model = _in_half(model)
    return model


def _finish(out: Path, wanted: Format) -> None:
    """What is done to a graph after it was written, in this order."""
    if wanted.options["profile"] == "nnapi":
        _nnapi.simplify(out)
    if wanted.precision == "int8":
        _onnx_int8.quantize(out, wanted.options["calibration"])
    if wanted.options["profile"] == "nnapi":
        _nnapi.write_verdict(out)


def _write(model: Model, out: Path, opset: int) -> None:
    import torch

    with _exporting():
        try:
            program = torch.onnx.export(
                model.module, model.inputs, dynamo=True, opset_version=opset, verbose=False
            )
        except torch.onnx.errors.OnnxExporterError as error:
            lacking = _lacking(error)
            if lacking is None:
                raise
            raise UnsupportedOperator(lacking) from error
    assert program is not None
    program.save(str(out), external_data=_size_bytes(model) > MAX_INSIDE_BYTES)


def _lacking(error: BaseException) -> str | None:
    """The operator that ONNX lacks and its module, in a sentence; None for any other error."""
    node = None
    step: BaseException | None = error
    while step is not None:
        node = _torch_graph.failed_node(step) or node
        if type(step).__name__ == "DispatchError" and node is not None:
            return f"ONNX has no {node.target}{_torch_graph.place(node)}"
        step = step.__cause__
    return None


def _write_by_script(model: Model, out: Path) -> None:
    import onnx
    import torch

    with torch.no_grad(), _quiet():
        torch.onnx.export(model.module, model.inputs, str(out), dynamo=False, opset_version=17)
    if _size_bytes(model) <= MAX_INSIDE_BYTES:
        onnx.save_model(
            onnx.shape_inference.infer_shapes(onnx.load(str(out)), data_prop=True), str(out)
        )


def _size_bytes(model: Model) -> int:
    return sum(p.numel() * p.element_size() for p in model.module.parameters())


def _in_half(model: Model) -> Model:
    inputs = tuple(x.half() if x.is_floating_point() else x for x in model.inputs)
    return Model(model.module.half(), inputs)


def _with_tanh_gelu(model: Model) -> Model:
    """Replace GELU modules by the tanh form, written out; functional calls stay as they are."""
    import torch
    from torch import nn

    class TanhGelu(nn.Module):
        """Equation 3 of Hendrycks and Gimpel, arXiv 1606.08415."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
            return 0.5 * x * (1.0 + torch.tanh(inner))

    for parent in model.module.modules():
        for name, child in parent.named_children():
            if type(child).__name__ in ("GELU", "GELUTanh"):
                setattr(parent, name, TanhGelu())
    return model


@functools.cache
def _keep_registries() -> None:
    """Let torch look up what it has registered once, not for every export.

    For each it parses 500 functions, its ONNX translations, looks through its composite operators
    56 times over and gives them 6,000 kernels, for each of which it writes out the kernel's type,
    which together are most of a small block's export. The names are private to torch; where they
    are gone, exports only take longer.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from torch.onnx._internal.exporter import _registration

        registry = _registration.ONNXRegistry
        registry.from_torchlib = staticmethod(  # type: ignore[method-assign]
            functools.cache(registry.from_torchlib)
        )
    with contextlib.suppress(ImportError, AttributeError):
        from torch._export import utils

        utils._materialize_cpp_cia_ops = functools.cache(utils._materialize_cpp_cia_ops)
        utils._check_valid_to_preserve = functools.cache(utils._check_valid_to_preserve)
    with contextlib.suppress(ImportError, AttributeError):
        from torch.onnx._internal.exporter import _decomp

        table: Any = functools.cache(_decomp.create_onnx_friendly_decomposition_table)
        tables: Any = _decomp
        tables.create_onnx_friendly_decomposition_table = lambda known: table(frozenset(known))
    with contextlib.suppress(ImportError, AttributeError):
        from torch._ops import OperatorBase

        OperatorBase.py_impl = _without_annotations(  # type: ignore[method-assign]
            OperatorBase.py_impl
        )


def _without_annotations(py_impl: Callable[..., Any]) -> Callable[..., Any]:
    """torch's `py_impl`, quick for what it mostly does: note a function under a dispatch key."""
    from torch import DispatchKey

    def quick(operator: Any, key: Any) -> Any:
        if type(key) is not DispatchKey or key == DispatchKey.Python or key in operator.py_kernels:
            return py_impl(operator, key)

        def note(function: Any) -> Any:
            operator.py_kernels[key] = function
            operator._dispatch_cache.clear()
            return function

        return note

    return quick


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    import torch

    _keep_registries()
    with torch.no_grad(), _quiet():
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints; what it prints belongs into the log."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """Copy a user's own file, with its external weights, after making sure that it can be used.

    Raises BadModelFile when it is not ONNX or truncated, DynamicShape when an input dimension
    has no number and none was given. Its opset and its operators stay as they are.
    """
    if not installed("onnx"):
        raise MissingPackage(
            "reading an ONNX file needs the onnx package: pip install onnx==1.23.2"
        )
    import onnx

    model = _onnx_graph.read(graph.path)
    _fix_shapes(model, graph)
    size = sum(len(t.raw_data) for t in model.graph.initializer)
    onnx.save_model(
        model,
        str(out),
        save_as_external_data=size > MAX_INSIDE_BYTES,
        location=out.name + ".data",
    )
    _finish(out, wanted)


def _fix_shapes(model: Any, graph: Graph) -> None:
    known = {t.name for t in model.graph.initializer}
    inputs = {i.name: i for i in model.graph.input if i.name not in known}
    for name in graph.shapes:
        if name not in inputs:
            raise BadModelFile(
                f"{graph.path} has no input {name!r}; its inputs: {', '.join(inputs)}"
            )
    for name, value in inputs.items():
        dimensions = value.type.tensor_type.shape.dim
        wanted = graph.shapes.get(name)
        if wanted and len(wanted) != len(dimensions):
            raise BadModelFile(
                f"input {name!r} has {len(dimensions)} dimensions, not {len(wanted)}"
            )
        for number, dimension in enumerate(dimensions):
            if dimension.dim_value > 0 and (not wanted or wanted[number] == dimension.dim_value):
                continue
            if not wanted:
                label = dimension.dim_param or "unnamed"
                shape = ",".join(str(d.dim_value or "?") for d in dimensions)
                raise DynamicShape(
                    f"{graph.path}: dimension {number} ({label}) of input {name!r} is dynamic; "
                    f"a latency needs a number: give the whole shape, as in --shape {name}={shape}"
                )
            if dimension.dim_value > 0:
                raise BadModelFile(
                    f"dimension {number} of input {name!r} is {dimension.dim_value}, "
                    f"it cannot become {wanted[number]}"
                )
            dimension.dim_value = wanted[number]
    if graph.shapes:
        # What was inferred from the old shapes no longer holds.
        del model.graph.value_info[:]


def structure(path: Path) -> Structure:
    """What a graph holds. Raises BadModelFile."""
    return _onnx_graph.structure(_onnx_graph.read(path))


def sources(path: Path) -> list[Source]:
    """The operators of a graph with the modules that the exporter noted on them."""
    return _sources.of_onnx(_onnx_graph.parse(path))


def verdicts(path: Path) -> list[str]:
    """A sentence for NNAPI and for each form of Core ML: partitions, unsupported operators."""
    return _nnapi.verdicts(path)


def parts(wanted: Format) -> Format:
    """The format of the parts from which this format is composed."""
    return wanted


def compose(parts: Sequence[Path], out: Path) -> Structure:
    """Chain artifacts: every output feeds the next one's input of the same place.

    A part that occurs several times gets weights of its own each time (the same values, rolled),
    so that no cache and no runtime can take two blocks for one.
    """
    chain = _onnx_chain.chained(parts)
    chain.save(out)
    return _onnx_graph.structure(chain.model)


def split(path: Path, folder: Path) -> list[Path]:
    """Every operator as a file of its own, in the graph's order; equal ones share a file."""
    return _onnx_split.split(path, folder)
