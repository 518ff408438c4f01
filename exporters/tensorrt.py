"""TensorRT engines, by way of ONNX: built by TensorRT 10 or 11, or by TensorRT for RTX.

TensorRT times kernels on the GPU of this machine, and its engine is for that GPU alone. TensorRT
for RTX needs no GPU to build: what it writes, any supported GPU compiles further when it loads it.
Networks are strongly typed everywhere, so an fp16 engine comes from a half-precision graph.

Built without a GPU, and never run: TensorRT for RTX 1.7. Written after their documentation, and
not executed: TensorRT 10 and 11.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporters import _nvidia as nvidia
from exporters import _sources
from exporters import _tensorrt_engine as engine_file
from exporters._nvidia import MODULES, NEEDS_GPU, TITLES, gpu
from profiler import choices
from profiler.environment import installed
from profiler.errors import BadModelFile, BadTarget, MissingPackage, UnsupportedOperator
from profiler.types import Format, Graph, Model, Source, Structure

SUFFIX = ".engine"
PRECISIONS = ("fp32", "fp16")
# compute=auto is this machine's GPU for TensorRT, every GPU from Ampere on for TensorRT for RTX.
# typing=weak leaves the choice of fp16 to TensorRT 10, layer by layer, from a float32 graph.
OPTIONS = {
    "library": "auto",
    "compute": "auto",
    "optimization": "3",
    "tf32": "0",
    "typing": "strong",
}
CHOICES = {
    "library": ("auto", "rtx", "tensorrt"),
    "compute": ("auto", "current", "sm75", "sm80", "sm86", "sm89", "sm120", "sm121"),
    "optimization": ("0", "1", "2", "3", "4", "5"),
    "tf32": ("0", "1"),
    "typing": ("strong", "weak"),
}
# What an engine needs at least for a weight: a weakly typed one may keep it in half precision.
WIDTHS_BYTES = {"fp32": 2, "fp16": 2, "bf16": 2}
EXTRA = "tensorrt"
INSTALL = f"{nvidia.INSTALL} torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2"


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    from exporters import onnx

    found = any(installed(module) for module in MODULES.values())
    return None if found and not onnx.missing() else INSTALL


def versions() -> dict[str, str]:
    """What decides the engine: the ONNX exporter, the libraries, and the GPU if there is one."""
    from exporters import onnx

    libraries = {TITLES[n]: nvidia.version_of(n) or "not installed" for n in MODULES}
    return {**onnx.versions(), **libraries, "gpu": str(gpu() or "none")}


def check(wanted: Format) -> None:
    """Raise BadTarget on an option's value that no library takes."""
    choices.check(wanted, CHOICES)
    if wanted.options["library"] == "tensorrt" and wanted.options["compute"].startswith("sm"):
        raise BadTarget(
            f"format {wanted}: TensorRT builds for this machine's GPU; compute= is for library=rtx"
        )
    if wanted.options["typing"] == "weak" and wanted.precision != "fp16":
        raise BadTarget(f"format {wanted}: typing=weak is a way to fp16")


def export(model: Model, out: Path, wanted: Format) -> None:
    """Write an engine of a torch module, and its description beside it.

    Raises UnsupportedOperator naming node and module, RuntimeError when nothing could be built.
    """
    from exporters import onnx

    library = library_for(wanted)
    with _graph_beside(out) as graph:
        onnx.export(model, graph, _as_onnx(wanted))
        _build(graph, out, wanted, library)
        _sources.write(out, onnx.sources(graph))


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """Build an engine from a user's ONNX file. Raises BadModelFile, DynamicShape."""
    from exporters import onnx

    library = library_for(wanted)
    with _graph_beside(out) as copy:
        onnx.adopt(graph, copy, _as_onnx(wanted))
        _build(copy, out, wanted, library)
        _sources.write(out, onnx.sources(copy))


def sources(path: Path) -> list[Source]:
    """The operators of the graph that the engine was built from, from the file beside it."""
    return _sources.read(path)


def structure(path: Path) -> Structure:
    """What an engine holds, as far as it can be told here (see exporters/_tensorrt_engine.py)."""
    return engine_file.structure(path)


@contextlib.contextmanager
def _graph_beside(out: Path) -> Iterator[Path]:
    folder = tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}.")
    with folder as name, contextlib.redirect_stdout(sys.stderr):
        yield Path(name) / "model.onnx"


def _as_onnx(wanted: Format) -> Format:
    """The graph that the engine is built from; of a weakly typed one the graph is float32."""
    from exporters import onnx

    precision = "fp32" if wanted.options["typing"] == "weak" else wanted.precision
    return Format("onnx", precision, dict(onnx.OPTIONS))


def library_for(wanted: Format) -> str:
    """Which library will build. Raises MissingPackage without it, or without a GPU it needs."""
    library = nvidia.choose(wanted.options["library"])
    if gpu() is None and (library == "tensorrt" or wanted.options["compute"] == "current"):
        raise MissingPackage(
            f"{TITLES[library]} {NEEDS_GPU} to build {wanted}; without one, TensorRT for RTX "
            "builds for other GPUs: library=rtx,compute=auto or library=rtx,compute=sm86"
        )
    return library


