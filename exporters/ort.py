"""ONNX Runtime's own format, `.ort`: a graph that is optimised already, for small runtimes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from exporters import _onnx_graph, _sources, onnx
from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import BadModelFile, MissingPackage
from profiler.types import Format, Graph, Model, Source, Structure

SUFFIX = ".ort"
PRECISIONS = onnx.PRECISIONS
# `optimized` is the level at which the graph is optimised before it is written.
OPTIONS = {**onnx.OPTIONS, "optimized": "basic"}
LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
EXTRA = "onnx"
INSTALL = "pip install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1"
MARK = b"ORTM"


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    return INSTALL if onnx.missing() or not installed("onnxruntime") else None


def versions() -> dict[str, str]:
    """What decides the graph."""
    return {**onnx.versions(), "onnxruntime": package_version("onnxruntime") or "not installed"}


def check(wanted: Format) -> None:
    """Raise BadTarget on an option value that does not exist."""
    onnx.check(wanted)
    choices.check(wanted, {"optimized": LEVELS})


def export(model: Model, out: Path, wanted: Format) -> None:
    """Write a torch module: through ONNX, then optimised and saved by ONNX Runtime."""
    if missing():
        raise MissingPackage(f"exporting to .ort needs torch, onnx and onnxruntime: {INSTALL}")
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        graph = Path(name, "model.onnx")
        onnx.export(model, graph, wanted)
        _convert(graph, out, wanted)


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """Convert a user's own ONNX file. Raises as exporters.onnx.adopt does."""
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        copy = Path(name, "model.onnx")
        onnx.adopt(graph, copy, wanted)
        _convert(copy, out, wanted)


def _convert(graph: Path, out: Path, wanted: Format) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    level = LEVELS[wanted.options["optimized"]]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    _sources.write(out, onnx.sources(graph))


def sources(path: Path) -> list[Source]:
    """The operators of the graph that was optimised, from the file beside the artifact."""
    return _sources.read(path)


def structure(path: Path) -> Structure:
    """What the file holds: ONNX Runtime reads it and writes it back as ONNX."""
    import onnx as library
    import onnxruntime

    if not path.is_file() or MARK not in path.read_bytes()[:8]:
        raise BadModelFile(f"{path} is not an .ort file")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.save_model_format", "ONNX")
    with tempfile.TemporaryDirectory() as name:
        back = Path(name, "model.onnx")
        options.optimized_model_filepath = str(back)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common root
            raise BadModelFile(f"{path} is not a whole .ort file: {str(error)[:300]}") from error
        return _onnx_graph.structure(library.shape_inference.infer_shapes(library.load(str(back))))
