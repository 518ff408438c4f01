"""LiteRT: executes `.tflite` on the CPU, by XNNPACK or by LiteRT's own kernels.

XNNPACK takes the operators that it knows, LiteRT's own kernels run the rest: how many it took is
counted in the graph and reported. Its threads are counted in the process.

In fp16, XNNPACK is made to compute in half; it refuses to load a graph that it cannot compute so.
Only LiteRT's newer interface, CompiledModel, can ask for that. The older Interpreter is used
otherwise, because it alone tells which operators were delegated.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import BadTarget, NoProfiler
from profiler.runtimes import _litert_profile
from profiler.runtimes._litert_engines import Compiled, Interpreted
from profiler.sampling import Turns
from profiler.types import OperatorTimes, Source, Target

FORMATS = ("litert",)
UNITS = ("cpu",)
PRECISIONS = ("fp32", "fp16", "int8")
OPTIONS = {"threads": "1", "delegate": "xnnpack"}
DELEGATES = ("xnnpack", "none")
EXTRA = "litert"
INSTALL = "pip install ai-edge-litert==2.3.0"
INVALID = ("not a valid Flatbuffer", "model allocation is null", "out of range offset")
UNSUPPORTED = (
    "unresolved custom op",
    "Didn't find op",
    "failed to prepare",
    "failed to create XNNPACK",
    "XNNPACK takes none",
)


def missing() -> str | None:
    """The one line that would make this runtime available, or None when it is."""
    return None if installed("ai_edge_litert") else INSTALL


def version() -> str:
    """The version that decides the latency."""
    return package_version("ai-edge-litert") or "not installed"


def start() -> None:
    """Import the engine, so that no artifact's load time includes it."""
    import ai_edge_litert.compiled_model
    import ai_edge_litert.interpreter  # noqa: F401


def check(target: Target) -> None:
    """Raise BadTarget when an option's value is not one that LiteRT takes."""
    choices.check(target, {"threads": choices.THREADS, "delegate": DELEGATES})
    if target.precision == "fp16" and target.options["delegate"] == "none":
        raise BadTarget(f"target {target}: only delegate=xnnpack computes in fp16")


class Session:
    """A loaded artifact. `inputs` are (name, shape, numpy type), in torch's order and layout."""

    def __init__(self, path: str, target: Target) -> None:
        self._path, self._target = path, target
        self._channels_last = target.options.get("layout") == "nhwc"
        before = _threads()
        self._engine = _engine(path, target)
        self._new_threads = len(_threads() - before)
        self.inputs = [(n, self._as_torch(s), t) for n, s, t in self._engine.inputs]

    @functools.cached_property
    def actual(self) -> dict[str, str]:
        """What happens: precision, threads, and how many operators XNNPACK took.

        Raises RuntimeError when that is not what the target asks for. It is looked up when asked
        for, because it must not count as load time.
        """
        wanted, engine = self._target, self._engine
        if isinstance(engine, Interpreted):
            taken, total = engine.delegated()
        else:
            # The same delegate takes the same operators there, and there they can be counted.
            taken, total = Interpreted(self._path, wanted).delegated()
            if engine.is_delegated_whole() != (taken == total):
                raise RuntimeError("XNNPACK takes other operators in fp16 than in fp32")
        if wanted.options["delegate"] == "xnnpack" and not taken:
            raise RuntimeError(f"XNNPACK takes none of the {total} operators; try delegate=none")
        if wanted.options["delegate"] == "none" and taken:
            raise RuntimeError(f"asked for no delegate, one took {taken} of {total} operators")
        precision = engine.precision()
        if precision != wanted.precision:
            raise RuntimeError(f"asked for {wanted.precision}, the artifact holds {precision}")
        return {
            **wanted.options,
            "threads": self._threads(),
            "precision": precision,
            "delegated": f"{taken} of {total} operators",
        }

    def _threads(self) -> str:
        """The threads that compute: XNNPACK makes its own when it loads, the caller is one more."""
        wanted = self._target.options["threads"]
        if self._target.options["delegate"] == "none" or not os.path.isdir("/proc/self/task"):
            return wanted
        if self._new_threads + 1 != int(wanted):
            raise RuntimeError(f"asked for {wanted} threads, XNNPACK made {self._new_threads + 1}")
        return wanted

    def bind(self, feeds: Mapping[str, Any]) -> Callable[[], Any]:
        """Set the inputs, and return a call that runs one inference with what was set last."""
        import numpy

        for number, (name, _, kind) in enumerate(self.inputs):
            array = numpy.asarray(feeds[name], dtype=kind)
            if self._channels_last and array.ndim == 4:
                array = array.transpose(0, 2, 3, 1)
            self._engine.write(number, numpy.asarray(array, order="C"))
        return self._engine.call

    def outputs(self, result: None) -> list[Any]:
        """The outputs of the last inference, in torch's order and layout."""
        found = self._engine.read()
        if self._channels_last:
            return [a.transpose(0, 3, 1, 2) if a.ndim == 4 else a for a in found]
        return found

    def _as_torch(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self._channels_last and len(shape) == 4:
            return shape[0], shape[3], shape[1], shape[2]
        return shape


def load(path: str, target: Target) -> Session:
    """Load an artifact. Raises what LiteRT raises; `kind_of` tells what it means."""
    return Session(path, target)


def _engine(path: str, target: Target) -> Interpreted | Compiled:
    return Compiled(path, target) if target.precision == "fp16" else Interpreted(path, target)


def _threads() -> set[str]:
    """This process's threads; none where the system does not list them."""
    try:
        return set(os.listdir("/proc/self/task"))
    except OSError:
        return set()


def profile(
    path: str,
    target: Target,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """The time of each operator, by the profiler of LiteRT's C interface.

    Raises NoProfiler where that cannot do what the target asks for, BadProfile.
    """
    import numpy

    if target.precision == "fp16" or target.options["delegate"] != "xnnpack":
        raise NoProfiler("LiteRT's profiler is asked for XNNPACK in fp32 or int8 only")
    last = target.options.get("layout") == "nhwc"
    arrays = {
        n: numpy.ascontiguousarray(x.transpose(0, 2, 3, 1) if last and x.ndim == 4 else x)
        for n, x in feeds.items()
    }
    threads = int(target.options["threads"])
    return _litert_profile.profile(path, threads, arrays, sources, runs, warmup)


def own_tool(path: str, target: Target) -> float:
    """The median latency that litert-benchmark reports, in ns (it rounds to 10 us)."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model"]
        command += ["--model", path, "--num_threads", target.options["threads"]]
        command += ["--warmup_runs", "20", "--num_runs", "200", "--result_json", str(result)]
        subprocess.run(command, check=True, capture_output=True)
        report = json.loads(result.read_text())
    return _median_ms(report) * 1e6


def _median_ms(report: Any) -> float:
    """`median_ms` wherever the report keeps it."""
    if isinstance(report, dict):
        if "median_ms" in report:
            return float(report["median_ms"])
        for value in report.values():
            found = _median_ms(value)
            if found > 0:
                return found
    return 0.0


def kind_of(error: BaseException) -> str:
    """What LiteRT's error means, in the words of Failure.kind."""
    text = str(error)
    if isinstance(error, ImportError):
        return "missing-package"
    if isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate" in text:
        return "out-of-memory"
    if any(mark in text for mark in INVALID):
        return "invalid-artifact"
    return "unsupported-operator" if any(mark in text for mark in UNSUPPORTED) else "error"
