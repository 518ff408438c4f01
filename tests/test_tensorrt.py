"""TensorRT engines: built by TensorRT for RTX and read, which takes no GPU."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import onnx
import pytest
import torch
from torch import nn

from exporters import _nvidia as nvidia
from exporters import _tensorrt_engine as engine_file
from exporters import tensorrt as exporter
from profiler.errors import (
    BadModelFile,
    BadTarget,
    DynamicShape,
    MissingPackage,
    UnsupportedOperator,
)
from profiler.types import Format, Graph, Model

# Nvidia has these wheels for Linux and Windows only.
trt = pytest.importorskip("tensorrt_rtx_bindings")
without_gpu = pytest.mark.skipif(nvidia.gpu() is not None, reason="there is a GPU here")


def wanted(precision: str = "fp32", **options: str) -> Format:
    return Format("tensorrt", precision, {**exporter.OPTIONS, "library": "rtx", **options})


def classifier() -> Model:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    return Model(layers.eval(), (torch.randn(1, 3, 32, 32),))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of `classifier`, alone with its description in a folder."""
    out = tmp_path_factory.mktemp("engine") / "net.engine"
    exporter.export(classifier(), out, wanted())
    return out


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """An ONNX file of one matrix product: (1, 4) by (4, 2), float32."""
    return write_product(tmp_path / "product.onnx", 1)


