"""Running engines: what comes before the GPU as it is, the rest with stand-ins for the GPU."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from exporters import _nvidia as nvidia
from exporters import _tensorrt_engine as engine_file
from exporters import tensorrt as exporter
from profiler.errors import BadModelFile, BadTarget, MissingPackage
from profiler.runtimes import tensorrt as runtime
from profiler.types import Structure, Target

# Nvidia has these wheels for Linux and Windows only.
trt = pytest.importorskip("tensorrt_rtx_bindings")


def on(precision: str = "fp32", graph: str = "1") -> Target:
    return Target("host", "tensorrt", "cuda", precision, {"graph": graph})


@pytest.mark.skipif(nvidia.gpu() is not None, reason="there is a GPU here")
def test_without_a_gpu_the_runtime_says_what_it_needs(tmp_path: Path) -> None:
    engine = tmp_path / "head.engine"
    engine.write_bytes((b"vtrt" + bytes(12) + (64).to_bytes(8, "little")).ljust(64))
    assert runtime.missing() in ("needs an Nvidia GPU and its driver", runtime.INSTALL)
    assert trt.__version__ in runtime.version()
    runtime.start()
    with pytest.raises(MissingPackage, match="needs an Nvidia GPU and its driver") as caught:
        runtime.load(str(engine), on())
    assert runtime.kind_of(caught.value) == "missing-package"


def test_a_gpu_makes_the_runtime_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "gpu", lambda: nvidia.Gpu("A GPU", "sm86", "13.0"))
    monkeypatch.setattr(runtime, "installed", lambda _: True)
    assert runtime.missing() is None
    assert runtime.version().endswith("A GPU, sm86, driver 13.0")
    monkeypatch.setattr(runtime, "installed", lambda _: False)
    assert runtime.missing() == runtime.INSTALL


def test_what_is_no_engine_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "bad.engine"
    path.write_bytes(b"hello")
    with pytest.raises(BadModelFile, match="not a TensorRT engine"):
        runtime.load(str(path), on())


def test_graph_is_a_switch() -> None:
    runtime.check(on())
    with pytest.raises(BadTarget, match="graph=2"):
        runtime.check(on(graph="2"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MissingPackage("none"), "missing-package"),
        (ImportError("libcuda"), "missing-package"),
        (BadModelFile("short"), "invalid-artifact"),
        (runtime.EngineRefused("built for other GPUs"), "invalid-artifact"),
        (runtime.EngineRefused("the GPU has too little memory"), "out-of-memory"),
        (RuntimeError("CUDA: cudaErrorMemoryAllocation"), "out-of-memory"),
        (RuntimeError("CUDA: cudaErrorLaunchFailure"), "error"),
    ],
)
def test_errors_have_kinds(error: Exception, kind: str) -> None:
    assert runtime.kind_of(error) == kind


class Cuda:
    """A GPU whose memory is this process's, and where a run takes 1.5 ms."""

    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeGlobal=0)

    def __init__(self) -> None:
        self.clock_ms = 0.0
        self.memory: list[Any] = []
        self.captured: list[Callable[[], object]] | None = None
        self.queue: list[Callable[[], object]] = []
        self.launched = {"kernels": 0, "graphs": 0}

    def enqueue(self, work: Callable[[], object]) -> None:
        (self.queue if self.captured is None else self.captured).append(work)

    def advance(self) -> None:
        self.clock_ms += 1.5

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        self.memory.append(ctypes.create_string_buffer(size))
        return 0, ctypes.addressof(self.memory[-1])

    def cudaMemcpyAsync(
        self, to: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[int]:
        self.enqueue(lambda: ctypes.memmove(to, source, size))
        return (0,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:
        return 0, 77

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        for work in self.queue:
            work()
        self.queue = []
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:
        self.captured = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, Any]:
        graph, self.captured = self.captured, None
        return 0, graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, Any]:
        return 0, graph

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[int]:
        self.launched["graphs"] += 1
        self.queue += graph
        return (0,)

    def cudaEventCreate(self) -> tuple[int, dict[str, float]]:
        return 0, {}

    def cudaEventRecord(self, event: dict[str, float], stream: int) -> tuple[int]:
        self.enqueue(lambda: event.update(at=self.clock_ms))
        return (0,)

    def cudaEventSynchronize(self, event: dict[str, float]) -> tuple[int]:
        return self.cudaStreamSynchronize(77)

    def cudaEventElapsedTime(self, begin: Any, end: Any) -> tuple[int, float]:
        return 0, end["at"] - begin["at"]


