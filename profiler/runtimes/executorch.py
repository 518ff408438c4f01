"""ExecuTorch: executes `.pte` on the CPU, by XNNPACK where the program delegates to it.

Inputs are set once: the call is the method's `execute`, which reads them where they are, and
outputs are fetched outside of what is timed. All programs of a process share one pool of threads.
"""

from __future__ import annotations

import contextlib
import functools
import re
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import MissingPackage, UnsupportedOperator
from profiler.runtimes import _executorch_profile
from profiler.sampling import Turns
from profiler.types import OperatorTimes, Source, Target

FORMATS = ("executorch",)
UNITS = ("cpu",)
PRECISIONS = ("fp32", "int8")
OPTIONS = {"threads": "1"}
EXTRA = "executorch"
INSTALL = "pip install torch==2.13.0 executorch==1.5.1"
# The numbers of the program's scalar types.
NUMPY_TYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16"}
NUMPY_TYPES |= {6: "float32", 7: "float64", 11: "bool"}
# ExecuTorch tells errors by number only.
KINDS = {
    0x10: "unsupported-operator",
    0x11: "unsupported-operator",
    0x14: "unsupported-operator",
    0x21: "out-of-memory",
    0x23: "invalid-artifact",
    0x24: "invalid-artifact",
    0x25: "out-of-memory",
    0x30: "invalid-artifact",
    0x31: "out-of-memory",
}
_methods: weakref.WeakSet[Any] = weakref.WeakSet()


def missing() -> str | None:
    """The one line that would make this runtime available, or None when it is."""
    return None if all(installed(m) for m in ("torch", "executorch")) else INSTALL


def version() -> str:
    """The version that decides the latency."""
    return package_version("executorch") or "not installed"


def start() -> None:
    """Import the engine, so that no artifact's load time includes it."""
    _engine()


def _engine() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls itself experimental
        from executorch.extension.pybindings import portable_lib

    return portable_lib


def check(target: Target) -> None:
    """Raise BadTarget when an option's value is not one that ExecuTorch takes."""
    choices.check(target, {"threads": choices.THREADS})


class Session:
    """A loaded program. `inputs` are (name, shape, numpy type)."""

    def __init__(self, path: str, target: Target) -> None:
        engine = _engine()
        _use_threads(int(target.options["threads"]))
        whole = engine.Verification.InternalConsistency
        program = engine._load_program(path, program_verification=whole)
        self._path = path
        self._method = program.load_method("forward")
        _methods.add(self._method)
        meta = self._method.method_meta()
        tensors = [meta.input_tensor_meta(i) for i in range(meta.num_inputs())]
        self.inputs = [
            (f"input{i}", tuple(t.sizes()), NUMPY_TYPES.get(t.dtype(), str(t.dtype())))
            for i, t in enumerate(tensors)
        ]
        if any(t.is_memory_planned() for t in tensors):
            raise RuntimeError(
                "the program overwrites its inputs while it runs: let opclock export it"
            )

    @functools.cached_property
    def actual(self) -> dict[str, str]:
        """What executes, read when asked for: that is not part of loading."""
        plan = _plan(self._path)
        outside = sum(_is_kernel(c) for c in _calls(plan))
        delegates = len(_calls(plan)) - outside
        backends = sorted({d.id for d in plan.delegates})
        return {
            "backend": ",".join(backends) or "portable",
            "delegates": f"{delegates} delegates, {outside} operators outside",
            "threads": str(_engine()._threadpool_get_thread_count()),
        }

    def bind(self, feeds: Mapping[str, Any]) -> Callable[[], None]:
        """A call without arguments that runs one inference on inputs that are in place."""
        import torch

        # The method keeps pointers only. Torch's own memory is aligned, numpy's may not be.
        self._tensors = [torch.from_numpy(feeds[name]).clone() for name, _, _ in self.inputs]
        self._method.set_inputs(self._tensors)
        execute: Callable[[], None] = self._method.execute
        return execute

    def outputs(self, result: None) -> list[Any]:
        """Copies of what the last inference left, as numpy arrays in torch's order."""
        return [t.numpy() for t in self._method.get_outputs()]