def write_product(path: Path, rows: int | str) -> Path:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(numpy.ones((4, 2), "float32"), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", kind, [rows, 4])],
        [helper.make_tensor_value_info("y", kind, [rows, 2])],
        [weights],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


# What an engine is said to hold


def test_an_engine_is_described_beside_itself_and_nothing_else_is_left(engine: Path) -> None:
    held = exporter.structure(engine)
    assert held.operators["CONVOLUTION"] == held.operators["MATRIX_MULTIPLY"] == 1
    assert "CONSTANT" not in held.operators
    assert held.weights == {"fp32": 3 * 8 * 9 + 8 + 8 * 4 + 4}
    assert held.macs == 30 * 30 * 8 * 3 * 9 + 8 * 4
    assert held.inputs == ("input: fp32[1,3,32,32]",)
    assert [o.partition(": ")[2] for o in held.outputs] == ["fp32[1,4]"]
    assert trt.__version__ in held.notes[0]
    assert any(n.startswith("compiled into ") and "kgen" in n for n in held.notes)
    beside = {"net.engine", "net.engine.json", "net.engine.sources.json"}
    assert {p.name for p in engine.parent.iterdir()} == beside


class Products(nn.Module):
    """Every kind of layer that multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 8, 2, stride=2, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, stride=2, groups=8, bias=False)
        self.linear = nn.Linear(8, 16)
        self.mixed = nn.Parameter(torch.randn(8, 16))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        maps = self.depthwise(self.up(x)).flatten(2)
        products = torch.einsum("bci,bdi->bcd", maps, maps) @ self.mixed
        return products, self.linear(y)


def test_multiply_adds_and_weights_are_exact(tmp_path: Path) -> None:
    out = tmp_path / "products.engine"
    inputs = (torch.randn(1, 4, 6, 6), torch.randn(3, 8))
    exporter.export(Model(Products().eval(), inputs), out, wanted())
    held = exporter.structure(out)
    up, depthwise = 4 * 6 * 6 * (8 // 2) * 4, 8 * 6 * 6 * 9
    einsum, matmul, linear = 8 * 8 * 36, 8 * 8 * 16, 3 * 8 * 16
    assert held.macs == up + depthwise + einsum + matmul + linear
    assert held.weights["fp32"] == 4 * 4 * 4 + 8 + 8 * 9 + 8 * 16 + 16 + 8 * 16
    assert [i.partition(":")[0] for i in held.inputs] == ["x", "y"]
    assert [o.partition(": ")[2] for o in held.outputs] == ["fp32[1,8,16]", "fp32[3,16]"]


def test_a_transposed_product_is_counted_along_its_rows(tmp_path: Path) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "y"], ["z"], transA=1)],
        "transposed",
        [helper.make_tensor_value_info(n, kind, [4, size]) for n, size in (("x", 5), ("y", 2))],
        [helper.make_tensor_value_info("z", kind, [5, 2])],
    )
    path, out = tmp_path / "transposed.onnx", tmp_path / "transposed.engine"
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    exporter.adopt(Graph(path), out, wanted())
    assert exporter.structure(out).macs == 5 * 4 * 2


def test_an_fp16_engine_holds_and_takes_halves(tmp_path: Path) -> None:
    out = tmp_path / "half.engine"
    exporter.export(classifier(), out, wanted("fp16"))
    held = exporter.structure(out)
    assert held.weights == {"fp16": 260}
    assert held.inputs == ("input: fp16[1,3,32,32]",)
    assert held.precision == "fp16"


@pytest.mark.parametrize("option", [{"tf32": "1"}, {"compute": "sm86"}])
def test_options_reach_the_engine(option: dict[str, str], product: Path, tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.engine", tmp_path / "other.engine"
    exporter.adopt(Graph(product), plain, wanted())
    exporter.adopt(Graph(product), other, wanted(**option))
    assert plain.read_bytes() != other.read_bytes()
    exporter.adopt(Graph(product), other, wanted())
    assert plain.read_bytes() == other.read_bytes()


def test_the_note_names_the_gpus_it_is_for(product: Path, tmp_path: Path) -> None:
    out = tmp_path / "sm89.engine"
    exporter.adopt(Graph(product), out, wanted(compute="sm89"))
    assert exporter.structure(out).notes[0] == f"TensorRT for RTX {trt.__version__}, for sm89"


# Files that are no engines, or not the described ones


@pytest.mark.parametrize("content", [b"", b"hello", b"vtrt"])
def test_what_is_no_engine_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.engine"
    path.write_bytes(content)
    with pytest.raises(BadModelFile, match=r"not a TensorRT engine|cut short"):
        exporter.structure(path)


def test_a_truncated_engine_is_said_to_be_cut_short(engine: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.engine"
    path.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(BadModelFile, match="cut short"):
        exporter.structure(path)


def test_a_truncated_engine_of_tensorrt_is_known_by_its_description(tmp_path: Path) -> None:
    path = tmp_path / "short.engine"
    path.write_bytes(b"ptrt" + bytes(200))
    engine_file.sidecar(path).write_text(json.dumps({"size_bytes": 500, "sha256": "x"}))
    with pytest.raises(BadModelFile, match="204 of 500 bytes"):
        exporter.structure(path)


def test_a_missing_file_is_a_bad_model_file(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="No such file"):
        exporter.structure(tmp_path / "absent.engine")


@pytest.mark.parametrize("change", ["absent", "of another engine", "garbage"])
@without_gpu
def test_without_its_description_an_engine_is_not_described(
    change: str, engine: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.engine"
    shutil.copy(engine, copy)
    if change == "garbage":
        engine_file.sidecar(copy).write_text("{")
    elif change != "absent":
        text = engine_file.sidecar(engine).read_text()
        described = {**json.loads(text), "sha256": "0" * 64}
        engine_file.sidecar(copy).write_text(json.dumps(described))
    held = exporter.structure(copy)
    assert held.operators == held.weights == {}
    assert held.macs is None
    assert "copy.engine.json" in held.notes[0]
    assert ("absent" in held.notes[0]) == (change == "absent")


# Failures


class Determinant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(x)


def test_an_unsupported_operator_is_named_with_its_module(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), Determinant())).eval()
    model = Model(net, (torch.randn(1, 4, 4),))
    with pytest.raises(UnsupportedOperator, match=r"does not take Det \(node \w+, module 1\.1\)"):
        exporter.export(model, tmp_path / "det.engine", wanted())
    assert not list(tmp_path.iterdir())


def test_when_nothing_is_built_the_library_says_why(product: Path, tmp_path: Path) -> None:
    out = tmp_path / "turing.engine"
    with pytest.raises(RuntimeError, match=r"built no engine: .*Turing \(SM75\)"):
        exporter.adopt(Graph(product), out, wanted(compute="sm75"))
    assert [p.name for p in tmp_path.iterdir()] == ["product.onnx"]


def test_a_failure_does_not_speak_of_the_one_before(product: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError) as caught:
            exporter.adopt(Graph(product), tmp_path / "turing.engine", wanted(compute="sm75"))
        assert str(caught.value).count("Turing") == 1


def test_a_users_own_graph_needs_static_shapes(tmp_path: Path) -> None:
    path, out = write_product(tmp_path / "dynamic.onnx", "n"), tmp_path / "own.engine"
    with pytest.raises(DynamicShape, match="--shape x="):
        exporter.adopt(Graph(path), out, wanted())
    exporter.adopt(Graph(path, {"x": (5, 4)}), out, wanted())
    held = exporter.structure(out)
    assert held.inputs == ("x: fp32[5,4]",)
    assert held.macs == 5 * 4 * 2


def test_a_float32_graph_is_not_passed_off_as_an_fp16_engine(product: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="the graph's weights are fp32"):
        exporter.adopt(Graph(product), tmp_path / "own.engine", wanted("fp16"))


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("hello")
    with pytest.raises(BadModelFile):
        exporter.adopt(Graph(path), tmp_path / "own.engine", wanted())


@without_gpu
@pytest.mark.parametrize("options", [{"compute": "current"}, {"library": "tensorrt"}])
def test_what_needs_a_gpu_says_so(options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(MissingPackage, match=r"needs an Nvidia GPU|is not installed"):
        exporter.export(classifier(), tmp_path / "net.engine", wanted(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"library": "trt"},
        {"compute": "sm90"},
        {"optimization": "6"},
        {"tf32": "yes"},
        {"typing": "loose"},
        {"typing": "weak"},
        {"library": "tensorrt", "compute": "sm86"},
    ],
)
def test_values_that_no_library_takes_are_refused(options: dict[str, str]) -> None:
    exporter.check(wanted())
    with pytest.raises(BadTarget):
        exporter.check(wanted(**options))


def test_weak_typing_is_a_matter_of_tensorrt_10() -> None:
    weak = wanted("fp16", typing="weak", library="auto")
    exporter.check(weak)
    with pytest.raises(BadTarget, match="TensorRT 10"):
        exporter.network_flags(trt, weak)
    ten = SimpleNamespace(BuilderFlag=SimpleNamespace(FP16=1))
    assert exporter.network_flags(ten, weak) == 0
    assert exporter.network_flags(trt, wanted("fp16")) == 1


@pytest.mark.parametrize("major", [10, 11])
def test_tensorrt_itself_is_told_everything_too(major: int) -> None:
    flags = {"TF32": "tf32", **({"FP16": "fp16"} if major == 10 else {})}
    library = SimpleNamespace(
        ProfilingVerbosity=trt.ProfilingVerbosity, BuilderFlag=SimpleNamespace(**flags)
    )
    told: list[tuple[str, str]] = []
    config = SimpleNamespace(
        set_flag=lambda flag: told.append(("set", flag)),
        clear_flag=lambda flag: told.append(("clear", flag)),
    )
    exporter.configure(library, config, wanted("fp16", typing="weak" if major == 10 else "strong"))
    assert told == [("clear", "tf32"), *([("set", "fp16")] if major == 10 else [])]
    assert config.builder_optimization_level == 3
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED


# The cache of timings, which TensorRT has and TensorRT for RTX does not


@dataclasses.dataclass
class Config:
    """A builder's configuration that takes timings of its own kind only."""

    cache: bytes = b"none"

    def create_timing_cache(self, data: bytes) -> Any:
        return SimpleNamespace(serialize=lambda: data or b"new")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        fits = not ignore_mismatch and cache.serialize() in (b"ours", b"new")
        self.cache = cache.serialize() if fits else self.cache
        return fits

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: self.cache + b", more")


