from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("executorch")
numpy = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from exporters import executorch as exporter  # noqa: E402
from profiler import formats  # noqa: E402
from profiler.errors import (  # noqa: E402
    BadModelFile,
    BadTarget,
    MissingPackage,
    UnsupportedOperator,
)
from profiler.runtimes import executorch as runtime  # noqa: E402
from profiler.types import Format, Graph, Model, Target  # noqa: E402
from profiler.worker import random_feeds  # noqa: E402

Export = Callable[..., Path]


class Mixed(nn.Module):
    """Two delegates with operators between and behind them; two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Any, y: Any) -> Any:
        x = nn.functional.gelu(self.depthwise(torch.relu(self.convolution(x)))).mean((2, 3))
        return self.linear(x) @ y, torch.cumsum(x, 1)


class Difference(nn.Module):
    """Inputs of the same shape that must not be mistaken for each other, nor outputs."""

    def forward(self, x: Any, y: Any) -> Any:
        return x - y, x * 2 + y


class TalkingHead(nn.Module):
    """Softmax over the last axis of what a convolution gives."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Conv2d(4, 4, 1)

    def forward(self, x: Any) -> Any:
        return self.heads(x).softmax(-1)


class Apply(nn.Module):
    """A function of one tensor."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: Any) -> Any:
        return self.function(*x)


MODELS: dict[str, tuple[Callable[[], Any], tuple[tuple[int, ...], ...]]] = {
    "mixed": (Mixed, ((2, 3, 16, 16), (5, 4))),
    "difference": (Difference, ((1, 4), (1, 4))),
    "head": (TalkingHead, ((2, 4, 5, 7),)),
    "wide": (
        lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)),
        ((1, 3, 4, 4),),
    ),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), ((1, 4, 5, 5),)),
    "product": (lambda: Apply(torch.bmm), ((2, 6, 8), (2, 8, 5))),
    "strided": (lambda: nn.Conv2d(3, 4, 3), ((1, 3, 8, 8),)),
    "sort": (lambda: Apply(lambda x: torch.sort(x)[0]), ((4, 4),)),
    "maximum": (lambda: Apply(lambda x: x.max(-1)[0] * 2), ((2, 8, 5, 7),)),
    "erfinv": (lambda: nn.Sequential(nn.Linear(4, 4), Apply(torch.erfinv)), ((4, 4),)),
}


def build(name: str) -> Model:
    torch.manual_seed(0)
    make, shapes = MODELS[name]
    inputs = tuple(torch.randn(*s) for s in shapes)
    if name == "strided":
        inputs = tuple(x.to(memory_format=torch.channels_last) for x in inputs)
    return Model(make().eval(), inputs)


def whole(precision: str = "fp32", **options: str) -> Format:
    return formats.complete(Format("executorch", precision, options))


def target(threads: int = 1) -> Target:
    return Target("host", "executorch", "cpu", "fp32", {"threads": str(threads)})


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The artifact of a model; each is made once."""
    made: dict[tuple[str, ...], Path] = {}

    def once(name: str, precision: str = "fp32", backend: str = "xnnpack") -> Path:
        key = (name, precision, backend)
        if key not in made:
            out = tmp_path_factory.mktemp("-".join(key)) / "model.pte"
            exporter.export(build(name), out, whole(precision, backend=backend))
            made[key] = out
        return made[key]

    return once


def run(path: Path, times: int = 1) -> tuple[list[Any], dict[str, Any]]:
    session = runtime.load(str(path), target())
    feeds = random_feeds(session.inputs)
    call = session.bind(feeds)
    for _ in range(times):
        result = call()
    return session.outputs(result), feeds


def relative_error(name: str, outputs: list[Any], feeds: dict[str, Any]) -> float:
    with torch.no_grad():
        wanted = build(name).module(*(torch.from_numpy(v) for v in feeds.values()))
    wanted = [w.numpy() for w in (wanted if isinstance(wanted, tuple) else (wanted,))]
    assert [w.shape for w in wanted] == [g.shape for g in outputs]
    pairs = zip(wanted, outputs, strict=True)
    return max(float(numpy.abs(g - w).max() / numpy.abs(w).max()) for w, g in pairs)


