"""TensorRT and TensorRT for RTX: execute engines on the first Nvidia GPU of this machine.

Written after the documentation of TensorRT and of CUDA, and never run on a GPU: only what comes
before the GPU is, and the order of the calls with stand-ins (tests/test_tensorrt.py).

An inference is one launch of a CUDA graph, which was captured when the engine was loaded; inputs
and outputs stay in the GPU's memory. It is timed by CUDA events around many launches in a row, so
that neither Python nor the copies of inputs and outputs are part of it.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import choices, plugins
from profiler.environment import installed
from profiler.errors import BadModelFile, MissingPackage
from profiler.runtimes import _tensorrt_profile
from profiler.sampling import Turns
from profiler.types import OperatorTimes, Source, Target

FORMATS = ("tensorrt",)
UNITS = ("cuda",)
PRECISIONS = ("fp32", "fp16")
# graph=0 launches the kernels one by one, as a program does that captures nothing.
OPTIONS = {"graph": "1"}
EXTRA = "tensorrt"
INSTALL = (
    "pip install tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116 "
    "cuda-bindings==13.5.0"
)
NUMPY_TYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
# How an engine's inspector writes types; the first that fits.
WORDS = {
    "bf16": "bf16",
    "bfloat16": "bf16",
    "half": "fp16",
    "fp16": "fp16",
    "float": "fp32",
    "fp32": "fp32",
}
# Why TensorRT for RTX says that an engine cannot run here, in words.
REASONS = {
    "VERSION_MISMATCH": "another version built it",
    "UNSUPPORTED_CC": "it was built for other GPUs",
    "OLD_CUDA_DRIVER": "the driver is too old",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old",
    "INSUFFICIENT_GPU_MEMORY": "the GPU has too little memory",
    "MALFORMED_ENGINE": "the file is damaged",
    "CUDA_ERROR": "the driver does not work",
}


class EngineRefused(RuntimeError):
    """The library does not load an engine."""


def _exporter() -> Any:
    """The exporter of engines, which knows the GPU, the libraries and the engine's description."""
    return plugins.load("exporters", "tensorrt")


def missing() -> str | None:
    """The one line that would make this runtime available, or None when it is."""
    exporter = _exporter()
    if not any(map(installed, exporter.MODULES.values())) or not installed("cuda.bindings"):
        return INSTALL
    return None if exporter.gpu() else str(exporter.NEEDS_GPU)


def version() -> str:
    """What decides the latency besides the engine: libraries, GPU and driver."""
    exporter = _exporter()
    found = {n: exporter.nvidia.version_of(n) for n in exporter.MODULES}
    parts = [f"{exporter.TITLES[n]} {v}" for n, v in found.items() if v]
    return "; ".join([*(parts or ["not installed"]), str(exporter.gpu() or "no GPU")])


def start() -> None:
    """Import the engines that are installed, so that no artifact's load time includes it."""
    exporter = _exporter()
    for library, module in exporter.MODULES.items():
        if installed(module):
            exporter.nvidia.load_library(library)
    if installed("cuda.bindings"):
        import cuda.bindings.runtime  # noqa: F401


def check(target: Target) -> None:
    """Raise BadTarget when an option's value is not one that this runtime takes."""
    choices.check(target, {"graph": choices.FLAG})


class Call:
    """One inference: it is over when the call returns. `launch` only starts it."""

    __slots__ = ("_wait", "launch")

    def __init__(self, launch: Callable[[], None], wait: Callable[[], None]) -> None:
        self.launch = launch
        self._wait = wait

    def __call__(self) -> None:
        """Launch, and wait until it is over."""
        self.launch()
        self._wait()