LAYER = {
    "Name": "sum",
    "LayerType": "kgen",
    "Metadata": "[ONNX Layer: node_a]\x1f[ONNX Layer: node_b]",
    "Outputs": [{"Datatype": "Float"}],
}


class Engine:
    """An engine, its context and its inspector: two = x + x, one = y * y, in another order."""

    def __init__(self, cuda: Cuda, capturable: bool = True) -> None:
        self.tensors = {"one": (2, 2), "y": (2, 2), "x": (1, 3), "two": (1, 3)}
        self.cuda = cuda
        self.capturable = capturable
        self.arrays: dict[str, Any] = {}
        self.num_io_tensors = len(self.tensors)
        self.profiler: Any = None

    def get_tensor_name(self, number: int) -> str:
        return list(self.tensors)[number]

    def get_tensor_mode(self, name: str) -> Any:
        return trt.TensorIOMode.INPUT if name in "xy" else trt.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name]

    def get_tensor_dtype(self, name: str) -> Any:
        return trt.DataType.FLOAT

    def create_execution_context(self) -> Engine:
        return self

    def create_engine_inspector(self) -> Engine:
        return self

    def get_engine_information(self, form: Any) -> str:
        assert form == trt.LayerInformationFormat.JSON
        return json.dumps({"Layers": [LAYER, "a bare name"]})

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        shape = self.tensors[name]
        kind = ctypes.c_float * int(numpy.prod(shape))
        self.arrays[name] = numpy.frombuffer(kind.from_address(pointer), "float32").reshape(shape)
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return self.capturable

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 77
        self.cuda.launched["kernels"] += 1
        self.cuda.enqueue(self.compute)
        return True

    def compute(self) -> None:
        self.arrays["two"][:] = self.arrays["x"] * 2
        self.arrays["one"][:] = self.arrays["y"] ** 2
        self.cuda.advance()

    def report_to_profiler(self) -> bool:
        self.profiler.report_layer_time("sum", 0.25)
        return True


def test_the_stand_ins_have_no_names_that_the_real_ones_lack() -> None:
    real = pytest.importorskip("cuda.bindings.runtime")
    assert all(hasattr(real, name) for name in vars(Cuda) if name.startswith("cuda"))
    for kind in (Cuda.cudaMemcpyKind, Cuda.cudaStreamCaptureMode):
        assert any(set(vars(kind)) <= set(dir(k)) for k in vars(real).values())
    ours = {n for n in vars(Engine) if not n.startswith("_")} - {"compute"}
    theirs = (trt.ICudaEngine, trt.IExecutionContext, trt.EngineInspector)
    assert ours <= {name for kind in theirs for name in dir(kind)}
    assert {"profiler", "enqueue_emits_profile"} <= set(dir(trt.IExecutionContext))


def library(engine: Engine | None, validity: int = 0) -> Any:
    """TensorRT for RTX with another Runtime."""
    made = SimpleNamespace(
        deserialize_cuda_engine=lambda _: engine, get_engine_validity=lambda _: (None, validity)
    )
    return SimpleNamespace(**{**vars(trt), "Runtime": lambda _: made})


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A file that a stand-in pretends to load, with the order of the network's tensors."""
    path = tmp_path / "fake.engine"
    path.write_bytes(b"vtrt")
    held = Structure(
        {}, {}, 0, ("x: fp32[1,3]", "y: fp32[2,2]"), ("two: fp32[1,3]", "one: fp32[2,2]")
    )
    facts = {"library": "rtx", "version": "1.2.3", "compute": "sm75"}
    engine_file.write_sidecar(path, held, facts)
    return path


@pytest.fixture
def cuda() -> Iterator[Cuda]:
    gpu = Cuda()
    yield gpu
    assert gpu.captured is None