# Stride 2 gives 8x8 places of 8 channels, twice: 27 and 9 for each; then 2x5x8 and 2x4x5.
MIXED_MACS = 1024 * 27 + 1024 * 9 + 80 + 40
MIXED_WEIGHTS = 8 * 27 + 8 + 8 * 9 + 8 + 40 + 5


def test_a_delegated_program_is_counted_inside_and_outside(export: Export) -> None:
    held = exporter.structure(export("mixed"))
    assert held.operators == {
        "aten::mean.out": 1,
        "aten::cumsum.out": 1,
        "aten::mm.out": 1,
        "delegate:XnnpackBackend": 2,
    }
    assert held.delegated == {
        "XNNStaticTranspose": 2,
        "XNNConv2d": 1,
        "XNNDepthwiseConv2d": 1,
        "XNNGelu": 1,
        "XNNFullyConnected": 1,
    }
    assert held.weights == {"fp32": MIXED_WEIGHTS}
    assert held.macs == MIXED_MACS
    assert held.inputs == ("input0: fp32[2,3,16,16]", "input1: fp32[5,4]")
    assert held.outputs == ("output0: fp32[2,4]", "output1: fp32[2,8]")
    assert held.notes[0].startswith("2 delegates, 3 operators left outside: 1 aten::cumsum.out")


def test_a_portable_program_holds_the_same_numbers(export: Export) -> None:
    held = exporter.structure(export("mixed", backend="portable"))
    assert held.operators["aten::convolution.out"] == 2
    assert held.operators["aten::addmm.out"] == 1
    assert not held.delegated
    assert held.weights == {"fp32": MIXED_WEIGHTS}
    assert held.macs == MIXED_MACS
    assert held.notes[0].startswith("no delegate: all ")


@pytest.mark.parametrize("backend", ["xnnpack", "portable"])
@pytest.mark.parametrize(
    ("name", "macs"),
    [("transposed", 4 * 25 * 9 * 3), ("product", 2 * 6 * 5 * 8), ("difference", 0)],
)
def test_multiply_adds_are_those_counted_by_hand(
    export: Export, name: str, macs: int, backend: str
) -> None:
    assert exporter.structure(export(name, backend=backend)).macs == macs


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("mixed", "xnnpack"),
        ("mixed", "portable"),
        ("difference", "xnnpack"),
        ("head", "xnnpack"),
        ("strided", "xnnpack"),
    ],
)
def test_outputs_are_torchs_however_often_it_runs(export: Export, name: str, backend: str) -> None:
    path = export(name, backend=backend)
    assert relative_error(name, *run(path)) < 1e-5
    assert relative_error(name, *run(path, times=3)) < 1e-5


def test_quantized_weights_are_int8_and_so_are_the_products(export: Export) -> None:
    path = export("wide", "int8")
    held = exporter.structure(path)
    assert held.weights["int8"] == 16 * 27 + 640
    assert held.weights["int32"] == 16 + 10
    assert held.precision == "int8"
    assert held.macs == 16 * 4 * 27 + 640
    assert held.inputs == ("input0: fp32[1,3,4,4]",)
    assert relative_error("wide", *run(path)) < 0.1


def test_the_session_says_what_runs(export: Export) -> None:
    session = runtime.load(str(export("mixed")), target())
    assert session.inputs == [
        ("input0", (2, 3, 16, 16), "float32"),
        ("input1", (5, 4), "float32"),
    ]
    assert session.actual == {
        "backend": "XnnpackBackend",
        "delegates": "2 delegates, 3 operators outside",
        "threads": "1",
    }