@pytest.mark.parametrize(
    ("found", "used"), [(b"ours", b"ours"), (b"of another GPU", b"new"), (None, b"new")]
)
def test_timings_are_used_again_where_they_fit(
    found: bytes | None, used: bytes, tmp_path: Path
) -> None:
    file, config = tmp_path / "new" / "folder" / "a.timing", Config()
    if found is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(found)
    exporter.attach_timing_cache(config, file)
    assert config.cache == used
    exporter.keep_timing_cache(config, file)
    assert file.read_bytes() == used + b", more"
    assert list(file.parent.iterdir()) == [file]


def test_timings_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.timing"
    file.write_bytes(b"ours")

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("os.replace", fail)
    exporter.keep_timing_cache(Config(), file)
    assert file.read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_fails_no_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    exporter.keep_timing_cache(Config(), tmp_path / "file" / "a.timing")


def test_timings_are_kept_by_version_and_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPCLOCK_TIMING_CACHE", str(tmp_path))
    monkeypatch.setattr(exporter, "gpu", lambda: nvidia.Gpu("NVIDIA A100", "sm80", "13.0"))
    file = exporter.timing_cache_file("10.13.3")
    assert file == tmp_path / "tensorrt-10.13.3-NVIDIA-A100-sm80-driver-13.0.timing"
    monkeypatch.delenv("OPCLOCK_TIMING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert exporter.timing_cache_file("10").parent == tmp_path / "cache" / "opclock"


def test_tensorrt_for_rtx_keeps_no_timings(
    product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPCLOCK_TIMING_CACHE", str(tmp_path / "timings"))
    exporter.adopt(Graph(product), tmp_path / "own.engine", wanted())
    assert not (tmp_path / "timings").exists()


# The GPU

DRIVER = r"""
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 5; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strcpy(name, "A GPU"); return device - 5; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 6 : -1;
  return 0;
}
int cuDriverGetVersion(int *version) { *version = 12090; return 0; }
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.parametrize(
    ("init", "count", "found"),
    [(0, 1, nvidia.Gpu("A GPU", "sm86", "12.9")), (100, 1, None), (0, 0, None)],
)
def test_the_driver_is_asked_for_the_gpu(
    init: int, count: int, found: nvidia.Gpu | None, tmp_path: Path
) -> None:
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so"
    source.write_text(DRIVER)
    options = [f"-DINIT={init}", f"-DCOUNT={count}", "-shared", "-fPIC", "-w"]
    subprocess.run(["cc", *options, str(source), "-o", str(library)], check=True)
    assert nvidia.gpu(str(library)) == found


def test_no_driver_is_no_gpu(tmp_path: Path) -> None:
    assert nvidia.gpu(str(tmp_path / "absent.so")) is None


def test_everything_that_decides_the_engine_has_a_version() -> None:
    versions = exporter.versions()
    assert versions["TensorRT for RTX"] == trt.__version__
    assert {"torch", "onnx", "TensorRT", "gpu"} <= set(versions)
    assert exporter.missing() is None