def _use_threads(threads: int) -> None:
    """Set the size of the process's pool; loaded programs hold on to the pool they started with."""
    engine = _engine()
    if engine._threadpool_get_thread_count() == threads:
        return
    if _methods:
        raise RuntimeError("another number of threads needs another process: programs are loaded")
    engine._unsafe_reset_threadpool(threads)
    if engine._threadpool_get_thread_count() != threads:
        raise RuntimeError(f"ExecuTorch did not take {threads} threads")


def _plan(path: str) -> Any:
    """The program's one method as data, without its weights."""
    from executorch.exir._serialize._flatbuffer_program import _flatbuffer_to_program

    with Path(path).open("rb") as file:
        head = file.read(24)
        # A header after the magic tells where the program ends and the weights begin.
        size = int.from_bytes(head[16:24], "little") if head[8:12] == b"eh00" else -1
        file.seek(0)
        return _flatbuffer_to_program(file.read(size)).execution_plan[0]


def _calls(plan: Any) -> list[Any]:
    from executorch.exir.schema import DelegateCall, KernelCall

    steps = [i.instr_args for chain in plan.chains for i in chain.instructions]
    return [s for s in steps if isinstance(s, KernelCall | DelegateCall)]


def _is_kernel(call: Any) -> bool:
    return hasattr(call, "op_index")


def load(path: str, target: Target) -> Session:
    """Load a program.

    Raises MissingPackage or UnsupportedOperator where this build of ExecuTorch lacks a backend
    or a kernel, and RuntimeError with ExecuTorch's number otherwise.
    """
    try:
        return Session(path, target)
    except RuntimeError as error:
        if "load method" in str(error):
            # A file that is broken inside may not be readable: then the number has to do.
            with contextlib.suppress(ValueError, MemoryError):
                _require_all(_plan(path))
        raise


def _require_all(plan: Any) -> None:
    """Raise on the first backend or kernel of a program that this build does not have."""
    engine = _engine()
    known = engine._get_registered_backend_names()
    for name in sorted({d.id for d in plan.delegates} - set(known)):
        place = " (it exists on macOS only)" if name == "CoreMLBackend" else ""
        raise MissingPackage(
            f"the program needs {name}{place}; this ExecuTorch has {', '.join(known)}"
        )
    kernels = set(engine._get_operator_names())
    for operator in plan.operators:
        name = f"{operator.name}.{operator.overload}".rstrip(".")
        if name not in kernels:
            raise UnsupportedOperator(f"this ExecuTorch has no kernel for {name}")


def profile(
    path: str,
    target: Target,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """The time of each kernel, by ExecuTorch's event tracer. Raises BadProfile."""
    engine = _engine()
    _use_threads(int(target.options["threads"]))
    inputs = Session(path, target).inputs
    tensors = _executorch_profile.feeds_of(inputs, feeds)
    with tempfile.TemporaryDirectory() as folder:
        return _executorch_profile.profile(engine, path, tensors, sources, runs, warmup, folder)


def own_tool(path: str, target: Target) -> float:
    """The median of the plainest loop around ExecuTorch, in ns: its runner is not in the wheel."""
    import time

    import torch

    engine = _engine()
    engine._unsafe_reset_threadpool(int(target.options["threads"]))
    module = engine._load_for_executorch(path)
    inputs = [torch.randn(s) if k == "float32" else torch.zeros(s) for s, k in _inputs(module)]
    samples = []
    until = time.perf_counter() + 4
    while time.perf_counter() < until:
        before = time.perf_counter_ns()
        module.forward(inputs, clone_outputs=False)
        samples.append(time.perf_counter_ns() - before)
    later = sorted(samples[len(samples) // 4 :])
    return later[len(later) // 2]


def _inputs(module: Any) -> list[tuple[tuple[int, ...], str]]:
    meta = module.method_meta("forward")
    tensors = [meta.input_tensor_meta(i) for i in range(meta.num_inputs())]
    return [(tuple(t.sizes()), NUMPY_TYPES.get(t.dtype(), "")) for t in tensors]


def kind_of(error: BaseException) -> str:
    """What a runtime's error means, in the words of Failure.kind."""
    if isinstance(error, MissingPackage):
        return "missing-package"
    if isinstance(error, UnsupportedOperator):
        return "unsupported-operator"
    if "Failed to load program" in str(error):
        return "invalid-artifact"
    found = re.search(r"error:? 0x:?([0-9a-f]+)", str(error))
    return KINDS.get(int(found[1], 16), "error") if found else "error"