class Session:
    """A loaded engine. `inputs` are (name, shape, numpy type); `trt` and `cuda` are the modules.

    What it allocates on the GPU lives as long as the process.
    """

    def __init__(self, path: str, target: Target, trt: Any, cuda: Any, log: Any) -> None:
        self.trt, self._cuda = trt, cuda
        log.clear()
        self._runtime = trt.Runtime(log)
        plan = Path(path).read_bytes()
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineRefused(_why_refused(path, plan, trt, self._runtime, log))
        self.context = self._engine.create_execution_context()
        if self.context is None:
            said = _exporter().nvidia.last_problems(log)
            raise RuntimeError(f"{path}: no execution context, {said}")
        self.stream = _value(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking))
        self._events = [_value(cuda.cudaEventCreate()) for _ in range(2)]
        described = _exporter().engine_file.read_sidecar(Path(path)) or {}
        network = described.get("network", {})
        self.inputs = self._tensors(trt.TensorIOMode.INPUT, network.get("inputs", ()))
        self._outputs = self._tensors(trt.TensorIOMode.OUTPUT, network.get("outputs", ()))
        self._pointers = {name: self._allocate(name) for name, _, _ in self.inputs + self._outputs}
        self.layers = _exporter().engine_file.layer_information(trt, self._engine, self.context)
        self.actual = self._check(target)
        # The first run may still compile kernels, which no graph can hold.
        self.launch: Callable[[], None] = self._enqueue
        self.launch()
        self.wait()
        if target.options["graph"] == "1":
            self.launch = self._capture()

    def _tensors(self, mode: Any, order: Sequence[str]) -> list[tuple[str, tuple[int, ...], str]]:
        """Inputs or outputs, in the order of the network that the engine was built from."""
        engine = self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        known = [written.rpartition(": ")[0] for written in order]
        found = []
        for name in (n for n in names if engine.get_tensor_mode(n) == mode):
            shape, kind = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name).name
            if min(shape, default=0) < 0 or kind not in NUMPY_TYPES:
                raise BadModelFile(f"tensor {name} ({kind}, {shape}) of the engine is not taken")
            found.append((name, shape, NUMPY_TYPES[kind]))
        return sorted(found, key=lambda t: known.index(t[0]) if t[0] in known else len(known))

    def _allocate(self, name: str) -> int:
        import numpy

        shape, kind = next((s, k) for n, s, k in self.inputs + self._outputs if n == name)
        size = numpy.empty(shape, kind).nbytes
        pointer = int(_value(self._cuda.cudaMalloc(max(1, size))))
        if not self.context.set_tensor_address(name, pointer):
            raise RuntimeError(f"TensorRT does not take an address on the GPU for tensor {name}")
        return pointer

    def _check(self, target: Target) -> dict[str, str]:
        """What really happens. Raises RuntimeError when it is not what was asked for."""
        exporter = _exporter()
        found = put_out(self.layers)
        told = ", ".join(f"{kind} {count}" for kind, count in found.most_common())
        if found and (
            not found[target.precision] or (target.precision == "fp32" and len(found) > 1)
        ):
            raise RuntimeError(f"asked for {target.precision}, the engine's layers put out {told}")
        library = "rtx" if hasattr(self.trt, "ComputeCapability") else "tensorrt"
        return {
            "unit": str(exporter.gpu() or "unknown"),
            "library": f"{exporter.TITLES[library]} {self.trt.__version__}",
            "precision": told or "not told",
            "graph": target.options["graph"],
            "layers": str(len(self.layers)),
        }

    def _enqueue(self) -> None:
        if not self.context.execute_async_v3(int(self.stream)):
            raise RuntimeError("TensorRT did not start the inference")

    def wait(self) -> None:
        """Until everything that was started is done."""
        _value(self._cuda.cudaStreamSynchronize(self.stream))

    def _capture(self) -> Callable[[], None]:
        """Record one inference as a CUDA graph. Returns what launches it."""
        cuda, stream = self._cuda, self.stream
        # Only TensorRT for RTX has engines that cannot be captured, and tells.
        capturable = getattr(self.context, "is_stream_capturable", lambda _: True)
        if not capturable(int(stream)):
            raise RuntimeError("this engine cannot run in a CUDA graph; ask for graph=0")
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeGlobal
        _value(cuda.cudaStreamBeginCapture(stream, mode))
        self._enqueue()
        self._graph = _value(cuda.cudaStreamEndCapture(stream))
        executable = _value(cuda.cudaGraphInstantiate(self._graph, 0))
        start = cuda.cudaGraphLaunch

        def launch() -> None:
            error = start(executable, stream)[0]
            if error:
                _value((error,))

        return launch

    def bind(self, feeds: Mapping[str, Any]) -> Call:
        """Copy the inputs to the GPU. Returns a call that runs one inference on them."""
        import numpy

        direction = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        for name, shape, kind in self.inputs:
            array = numpy.ascontiguousarray(feeds[name], dtype=kind).reshape(shape)
            self._copy(self._pointers[name], array.ctypes.data, array.nbytes, direction)
        return Call(self.launch, self.wait)

    def outputs(self, _result: object) -> list[Any]:
        """Copy the outputs from the GPU, in torch's order."""
        import numpy

        direction = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        arrays = []
        for name, shape, kind in self._outputs:
            arrays.append(numpy.empty(shape, kind))
            place, size = arrays[-1].ctypes.data, arrays[-1].nbytes
            self._copy(place, self._pointers[name], size, direction)
        return arrays

    def _copy(self, to: int, source: int, size_bytes: int, direction: Any) -> None:
        """Copy on the stream of the inferences, which waits for no other, and wait for it."""
        _value(self._cuda.cudaMemcpyAsync(to, source, size_bytes, direction, self.stream))
        self.wait()

    def elapsed_ns(self, call: Call, batch: int) -> int:
        """The GPU's time for `batch` inferences in a row, by CUDA events (some 0.5 us apart).

        Of a network that is faster than Python launches it, some microseconds, it is the time
        between the launches.
        """
        begin, end = self._events
        _value(self._cuda.cudaEventRecord(begin, self.stream))
        for _ in range(batch):
            call.launch()
        _value(self._cuda.cudaEventRecord(end, self.stream))
        _value(self._cuda.cudaEventSynchronize(end))
        milliseconds = float(_value(self._cuda.cudaEventElapsedTime(begin, end)))
        return round(1e6 * milliseconds)


