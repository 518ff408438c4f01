"""ONNX Runtime: executes `.onnx` and `.ort` on the CPU, or through a provider that its build has.

Only the CPU's provider has been run. With another one, operators that it lacks run on the CPU.

Everything that decides the latency is set explicitly: threads, graph optimisation level,
spinning and the execution provider. With one thread there is no pool to spin; with more, all
sessions of a process share one global pool, because the pools of many sessions spin after their
runs and take each other's cores.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import MissingPackage
from profiler.runtimes import _onnxruntime_profile
from profiler.sampling import Turns
from profiler.types import OperatorTimes, Source, Target

FORMATS = ("onnx", "ort")
# Where many artifacts are loaded for a short time each: what is loaded anew differs from what was
# loaded before as much as two processes do, and loads in half of the time or less, because it finds
# memory that the system does not have to clear (docs/METHOD.md has the figures).
ROUNDS_PER_PROCESS = 3
UNITS = ("cpu", "xnnpack", "nnapi", "coreml", "cuda", "tensorrt", "qnn")
PRECISIONS = ("fp32", "fp16", "int8")
OPTIONS = {
    "threads": "1",
    "graph": "all",
    "spinning": "1",
}
GRAPH_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
EXTRA = "onnx"
INSTALL = "pip install onnxruntime==1.31.1"


def missing() -> str | None:
    """The one line that would make this runtime available, or None when it is."""
    return None if installed("onnxruntime") else INSTALL


def version() -> str:
    """The version that decides the latency."""
    return package_version("onnxruntime") or "not installed"


def start() -> None:
    """Import the engine, so that no artifact's load time includes it."""
    import onnxruntime  # noqa: F401


def check(target: Target) -> None:
    """Raise BadTarget when an option's value is not one that ONNX Runtime takes."""
    taken = {"threads": choices.THREADS, "graph": GRAPH_LEVELS, "spinning": choices.FLAG}
    choices.check(target, taken)


@functools.cache
def _use_global_pool(threads: int) -> None:
    import onnxruntime

    onnxruntime.set_global_thread_pool_sizes(threads, 1)


def session_options(target: Target) -> Any:
    """The SessionOptions that a target means."""
    import onnxruntime

    threads = int(target.options["threads"])
    options = onnxruntime.SessionOptions()
    level = GRAPH_LEVELS[target.options["graph"]]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads > 1 and target.options["spinning"] == "1":
        # A global pool spins, and cannot be told not to.
        _use_global_pool(threads)
        options.use_per_session_threads = False
    else:
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", target.options["spinning"]
        )
    return options


def provider(target: Target) -> str:
    """The execution provider of a unit. Raises MissingPackage when this build lacks it."""
    import onnxruntime

    wanted = PROVIDERS[target.unit]
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise MissingPackage(
            f"this build of ONNX Runtime has no {wanted}; it has {', '.join(available)}"
        )
    return wanted


class Session:
    """A loaded artifact. `inputs` are (name, shape, numpy type)."""

    def __init__(self, path: str, target: Target) -> None:
        import onnxruntime

        wanted = provider(target)
        options = session_options(target)
        self._session = onnxruntime.InferenceSession(path, options, providers=[wanted])
        got = self._session.get_providers()[0]
        if got != wanted:
            raise RuntimeError(f"asked for {wanted}, ONNX Runtime chose {got}")
        self.inputs = [
            (i.name, tuple(i.shape), NUMPY_TYPES.get(i.type, i.type))
            for i in self._session.get_inputs()
        ]
        self.actual = {"provider": got, **target.options}

    def bind(self, feeds: Mapping[str, Any]) -> functools.partial[Any]:
        """A call without arguments that runs one inference and returns the list of outputs."""
        return functools.partial(self._session.run, None, dict(feeds))

    def outputs(self, result: list[Any]) -> list[Any]:
        """What the call returned, as numpy arrays in torch's order."""
        return result


def load(path: str, target: Target) -> Session:
    """Load an artifact. Raises what ONNX Runtime raises; `kind_of` tells what it means."""
    return Session(path, target)


def executed(path: str, target: Target) -> dict[str, int]:
    """Operators by type as they are executed, after ONNX Runtime's own optimisation."""
    import onnx
    import onnxruntime

    options = session_options(target)
    options.add_session_config_entry("session.save_model_format", "ONNX")
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        onnxruntime.InferenceSession(path, options, providers=[provider(target)])
        model = onnx.load(options.optimized_model_filepath, load_external_data=False)
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def profile(
    path: str,
    target: Target,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """The time of each executed operator, by ONNX Runtime's profiler, and the latency under it.

    Raises BadProfile.
    """
    options = functools.partial(session_options, target)
    return _onnxruntime_profile.profile(
        path, options, provider(target), feeds, sources, runs, warmup
    )


def own_tool(path: str, target: Target) -> float:
    """The median of the plainest loop around ONNX Runtime, in ns: it has no tool in Python."""
    import time

    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(target.options["threads"])
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {
        i.name: numpy.random.default_rng(0).standard_normal(i.shape).astype(NUMPY_TYPES[i.type])
        for i in session.get_inputs()
    }
    samples = []
    until = time.perf_counter() + 4
    while time.perf_counter() < until:
        before = time.perf_counter_ns()
        session.run(None, feeds)
        samples.append(time.perf_counter_ns() - before)
    later = sorted(samples[len(samples) // 4 :])
    return later[len(later) // 2]


def kind_of(error: BaseException) -> str:
    """What a runtime's error means, in the words of Failure.kind."""
    text = f"{type(error).__name__} {error}"
    if isinstance(error, MissingPackage):
        return "missing-package"
    unsupported = ("NotImplemented", "NOT_IMPLEMENTED", "is not a registered function/op")
    if any(mark in text for mark in unsupported):
        return "unsupported-operator"
    if "bad_alloc" in text or "Failed to allocate memory" in text:
        return "out-of-memory"
    if "INVALID_PROTOBUF" in text or "INVALID_GRAPH" in text or "InvalidGraph" in text:
        return "invalid-artifact"
    return "error"