def session(path: Path, cuda: Cuda, target: Target, **options: Any) -> runtime.Session:
    trt_with_gpu = library(Engine(cuda, **options))
    return runtime.Session(str(path), target, trt_with_gpu, cuda, nvidia.log_of("rtx"))


@pytest.mark.parametrize("graph", ["0", "1"])
def test_a_session_computes_in_torchs_order(graph: str, described: Path, cuda: Cuda) -> None:
    loaded = session(described, cuda, on(graph=graph))
    assert loaded.inputs == [("x", (1, 3), "float32"), ("y", (2, 2), "float32")]
    x, y = numpy.array([[1, 2, 3]], "float32"), numpy.array([[1, 2], [3, 4]], "float32")
    call = loaded.bind({"x": x, "y": y})
    two, one = loaded.outputs(call())
    assert (two == 2 * x).all()
    assert (one == y**2).all()
    assert loaded.actual["precision"] == "fp32 1"
    assert loaded.actual["graph"] == graph


@pytest.mark.parametrize("graph", ["0", "1"])
def test_a_batch_is_timed_by_events_of_the_gpu(graph: str, described: Path, cuda: Cuda) -> None:
    loaded = session(described, cuda, on(graph=graph))
    call = loaded.bind({name: numpy.ones(shape) for name, shape, _ in loaded.inputs})
    before = dict(cuda.launched)
    assert loaded.elapsed_ns(call, 4) == 6_000_000
    after = {kind: cuda.launched[kind] - before[kind] for kind in before}
    assert after == ({"kernels": 0, "graphs": 4} if graph == "1" else {"kernels": 4, "graphs": 0})


def test_an_engine_that_cannot_be_captured_is_not_run_otherwise(
    described: Path, cuda: Cuda
) -> None:
    with pytest.raises(RuntimeError, match="ask for graph=0"):
        session(described, cuda, on(), capturable=False)
    session(described, cuda, on(graph="0"), capturable=False)


def test_an_engine_of_another_precision_is_refused(described: Path, cuda: Cuda) -> None:
    with pytest.raises(RuntimeError, match="asked for fp16, the engine's layers put out fp32 1"):
        session(described, cuda, on("fp16"))


def test_an_engine_for_another_gpu_is_refused_in_a_sentence(described: Path, cuda: Cuda) -> None:
    flags = trt.EngineInvalidityDiagnostics
    both = int(flags.UNSUPPORTED_CC) | int(flags.VERSION_MISMATCH)
    with pytest.raises(
        runtime.EngineRefused, match=r"built by 1\.2\.3 for sm75, this is"
    ) as caught:
        runtime.Session(str(described), on(), library(None, both), cuda, nvidia.log_of("rtx"))
    assert "another version built it; it was built for other GPUs" in str(caught.value)


def test_an_error_of_the_gpu_is_raised(
    described: Path, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = session(described, cuda, on())
    call = loaded.bind({name: numpy.ones(shape) for name, shape, _ in loaded.inputs})
    failure = SimpleNamespace(name="cudaErrorLaunchFailure")
    monkeypatch.setattr(cuda, "cudaStreamSynchronize", lambda _: (failure,))
    with pytest.raises(RuntimeError, match="cudaErrorLaunchFailure"):
        call()


def test_layers_have_times_and_the_nodes_that_they_stand_for(described: Path, cuda: Cuda) -> None:
    loaded = session(described, cuda, on(graph="0"))
    (layer,) = runtime.layer_times(loaded, 3)
    assert layer == runtime._tensorrt_profile.Layer("sum", "kgen", ("node_a", "node_b"), 250_000)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"Datatype": "Half"}, "fp16"),
        ({"Format/Datatype": "Row major linear FP16 format"}, "fp16"),
        ({"Format/Datatype": "Row major linear FP32"}, "fp32"),
        ({"Datatype": "BFloat16"}, "bf16"),
    ],
)
def test_types_are_read_as_tensorrt_10_and_11_write_them(told: dict[str, str], kind: str) -> None:
    assert runtime.put_out([{"Outputs": [told, {"Datatype": "Int32"}]}, {}]) == {kind: 1}