def _value(answer: tuple[Any, ...]) -> Any:
    """What a call of CUDA returned besides its error. Raises RuntimeError on an error."""
    error, *values = answer
    if error:
        raise RuntimeError(f"CUDA: {getattr(error, 'name', error)}")
    return values[0] if values else None


def _why_refused(path: str, plan: bytes, trt: Any, runtime: Any, log: Any) -> str:
    """Why an engine does not load, in a sentence: for what it was built, and where this is."""
    exporter = _exporter()
    reason = exporter.nvidia.last_problems(log)
    if hasattr(runtime, "get_engine_validity"):
        flags = int(runtime.get_engine_validity(plan)[1])
        members = trt.EngineInvalidityDiagnostics.__members__.items()
        told = [REASONS.get(name, name) for name, flag in members if flags & int(flag)]
        reason = "; ".join(told) or reason
    built = exporter.engine_file.read_sidecar(Path(path)) or {}
    origin = f"{built.get('version', 'an unknown version')} for {built.get('compute', 'some GPU')}"
    here = f"{trt.__version__} on {exporter.gpu()}"
    return f"{path} does not load: it was built by {origin}, this is {here}: {reason}"


def put_out(layers: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many outputs of layers are of which floating-point type, as the inspector tells it."""
    found: Counter[str] = Counter()
    for tensor in (t for layer in layers for t in layer.get("Outputs", ())):
        # TensorRT 11 writes `Half`, TensorRT 10 `Row major linear FP16 format`.
        told = f"{tensor.get('Datatype', '')} {tensor.get('Format/Datatype', '')}".lower()
        for word, kind in WORDS.items():
            if word in told:
                found[kind] += 1
                break
    return found


def load(path: str, target: Target) -> Session:
    """Load an engine. Raises MissingPackage without its library or a GPU, BadModelFile, ..."""
    exporter = _exporter()
    library = exporter.engine_file.built_by(Path(path))
    exporter.nvidia.choose(library)
    if exporter.gpu() is None:
        raise MissingPackage(f"running a TensorRT engine {exporter.NEEDS_GPU}")
    if not installed("cuda.bindings"):
        raise MissingPackage(f"running a TensorRT engine needs cuda-bindings: {INSTALL}")
    from cuda.bindings import runtime as cuda

    trt = exporter.nvidia.load_library(library)
    return Session(path, target, trt, cuda, exporter.nvidia.log_of(library))


def profile(
    path: str,
    target: Target,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """The time of each layer, by TensorRT's profiler, which wants graph=0. Never run on a GPU.

    The profiler sets events around every layer, so the sum may be more than the latency.
    """
    session = load(path, dataclasses.replace(target, options={**target.options, "graph": "0"}))
    call = session.bind(feeds)
    for _ in range(warmup):
        call()
    latency = statistics.median(session.elapsed_ns(call, 1) for _ in runs)
    return _tensorrt_profile.times_of(layer_times(session, len(runs)), sources, round(latency))


def layer_times(session: Session, runs: int) -> list[_tensorrt_profile.Layer]:
    """Each layer's median of `runs` runs, of a session of graph=0 with its inputs bound."""
    base: Any = session.trt.IProfiler
    times_ns: dict[str, list[int]] = {}

    class Profiler(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def report_layer_time(self, name: str, milliseconds: float) -> None:
            times_ns.setdefault(name, []).append(round(1e6 * milliseconds))

    profiler = Profiler()
    session.context.profiler = profiler
    session.context.enqueue_emits_profile = False
    for _ in range(runs):
        session.launch()
        session.wait()
        if not session.context.report_to_profiler():
            raise RuntimeError("TensorRT reports no times of layers; they need graph=0")
    told = {str(one.get("Name")): one for one in session.layers}
    return [
        _tensorrt_profile.Layer(
            name,
            str(told.get(name, {}).get("LayerType", "unknown")),
            tuple(re.findall(r"\[ONNX Layer: ([^\]]+)\]", str(told.get(name, {}).get("Metadata")))),
            round(statistics.median(times)),
        )
        for name, times in times_ns.items()
    ]


def kind_of(error: BaseException) -> str:
    """What an error means, in the words of Failure.kind."""
    text = str(error)
    if isinstance(error, MissingPackage | ImportError):
        return "missing-package"
    marks = ("MemoryAllocation", "OutOfMemory", "out of memory", "too little memory")
    if any(mark in text for mark in marks):
        return "out-of-memory"
    return "invalid-artifact" if isinstance(error, EngineRefused | BadModelFile) else "error"