def test_threads_are_set_read_back_and_never_changed_under_a_loaded_program(
    export: Export,
) -> None:
    path = str(export("mixed"))
    session = runtime.load(path, target(threads=1))
    with pytest.raises(RuntimeError, match="another process"):
        runtime.load(path, target(threads=2))
    del session
    gc.collect()
    session = runtime.load(path, target(threads=2))
    assert session.actual["threads"] == "2"
    call = session.bind(random_feeds(session.inputs))
    assert session.outputs(call())[1].shape == (2, 8)


@pytest.mark.parametrize("threads", ["0", "many", "01"])
def test_threads_are_numbers(threads: str) -> None:
    with pytest.raises(BadTarget, match=f"threads={threads}"):
        runtime.check(Target("host", "executorch", "cpu", "fp32", {"threads": threads}))


@pytest.mark.parametrize(
    ("precision", "backend", "message"),
    [
        ("fp32", "vulkan", "backend=vulkan is not one of xnnpack, coreml, portable"),
        ("fp16", "xnnpack", "fp16 is for backend=coreml"),
        ("int8", "portable", "int8 is for backend=xnnpack"),
    ],
)
def test_what_a_backend_cannot_do_is_refused(precision: str, backend: str, message: str) -> None:
    with pytest.raises(BadTarget, match=message):
        whole(precision, backend=backend)


def test_core_ml_is_written_and_counted_anywhere_but_runs_on_macos_only(export: Export) -> None:
    path = export("wide", "fp16", "coreml")
    held = exporter.structure(path)
    assert held.operators == {"delegate:CoreMLBackend": 1}
    assert held.delegated["conv"] == held.delegated["linear"] == 1
    assert held.weights == {"fp16": 16 * 27 + 16 + 640 + 10}
    assert held.macs == 16 * 4 * 27 + 640
    if sys.platform != "darwin":
        with pytest.raises(MissingPackage, match=r"CoreMLBackend \(it exists on macOS") as caught:
            runtime.load(str(path), target())
        assert runtime.kind_of(caught.value) == "missing-package"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("backend", ["xnnpack", "portable"])
def test_a_truncated_program_is_told_apart(
    export: Export, tmp_path: Path, backend: str, share: float
) -> None:
    content = export("mixed", backend=backend).read_bytes()
    short = tmp_path / "short.pte"
    short.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadModelFile, match="not a whole ExecuTorch program"):
        exporter.structure(short)
    with pytest.raises(RuntimeError) as caught:
        runtime.load(str(short), target())
    assert runtime.kind_of(caught.value) == "invalid-artifact"


def test_another_format_and_no_file_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(b"\x08\x0a\x12\x07pytorch" * 100)
    with pytest.raises(BadModelFile, match="not a whole ExecuTorch program"):
        exporter.structure(other)
    with pytest.raises(BadModelFile, match="no such file"):
        exporter.structure(tmp_path / "absent.pte")
    with pytest.raises(BadModelFile, match="torch networks only"):
        exporter.adopt(Graph(other), tmp_path / "out.pte", whole())


def test_an_operator_that_cannot_be_compiled_is_named_with_its_module(export: Export) -> None:
    with pytest.raises(UnsupportedOperator, match=r"aten\.erfinv\.default in 1 \(Apply\)"):
        export("erfinv")


def test_an_error_that_names_no_operator_stays_what_it_is(export: Export) -> None:
    with pytest.raises(RuntimeError, match="keep_dim") as caught:
        export("maximum")
    assert caught.value.__cause__ is not caught.value


def test_an_operator_without_a_kernel_is_named_when_it_is_loaded(export: Export) -> None:
    with pytest.raises(UnsupportedOperator, match=r"no kernel for aten::sort") as caught:
        runtime.load(str(export("sort")), target())
    assert runtime.kind_of(caught.value) == "unsupported-operator"


def test_nothing_is_printed_and_nothing_is_left_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.pte"
    exporter.export(build("wide"), out, whole(backend="coreml"))
    exporter.structure(out)
    beside = out.with_name(out.name + ".sources.json")
    assert sorted(tmp_path.iterdir()) == [out, beside]
    assert capfd.readouterr().out == ""
