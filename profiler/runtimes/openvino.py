"""OpenVINO on the CPU: executes its own representation, or ONNX as it is.

Left alone, OpenVINO picks bfloat16 where the processor has it: the precision is always said, and
read back. One stream, so that all threads work on one inference.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import choices
from profiler.environment import installed, package_version
from profiler.runtimes import _openvino_profile
from profiler.sampling import Turns
from profiler.types import OperatorTimes, Source, Target

FORMATS = ("openvino", "onnx")
UNITS = ("cpu",)
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
# Weights stay float32 in the file where the processor computes in fewer bits.
EXPORTED = {"bf16": "fp32"}
OPTIONS = {"threads": "1"}
EXTRA = "openvino"
INSTALL = "pip install openvino==2026.4.1"
# What runs in int8 has float32 between its quantised parts.
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
NUMPY_TYPES = {"f32": "float32", "f16": "float16", "f64": "float64", "i64": "int64"}
NUMPY_TYPES |= {"i32": "int32", "i8": "int8", "u8": "uint8", "boolean": "bool"}


def missing() -> str | None:
    """The one line that would make this runtime available, or None when it is."""
    return None if installed("openvino") else INSTALL


def version() -> str:
    """The version that decides the latency."""
    return package_version("openvino") or "not installed"


def start() -> None:
    """Import the engine, so that no artifact's load time includes it."""
    import openvino  # noqa: F401


def check(target: Target) -> None:
    """Raise BadTarget when an option's value is not one that OpenVINO takes."""
    choices.check(target, {"threads": choices.THREADS})


class Session:
    """A compiled network. `inputs` are (name, shape, numpy type); `counters` time operators."""

    def __init__(self, path: str, target: Target, counters: bool = False) -> None:
        import openvino

        model = openvino.Core().read_model(path)
        wanted = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": int(target.options["threads"]),
            "NUM_STREAMS": "1",
            "INFERENCE_PRECISION_HINT": HINTS[target.precision],
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": counters,
        }
        self.compiled = openvino.Core().compile_model(model, "CPU", wanted)
        self.request = self.compiled.create_infer_request()
        self.inputs = [
            (str(i), tuple(p.get_shape()), _numpy_type(p))
            for i, p in enumerate(self.compiled.inputs)
        ]
        self.actual = self._read_back(target)

    def _read_back(self, target: Target) -> dict[str, str]:
        read = self.compiled.get_property
        precision = str(read("INFERENCE_PRECISION_HINT").get_type_name())
        threads = str(read("INFERENCE_NUM_THREADS"))
        for name, asked, got in (
            ("precision", HINTS[target.precision], precision),
            ("threads", target.options["threads"], threads),
        ):
            if asked != got:
                raise RuntimeError(f"asked for {name} {asked}, OpenVINO chose {got}")
        devices = ",".join(read("EXECUTION_DEVICES"))
        return {"device": devices, "precision": precision, "threads": threads, "streams": "1"}

    def bind(self, feeds: Mapping[str, Any]) -> Callable[[], Any]:
        """A call without arguments that runs one inference on tensors that are in place."""
        import numpy
        import openvino

        for number, (name, _, _) in enumerate(self.inputs):
            data = numpy.ascontiguousarray(feeds[name])
            self.request.set_input_tensor(number, openvino.Tensor(data))
        # Synchronous, in this thread: handing over to another one costs a percent of 3 ms.
        return functools.partial(self.request.infer, None, share_outputs=True)

    def outputs(self, result: Any) -> list[Any]:
        """The outputs of the last inference, as numpy arrays in torch's order."""
        count = len(self.compiled.outputs)
        return [self.request.get_output_tensor(i).data.copy() for i in range(count)]


def _numpy_type(port: Any) -> str:
    name = str(port.get_element_type().get_type_name())
    return NUMPY_TYPES.get(name, name)


def load(path: str, target: Target) -> Session:
    """Compile an artifact. Raises what OpenVINO raises; `kind_of` tells what it means."""
    return Session(path, target)


def executed(path: str, target: Target) -> dict[str, int]:
    """Operators by type of the compiled network, after OpenVINO's fusions and layout choices."""
    session = load(path, target)
    counts: dict[str, int] = {}
    for node in session.compiled.get_runtime_model().get_ops():
        kind = str(node.get_rt_info()["layerType"].astype(str))
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def profile(
    path: str,
    target: Target,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """The time of each executed operator, by OpenVINO's counters, and the latency with them.

    Raises BadProfile.
    """
    session = Session(path, target, counters=True)
    call = session.bind(feeds)
    return _openvino_profile.profile(session.compiled, session.request, call, sources, runs, warmup)


def own_tool(path: str, target: Target) -> float:
    """The median latency that OpenVINO's benchmark_app reports, in ns (it rounds to 10 us)."""
    threads, precision = target.options["threads"], HINTS[target.precision]
    with tempfile.TemporaryDirectory() as folder:
        start = "from openvino.tools.benchmark.main import main; main()"
        command = [sys.executable, "-c", start, "-m", path, "-d", "CPU"]
        command += ["-hint", "none", "-api", "sync", "-nthreads", threads, "-nstreams", "1"]
        command += ["-t", "4", "-infer_precision", precision, "-json_stats"]
        command += ["-report_type", "no_counters", "-report_folder", folder]
        subprocess.run(command, check=True, capture_output=True)
        report = json.loads(Path(folder, "benchmark_report.json").read_text())
    return float(report["execution_results"]["latency (ms)"]) * 1e6


def kind_of(error: BaseException) -> str:
    """What a runtime's error means, in the words of Failure.kind."""
    text = str(error)
    if "OpConversionFailure" in text or "No translator found" in text or "not supported" in text:
        return "unsupported-operator"
    if "bad_alloc" in text or "allocate" in text:
        return "out-of-memory"
    if (
        "Cannot read the model" in text
        or "Unable to read the model" in text
        or "Check 'doc" in text
    ):
        return "invalid-artifact"
    return "error"
