"""ExecuTorch programs, `.pte`: XNNPACK for CPUs, Core ML for Apple devices, or portable kernels.

The network goes through torch.export. A partitioner hands what its backend can do to delegates,
each of which holds a graph of the backend's own; the rest stays outside as calls of ExecuTorch's
kernels. Inputs have no place in the program's memory plan: a caller passes pointers, and nothing
is copied.

int8 is static quantization by XNNPACK's quantizer, per channel, calibrated on random inputs of a
fixed seed: its latency is that of a quantized network, its outputs are not those of a well
calibrated one. fp16 is Core ML's own, behind float32 inputs. XNNPACK could take a network in half
precision too, but what is left outside would not be fp16: attention and SiLU are computed in
float32 then, and LayerNorm overflows.
"""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporters import _executorch_program, _executorch_sources, _sources, _torch_graph
from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import BadModelFile, BadTarget, MissingPackage, UnsupportedOperator
from profiler.types import Format, Graph, Model, Source, Structure

SUFFIX = ".pte"
PRECISIONS = ("fp32", "fp16", "int8")
OPTIONS = {"backend": "xnnpack"}
BACKENDS = {"xnnpack": ("fp32", "int8"), "coreml": ("fp32", "fp16"), "portable": ("fp32",)}
EXTRA = "executorch"
INSTALL = "pip install torch==2.13.0 executorch==1.5.1"
CALIBRATION_SEED = 0
CALIBRATION_RUNS = 4


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    return None if all(installed(m) for m in ("torch", "executorch")) else INSTALL


def versions() -> dict[str, str]:
    """What decides the program: torchao quantizes, coremltools writes Core ML's delegates."""
    names = ("torch", "executorch", "torchao", "coremltools")
    return {n: package_version(n) or "not installed" for n in names}


def check(wanted: Format) -> None:
    """Raise BadTarget on an unknown backend, or one that cannot have the precision."""
    choices.check(wanted, {"backend": BACKENDS})
    backend = wanted.options["backend"]
    if wanted.precision not in BACKENDS[backend]:
        able = ", ".join(name for name in BACKENDS if wanted.precision in BACKENDS[name])
        raise BadTarget(f"format {wanted}: {wanted.precision} is for backend={able}")


def export(model: Model, out: Path, wanted: Format) -> None:
    """Write a torch module as a program.

    Raises UnsupportedOperator with the operator, and the module that calls it where that is known.
    """
    if missing():
        raise MissingPackage(f"exporting to ExecuTorch needs torch and executorch: {INSTALL}")
    import torch

    with torch.no_grad(), _quiet(out.parent):
        from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
        from executorch.exir.passes import MemoryPlanningPass

        _mend_softmax()
        # The layout of the example becomes the program's, and feeds come in torch's default one.
        inputs = tuple(x.contiguous() for x in model.inputs)
        module = _quantized(model.module, inputs) if wanted.precision == "int8" else model.module
        program = torch.export.export(module, inputs)
        planning = MemoryPlanningPass(alloc_graph_input=False)
        try:
            lowered = to_edge_transform_and_lower(program, partitioner=_partitioner(wanted))
            executable = lowered.to_executorch(
                ExecutorchBackendConfig(memory_planning_pass=planning)
            )
        except Exception as error:  # torch's verifiers have no class in common
            _explain(error, program)
            raise
        with out.open("wb") as stream:
            executable.write_to_file(stream)
        _sources.write(out, _executorch_sources.of_executable(executable))


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """Prints go to the log, warnings of the converters' insides nowhere, scratch into `folder`.

    coremltools removes its temporary packages when the process ends, which a killed one does not.
    """
    elsewhere = tempfile.tempdir
    with (
        contextlib.redirect_stdout(sys.stderr),
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory(prefix="executorch-", dir=folder) as scratch,
    ):
        warnings.simplefilter("ignore")
        tempfile.tempdir = scratch
        try:
            yield
        finally:
            tempfile.tempdir = elsewhere


def _mend_softmax() -> None:
    """Have softmax done along the axis that the network says.

    Behind a convolution XNNPACK's tensors have their channels last, and ExecuTorch 1.5 does not
    turn them back for softmax, which then runs along the channels: outputs are wrong, as in
    EfficientFormerV2, whose attention maps go through convolutions.
    """
    from executorch.backends.xnnpack._passes import channels_last_tagged_reshape_pass as layouts
    from executorch.exir.dialects._ops import ops

    turned_back = layouts.ChannelsLastTaggedReshapePass.memory_sensitive_ops_nchw
    turned_back.add(ops.edge.aten._softmax.default)


def _partitioner(wanted: Format) -> list[Any]:
    if wanted.options["backend"] == "portable":
        return []
    if wanted.options["backend"] == "xnnpack":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        return [XnnpackPartitioner()]
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    precisions = {"fp32": coremltools.precision.FLOAT32, "fp16": coremltools.precision.FLOAT16}
    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=precisions[wanted.precision],
        minimum_deployment_target=coremltools.target.iOS17,
    )
    return [CoreMLPartitioner(compile_specs=specs)]


def _quantized(module: Any, inputs: tuple[Any, ...]) -> Any:
    """The module with quantizers around what XNNPACK does in int8."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    recipe = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    graph = torch.export.export(module, inputs).module()
    observed = prepare_pt2e(graph, XNNPACKQuantizer().set_global(recipe))
    generator = torch.Generator().manual_seed(CALIBRATION_SEED)
    for _ in range(CALIBRATION_RUNS):
        # Integers may be indices: only the example's own values are known to be allowed.
        feeds = [
            torch.randn(x.shape, generator=generator, dtype=x.dtype) if x.is_floating_point() else x
            for x in inputs
        ]
        observed(*feeds)
    return convert_pt2e(observed)


def _explain(error: Exception, program: Any) -> None:
    """Raise UnsupportedOperator where the error names an operator."""
    found = re.search(
        r"torch\._ops\.(\S+) is not in Core ATen|Missing out variants: \{'([^']+)'", str(error)
    )
    if not found:
        return
    operator = found[1] or found[2].replace("::", ".")
    # What calls it may be a decomposition; ExecuTorch's are those that torch takes by default.
    for graph in (program.graph, program.run_decompositions().graph):
        for node in graph.nodes:
            if f"{node.target}.".startswith(f"{operator}."):
                raise UnsupportedOperator(
                    f"ExecuTorch has no {operator}{_torch_graph.place(node)}"
                ) from error
    raise UnsupportedOperator(f"ExecuTorch has no {operator}") from error


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """Raise BadModelFile: ExecuTorch compiles torch networks only."""
    raise BadModelFile(
        f"{graph.path} is an ONNX file, and ExecuTorch compiles torch networks only: "
        "give a function that returns the torch module"
    )


def sources(path: Path) -> list[Source]:
    """The operators that the program's instructions stand for, from the file beside it."""
    return _sources.read(path)


def structure(path: Path) -> Structure:
    """What a program holds; raises BadModelFile when it is truncated or another format.

    Operators are calls of kernels (`aten::mean.out`) and of delegates (`delegate:XnnpackBackend`).
    """
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _executorch_program.structure(path)
