"""Core ML: an ML Program with static shapes in a package, `.mlpackage`, a folder.

Through `torch.export` and coremltools; it needs no Mac. An operator that coremltools does not know
is taken apart by torch's own decompositions, and the package says so; all others stay whole. In
fp16, which is what phones run, weights, arithmetic, inputs and outputs are float16 (coremltools'
own default), except with deployment=ios15, which has no float16 inputs: there a cast stands at
both ends. In fp32 all of them are float32. Integers and truth values enter as int32.

`weights` compresses every weight of more than 2048 numbers: int8 with a scale per output channel,
or indices of 4, 6 or 8 bits into a table of evenly spaced values. Evenly spaced, because k-means
takes many times longer and needs another package; where the values lie changes the error of the
outputs, not the work.

The same model gives the same bytes: the package's random identifiers and its date are replaced.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import re
import shutil
import sys
import tempfile
import traceback
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporters import _coreml_program, _sources, _torch_graph
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

SUFFIX = ".mlpackage"
PRECISIONS = ("fp16", "fp32")
OPTIONS = {"deployment": "ios17", "weights": "none"}
# The oldest system that shall run it, and coremltools' name for that.
DEPLOYMENTS = {
    "ios15": "iOS15",
    "ios16": "iOS16",
    "ios17": "iOS17",
    "ios18": "iOS18",
    "ios26": "iOS26",
}
WEIGHTS = ("none", "int8", "palette4", "palette6", "palette8")
EXTRA = "coreml"
INSTALL = "pip install torch==2.13.0 numpy==2.3.5 coremltools==9.0"


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    return None if all(installed(m) for m in ("torch", "numpy", "coremltools")) else INSTALL


def versions() -> dict[str, str]:
    """What decides the converted program."""
    return {n: package_version(n) or "not installed" for n in ("torch", "numpy", "coremltools")}


def check(wanted: Format) -> None:
    """Raise BadTarget on a deployment or a kind of weights that does not exist."""
    choices.check(wanted, {"deployment": DEPLOYMENTS, "weights": WEIGHTS})
    deployment, weights = wanted.options["deployment"], wanted.options["weights"]
    if weights != "none" and deployment == "ios15":
        raise BadTarget(f"format {wanted}: weights={weights} needs deployment=ios16 or newer")


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """Refuse a user's ONNX file: coremltools 9.0 converts from torch and TensorFlow."""
    raise BadModelFile(
        f"{graph.path} is an ONNX file, which coremltools cannot convert; give the torch model"
    )


def export(model: Model, out: Path, wanted: Format) -> None:
    """Write a torch module as an ML Program with inputs input0, ... and outputs output0, ...

    Raises UnsupportedOperator, naming the operator and its module, for what Core ML cannot
    express; DynamicShape where a shape or the path depends on the values of an input.
    """
    if missing():
        raise MissingPackage(f"exporting to Core ML needs torch and coremltools: {INSTALL}")
    with _quiet(out.parent):
        exported = _exported(model)
        package, taken_apart = _convert(exported, model, wanted)
        package = _compress(package, wanted)
        if taken_apart:
            package.user_defined_metadata[_coreml_program.TAKEN_APART] = ", ".join(taken_apart)
        package.save(str(out))
    _settle(out)
    _sources.write(out, _sources.of_program(exported))


def sources(path: Path) -> list[Source]:
    """The operators that were converted, from the file beside the package."""
    return _sources.read(path)


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """Prints go to the log, progress bars nowhere, temporary packages into `folder`.

    coremltools removes its temporary packages when the process ends, which a killed one does not.
    """
    bar: Any = importlib.import_module("tqdm").tqdm
    draw, elsewhere = bar.__init__, tempfile.tempdir
    with (
        contextlib.redirect_stdout(sys.stderr),
        tempfile.TemporaryDirectory(prefix="coreml-", dir=folder) as scratch,
    ):
        bar.__init__ = functools.partialmethod(draw, disable=True)
        tempfile.tempdir = scratch
        try:
            yield
        finally:
            bar.__init__, tempfile.tempdir = draw, elsewhere


def _coremltools() -> Any:
    """The package, without the warnings of its import: it says eight times that this is no Mac."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("coremltools")
    finally:
        logger.setLevel(level)


def _exported(model: Model) -> Any:
    """torch's ExportedProgram, in which every shape is a number."""
    import torch
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    try:
        with torch.no_grad():
            program = torch.export.export(model.module, model.inputs)
    except GuardOnDataDependentSymNode as error:
        raise DynamicShape(
            f"the path through the network depends on the values of its input{_line(error)}; "
            "a latency belongs to one path"
        ) from error
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and any(not isinstance(n, int) for n in value.shape):
            raise DynamicShape(
                f"the shape of what {node.target} gives{_torch_graph.place(node)} depends on the "
                "values of the input; a latency needs numbers"
            )
    return program


