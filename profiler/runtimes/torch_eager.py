"""torch in eager mode: an exported program's operators, called one after the other.

The graph is torch's own, without any fusion; each operator is dispatched from Python, as in eager
mode, but without the modules' own Python. On a GPU inferences are timed by CUDA events; with
`graph=1` they are captured into a CUDA graph once and replayed. The CUDA part has not been run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from profiler import choices
from profiler.environment import installed, package_version
from profiler.errors import BadTarget, NoProfiler
from profiler.runtimes import _torch_profile
from profiler.sampling import Turns
from profiler.types import OperatorTimes, Source, Target

FORMATS = ("exported_program",)
UNITS = ("cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "bf16")
OPTIONS = {"threads": "1", "graph": "0"}
EXTRA = "torch"
INSTALL = "pip install torch==2.13.0"
DTYPES = {"float32": "float32", "float16": "float16", "bfloat16": "float32", "float64": "float64"}


def missing() -> str | None:
    """The one line that would make this runtime available, or None when it is."""
    return None if installed("torch") else INSTALL


def version() -> str:
    """The version that decides the latency."""
    return package_version("torch") or "not installed"


def start() -> None:
    """Import the engine, so that no artifact's load time includes it."""
    import torch  # noqa: F401


def check(target: Target) -> None:
    """Raise BadTarget when an option's value is not one that this runtime takes."""
    choices.check(target, {"threads": choices.THREADS, "graph": choices.FLAG})
    if target.options["graph"] == "1" and target.unit != "cuda":
        raise BadTarget(f"target {target}: graph=1 is a CUDA graph; the unit is {target.unit}")


class Session:
    """A callable network. `inputs` are (name, shape, numpy type); bfloat16 is fed as float32."""

    def __init__(self, call: Callable[..., Any], inputs: list[Any], target: Target) -> None:
        import torch

        self._call = call
        self._target = target
        self._dtypes = [x.dtype for x in inputs]
        names = [str(x.dtype).removeprefix("torch.") for x in inputs]
        self.inputs = [
            (str(i), tuple(x.shape), DTYPES.get(name, name))
            for i, (x, name) in enumerate(zip(inputs, names, strict=True))
        ]
        threads = torch.get_num_threads()
        if target.unit == "cpu" and threads != int(target.options["threads"]):
            raise RuntimeError(
                f"asked for {target.options['threads']} threads, torch has {threads}"
            )
        floats = sorted({n for n in names if "float" in n})
        self.actual = {
            "device": torch.cuda.get_device_name() if target.unit == "cuda" else "cpu",
            "threads": str(threads),
            "inputs": ", ".join(floats),
            "graph": target.options["graph"],
        }
        if target.unit == "cuda":
            self.elapsed_ns = _elapsed_by_events

    def bind(self, feeds: Mapping[str, Any]) -> Callable[[], Any]:
        """A call without arguments that runs one inference on tensors that are in place."""
        call = functools.partial(_without_gradients(self._call), *self.tensors(feeds))
        return _captured(call) if self._target.options["graph"] == "1" else call

    def tensors(self, feeds: Mapping[str, Any]) -> list[Any]:
        """The inputs in their places, types and order."""
        import torch

        return [
            torch.from_numpy(feeds[name]).to(self._target.unit, dtype)
            for (name, _, _), dtype in zip(self.inputs, self._dtypes, strict=True)
        ]

    def outputs(self, result: Any) -> list[Any]:
        """What the call returned, as numpy arrays in torch's order."""
        import torch

        flat, _ = torch.utils._pytree.tree_flatten(result)
        return [_as_numpy(t) for t in flat]


def _as_numpy(tensor: Any) -> Any:
    import torch

    narrow = tensor.dtype == torch.bfloat16
    return (tensor.float() if narrow else tensor).detach().cpu().numpy()


def _without_gradients(call: Callable[..., Any]) -> Callable[..., Any]:
    """Inference mode is entered once for the process, not by every call."""
    import torch

    torch.set_grad_enabled(False)
    return call


def _captured(call: Callable[[], Any]) -> Callable[[], Any]:
    """One inference captured into a CUDA graph, after the runs that it needs before (three)."""
    import torch

    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def _elapsed_by_events(call: Callable[[], Any], batch: int) -> int:
    """The GPU's own time for `batch` runs, in nanoseconds."""
    import torch

    event: Any = torch.cuda.Event
    before, after = event(enable_timing=True), event(enable_timing=True)
    before.record()
    for _ in range(batch):
        call()
    after.record()
    after.synchronize()
    return int(1e6 * before.elapsed_time(after))


def load(path: str, target: Target) -> Session:
    """Load an exported program."""
    module, inputs = _read(path, target)
    return Session(module.forward, inputs, target)


def _read(path: str, target: Target) -> tuple[Any, list[Any]]:
    """The program's graph module, and tensors as its inputs are."""
    import torch

    torch.set_num_threads(int(target.options["threads"]))
    program = torch.export.load(path)
    module = program.module(check_guards=False).to(target.unit)
    names = set(program.graph_signature.user_inputs)
    values = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"]
    places = [n.name for n in program.graph.nodes if n.op == "placeholder"]
    return module, [v for v, name in zip(values, places, strict=True) if name in names]


def profile(
    path: str,
    target: Target,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """The time of each operator call of the program, and the latency meanwhile.

    Raises NoProfiler on a GPU.
    """
    if target.unit != "cpu":
        raise NoProfiler("torch's operators are timed one by one on the CPU only")
    graph, inputs = _read(path, target)
    tensors = Session(graph.forward, inputs, target).tensors(feeds)
    return _torch_profile.time_calls(graph, tensors, runs, warmup)


def own_tool(path: str, target: Target) -> float:
    """The median that torch.utils.benchmark reports for the same program, in ns."""
    import torch
    import torch.utils.benchmark

    session = load(path, target)
    feeds = {n: torch.randn(s).numpy().astype(k) for n, s, k in session.inputs}
    timer = torch.utils.benchmark.Timer(
        "call()",
        globals={"call": session.bind(feeds)},
        num_threads=int(target.options["threads"]),
    )
    return timer.blocked_autorange(min_run_time=4).median * 1e9


def kind_of(error: BaseException) -> str:
    """What a runtime's error means, in the words of Failure.kind."""
    text = f"{type(error).__name__} {error}"
    if "OutOfMemory" in text or "can't allocate memory" in text:
        return "out-of-memory"
    if "not implemented for" in text or "Could not run" in text:
        return "unsupported-operator"
    if any(mark in text for mark in ("archive", "PytorchStreamReader", "BadZip", "No such file")):
        return "invalid-artifact"
    return "error"