def _build(graph: Path, out: Path, wanted: Format, library: str) -> None:
    """Build an engine from an ONNX file of static shapes, and describe it. Raises as `export`."""
    title = TITLES[library]
    trt, log = nvidia.load_library(library), nvidia.log_of(library)
    log.clear()
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt, wanted))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        raise _refusal(parser, graph, f"{title} {trt.__version__}")
    held = engine_file.of_network(trt, network)
    _check_precision(held, wanted)
    config = builder.create_builder_config()
    configure(trt, config, wanted)
    file = timing_cache_file(trt.__version__) if library == "tensorrt" else None
    # Held until the engine is built, as TensorRT demands.
    cache = attach_timing_cache(config, file) if file else None
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        said = nvidia.last_problems(log)
        raise RuntimeError(f"{title} {trt.__version__} built no engine: {said}")
    if file and cache:
        keep_timing_cache(config, file)
    out.write_bytes(plan)
    compute = _compute_in_words(library, wanted)
    facts = {"library": library, "version": trt.__version__, "compute": compute}
    notes = [f"{title} {trt.__version__}, for {compute}", *_of_compiling(log, held, plan.nbytes)]
    engine_file.write_sidecar(out, replace(held, notes=tuple(notes)), facts)


def _of_compiling(log: Any, held: Structure, size_bytes: int) -> list[str]:
    """What the builder made of the network, in sentences."""
    compiled = engine_file.compiled_layers(log.layers)
    notes = [f"compiled into {engine_file.counted(compiled)}"] if compiled else []
    weights_bytes = sum(WIDTHS_BYTES.get(kind, 0) * n for kind, n in held.weights.items())
    if size_bytes < weights_bytes:
        notes.append(f"smaller ({size_bytes} bytes) than its network's weights ({weights_bytes})")
    return notes


def _check_precision(held: Structure, wanted: Format) -> None:
    """A strongly typed engine computes in the types of its graph, whatever is asked for."""
    other = {"fp32": "fp16", "fp16": "fp32"}[wanted.precision]
    if wanted.options["typing"] == "strong" and held.precision == other and other in held.weights:
        raise BadModelFile(
            f"the graph's weights are {other}, and its engine would be: give a graph of "
            f"{wanted.precision}, or ask for {other}"
        )


def network_flags(trt: Any, wanted: Format) -> int:
    """Strong typing has to be asked for up to TensorRT 10, and is the only one from 11 on."""
    if wanted.options["typing"] == "weak":
        if not hasattr(trt.BuilderFlag, "FP16"):
            raise BadTarget(f"format {wanted}: only TensorRT 10 and older have typing=weak")
        return 0
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def configure(trt: Any, config: Any, wanted: Format) -> None:
    """Set everything that decides the engine, defaults included."""
    options = wanted.options
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = int(options["optimization"])
    # TensorFloat-32 keeps 10 bits of the 23 of a float32, and is on by default.
    (config.set_flag if options["tf32"] == "1" else config.clear_flag)(trt.BuilderFlag.TF32)
    if options["typing"] == "weak":
        config.set_flag(trt.BuilderFlag.FP16)
    if not hasattr(trt, "ComputeCapability"):
        return
    # What follows is TensorRT for RTX. An engine that allocates while it runs cannot be
    # captured into a CUDA graph.
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if options["compute"] != "auto":
        capability = getattr(trt.ComputeCapability, options["compute"].upper(), None)
        if capability is None:
            raise BadTarget(f"format {wanted}: {trt.__version__} does not know this compute=")
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)


def _compute_in_words(library: str, wanted: Format) -> str:
    compute = wanted.options["compute"]
    if library == "rtx" and compute == "auto":
        return "every GPU that it supports from Ampere on"
    here = gpu()
    return f"{here.name} ({here.compute})" if here and not compute.startswith("sm") else compute


def timing_cache_file(version: str) -> Path:
    """Where TensorRT's timings of kernels are kept, for this version and this GPU.

    In the folder that OPCLOCK_TIMING_CACHE names, or in the user's cache. TensorRT for RTX times
    nothing while it builds, and has none.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.environ.get("OPCLOCK_TIMING_CACHE") or os.path.join(home, "opclock")
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"tensorrt-{version}-{gpu() or 'no-gpu'}")
    return Path(folder) / f"{name}.timing"


def attach_timing_cache(config: Any, file: Path) -> Any:
    """Have the builder use earlier timings, or none where they do not fit. Returns the cache."""
    known = b""
    with contextlib.suppress(OSError):
        known = file.read_bytes()
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def keep_timing_cache(config: Any, file: Path) -> None:
    """Write the timings for the next build: whole or not at all, and never a reason to fail."""
    data = bytes(config.get_timing_cache().serialize())
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.replace(name, file)
        except OSError:
            os.unlink(name)


def _refusal(parser: Any, graph: Path, title: str) -> Exception:
    """What the parser did not take: operator, node and torch module, where it names a node."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    at_nodes = [error for error in errors if error.node() >= 0]
    if not at_nodes:
        said = "; ".join(error.desc()[:300] for error in errors[:3]) or "no reason given"
        return BadModelFile(f"{title} cannot read the ONNX graph: {said}")
    told = dict.fromkeys(
        f"{error.node_operator()} (node {error.node_name()}{_module(graph, error)}): "
        + (error.code().name if error.desc() == "false" else error.desc()[:300])
        for error in at_nodes
    )
    return UnsupportedOperator(f"{title} does not take " + "; ".join(list(told)[:3]))


def _module(graph: Path, error: Any) -> str:
    """The torch module that a node came from, where torch's exporter has written it down."""
    import onnx

    nodes = onnx.load(str(graph), load_external_data=False).graph.node
    if error.node() >= len(nodes) or nodes[error.node()].name != error.node_name():
        return ""
    written = {p.key: p.value for p in nodes[error.node()].metadata_props}
    try:
        scopes = ast.literal_eval(written.get("pkg.torch.onnx.name_scopes", "[]"))
    except (SyntaxError, ValueError):
        return ""
    # From the outermost module to the operator itself; the network has no name.
    return f", module {scopes[-2] or 'of the network itself'}" if len(scopes) > 1 else ""