def _line(error: BaseException) -> str:
    """Where in the user's own code, as " (net.py, line 12)"; nothing when unknown."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "forward"]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _convert(exported: Any, model: Model, wanted: Format) -> tuple[Any, list[str]]:
    """An MLModel, and which operators torch had to take apart, as coremltools knows them not."""
    import torch

    # What torch does not take apart itself: another name for a tensor is the tensor.
    parts = {**torch.export.default_decompositions(), torch.ops.aten.alias.default: lambda x: x}
    taken_apart: dict[Any, Any] = {}
    while True:
        program = exported.run_decompositions(taken_apart)
        try:
            return _convert_program(program, model, wanted), sorted(map(str, taken_apart))
        except (MemoryError, UnsupportedOperator):
            raise
        except Exception as error:
            node = _culprit(error, program)
            if node is None:
                raise
            if node.target in taken_apart or node.target not in parts:
                reason = str(error).strip().partition("\n")[0]
                raise UnsupportedOperator(
                    f"Core ML cannot take {_called(node)}{_torch_graph.place(node)}: {reason}"
                ) from error
            taken_apart[node.target] = parts[node.target]


def _convert_program(program: Any, model: Model, wanted: Format) -> Any:
    import numpy

    changed = program.graph_signature.buffers_to_mutate.values()
    if changed:
        raise UnsupportedOperator(
            f"the network changes its buffer {', '.join(changed)} while it runs, which an ML "
            "Program without state cannot"
        )
    ct = _coremltools()
    inputs = [
        ct.TensorType(
            name=f"input{number}",
            shape=tuple(x.shape),
            # None: float16 or float32, as the precision and the deployment allow.
            dtype=None if x.is_floating_point() else numpy.int32,
        )
        for number, x in enumerate(model.inputs)
    ]
    outputs = [f"output{n}" for n in range(len(program.graph_signature.user_outputs))]
    package = ct.convert(
        program,
        convert_to="mlprogram",
        inputs=inputs,
        outputs=[ct.TensorType(name=name) for name in outputs],
        minimum_deployment_target=ct.target[DEPLOYMENTS[wanted.options["deployment"]]],
        compute_precision=ct.precision[{"fp16": "FLOAT16", "fp32": "FLOAT32"}[wanted.precision]],
        skip_model_load=True,
    )
    if [o.name for o in package.get_spec().description.output] != outputs:
        raise UnsupportedOperator(
            "two outputs of the network are the same tensor, which an ML Program gives once only"
        )
    return package


def _culprit(error: BaseException, program: Any) -> Any | None:
    """The node that coremltools was converting, or the first one that calls other graphs."""
    import torch

    nodes = {node.name: node for node in program.graph.nodes}
    names = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name in ("from_exir_node", "convert_single_node"):
            names.append(getattr(frame.f_locals.get("node"), "name", ""))
    # Checks of the finished program name an operator after its node: "view_1_cast_fp16".
    for quoted in re.findall(r'"(\w+)"', str(error)):
        names += sorted((n for n in nodes if f"{quoted}_".startswith(f"{n}_")), key=len)[-1:]
    for name in names:
        if name in nodes:
            return nodes[name]
    nested = (n for n in nodes.values() if isinstance(n.target, torch._ops.HigherOrderOperator))
    return next(nested, None)


def _called(node: Any) -> str:
    """The operator that the network called, which may have been taken apart since."""
    sources = node.meta.get("from_node") or ()
    return str(sources[0].target if sources else node.target)


def _compress(package: Any, wanted: Format) -> Any:
    weights = wanted.options["weights"]
    if weights == "none":
        return package
    optimize = importlib.import_module("coremltools.optimize.coreml")
    if weights == "int8":
        how = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
        shrink = optimize.linear_quantize_weights
    else:
        bits = int(weights.removeprefix("palette"))
        how = optimize.OpPalettizerConfig(mode="uniform", nbits=bits)
        shrink = optimize.palettize_weights
    return shrink(package, config=optimize.OptimizationConfig(global_config=how))


def _settle(out: Path) -> None:
    """Take out what differs between two exports of one model: identifiers, date, debug notes."""
    model = _coreml_program.model_file(out)
    spec = _coreml_program.read(out)
    spec.description.metadata.userDefined.pop("com.github.apple.coremltools.conversion_date", None)
    model.write_bytes(spec.SerializeToString(deterministic=True))
    manifest = json.loads((out / "Manifest.json").read_text())
    names = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"]))
        for old, entry in manifest["itemInfoEntries"].items()
    }
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    manifest["itemInfoEntries"] = {names[k]: v for k, v in manifest["itemInfoEntries"].items()}
    (out / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True))
    for extra in out.iterdir():
        if extra.name not in ("Manifest.json", "Data"):
            shutil.rmtree(extra) if extra.is_dir() else extra.unlink()


def structure(path: Path) -> Structure:
    """What the package holds, from the file alone; on any system. Raises BadModelFile."""
    _coremltools()
    return _coreml_program.structure(path)
