"""Core ML packages are written and read here; running them needs a Mac, which no test has."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nets
import numpy
import pytest
import torch
from torch import nn

from exporters import _coreml_program
from exporters import coreml as exporter
from profiler.errors import BadModelFile, BadTarget, DynamicShape, UnsupportedOperator
from profiler.runtimes import coreml as runtime
from profiler.types import Format, Graph, Model, Structure, Target


def wanted(precision: str = "fp16", **options: str) -> Format:
    return Format("coreml", precision, {**exporter.OPTIONS, **options})


def export(folder: Path, built: Any, precision: str = "fp16", **options: str) -> Path:
    module, inputs = built
    inputs = (inputs,) if isinstance(inputs, torch.Tensor) else inputs
    out = folder / "model.mlpackage"
    exporter.export(Model(module.eval(), inputs), out, wanted(precision, **options))
    return out


def structure(folder: Path, built: Any, precision: str = "fp16", **options: str) -> Structure:
    return exporter.structure(export(folder, built, precision, **options))


def net(forward: Any) -> nn.Module:
    """A module without parameters from a function."""

    class Net(nn.Module):
        def forward(self, *inputs: torch.Tensor) -> Any:
            return forward(*inputs)

    return Net()


def convolutional() -> Any:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.Conv2d(8, 16, 3, stride=2, groups=4, bias=False),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 6, 2, stride=2, groups=2),
        nn.Flatten(),
        nn.Linear(6 * 14 * 14, 4),
    )
    return layers, torch.randn(1, 3, 16, 16)


class Attention(nn.Module):
    """Four heads of eight channels."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).reshape(1, 10, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(1, 10, 32)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole package of a small network, with a weight file."""
    return export(tmp_path_factory.mktemp("good"), nets.good())


@pytest.fixture
def package(good: Path, tmp_path: Path) -> Path:
    """A copy of it to be broken."""
    return Path(shutil.copytree(good, tmp_path / "broken.mlpackage"))


# Writing


def test_operators_weights_and_multiply_adds_are_exact(tmp_path: Path) -> None:
    found = structure(tmp_path, convolutional())
    assert found.operators == {
        "conv": 2,
        "gelu": 1,
        "relu": 1,
        "conv_transpose": 1,
        "reshape": 1,
        "linear": 1,
    }
    # The normalisation is folded into the first convolution and its bias.
    kernels = 8 * 3 * 9 + 8 + 16 * 2 * 9 + 16 * 3 * 4 + 6
    assert found.weights == {"fp16": kernels + 6 * 14 * 14 * 4 + 4}
    first, second, third = 8 * 16 * 16 * 3 * 9, 16 * 7 * 7 * 2 * 9, 16 * 7 * 7 * 3 * 4
    assert found.macs == first + second + third + 6 * 14 * 14 * 4
    assert found.inputs == ("input0: fp16[1,3,16,16]",)
    assert found.outputs == ("output0: fp16[1,4]",)
    assert found.notes == ("deployment ios17 or newer",)


@pytest.mark.parametrize("deployment", ["ios17", "ios18"])
def test_multiply_adds_of_attention_count_both_products(deployment: str, tmp_path: Path) -> None:
    found = structure(tmp_path, (Attention(), torch.randn(1, 10, 32)), deployment=deployment)
    assert found.macs == 10 * 32 * 96 + 2 * 4 * 10 * 10 * 8
    assert found.operators["split"] == 1  # three outputs, one operator
    assert "const" not in found.operators


def test_fused_attention_counts_as_many_multiply_adds(tmp_path: Path) -> None:
    attend = net(torch.nn.functional.scaled_dot_product_attention)
    inputs = tuple(torch.randn(1, 2, n, 8) for n in (5, 7, 7))
    found = structure(tmp_path, (attend, inputs), deployment="ios18")
    assert found.operators == {"scaled_dot_product_attention": 1}
    assert found.macs == 2 * (2 * 5 * 7 * 8)


def test_fp32_is_float32_throughout(tmp_path: Path) -> None:
    found = structure(tmp_path, nets.good(), "fp32")
    assert found.weights == {"fp32": 8 * 27 + 8 + 8 * 4 + 4}
    assert found.inputs == ("input0: fp32[1,3,32,32]",)
    assert found.outputs == ("output0: fp32[1,4]",)


@pytest.mark.parametrize("deployment", exporter.DEPLOYMENTS)
def test_a_package_is_made_for_its_deployment(deployment: str, tmp_path: Path) -> None:
    found = structure(tmp_path, nets.good(), deployment=deployment)
    assert found.notes[0] == f"deployment {deployment} or newer"
    kind = "fp32" if deployment == "ios15" else "fp16"
    assert found.inputs == (f"input0: {kind}[1,3,32,32]",)
    assert found.operators.get("cast", 0) == (2 if deployment == "ios15" else 0)


def test_deployments_are_those_of_coremltools() -> None:
    import coremltools

    known = {t.name: int(t) for t in coremltools.target if t.name.startswith("iOS")}
    new = {name: number for name, number in known.items() if number >= known["iOS15"]}
    assert set(exporter.DEPLOYMENTS.values()) == set(new)
    numbers = {number: name.lower() for name, number in new.items()}
    assert numbers == _coreml_program.DEPLOYMENTS == runtime.DEPLOYMENTS


@pytest.mark.parametrize(
    ("deployment", "weights", "stored"),
    [
        # Up to ios17 a zero point goes with every scale.
        ("ios17", "int8", {"int8": 40 * 64 + 40, "fp16": 40 + 40}),
        ("ios18", "int8", {"int8": 40 * 64, "fp16": 40 + 40}),
        ("ios17", "palette4", {"uint4": 40 * 64, "fp16": 40 + 16}),
        ("ios17", "palette6", {"uint6": 40 * 64, "fp16": 40 + 64}),
        ("ios18", "palette4", {"uint4": 40 * 64, "fp16": 40 + 16}),
        ("ios18", "palette8", {"uint8": 40 * 64, "fp16": 40 + 256}),
    ],
)
def test_weights_are_compressed_and_counted(
    deployment: str, weights: str, stored: dict[str, int], tmp_path: Path
) -> None:
    built = (nn.Linear(64, 40), torch.randn(1, 64))
    found = structure(tmp_path, built, deployment=deployment, weights=weights)
    assert found.weights == stored
    assert found.operators == {"linear": 1}
    assert found.macs == 40 * 64
    assert "1 weight tensors are stored compressed" in found.notes[1]


def test_inputs_and_outputs_keep_torchs_order(tmp_path: Path) -> None:
    swapped = net(lambda second, first: (first - second, first.sum(), second * first))
    out = export(tmp_path, (swapped, (torch.randn(1, 4), torch.randn(2, 4))))
    found = exporter.structure(out)
    assert found.inputs == ("input0: fp16[1,4]", "input1: fp16[2,4]")
    assert found.outputs == ("output0: fp16[2,4]", "output1: fp16[]", "output2: fp16[2,4]")
    function = _coreml_program.read(out).mlProgram.functions["main"]
    (block,) = function.block_specializations.values()
    made = {o.outputs[0].name: o for o in block.operations if o.type != "const"}
    assert [made[f"output{i}"].type for i in range(3)] == ["sub", "reduce_sum", "mul"]
    assert made["output0"].inputs["x"].arguments[0].name == "input1"


def test_integers_enter_as_int32(tmp_path: Path) -> None:
    found = structure(tmp_path, (nn.Embedding(10, 4), torch.tensor([[1, 2]])))
    assert found.inputs == ("input0: int32[1,2]",)
    assert found.weights == {"fp16": 40}


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    built = nets.good()
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        out = export(tmp_path / name, built)
        files = sorted(p for p in out.rglob("*") if p.is_file())
        contents.append([(p.relative_to(out), p.read_bytes()) for p in files])
    assert contents[0] == contents[1]
    assert [str(p) for p, _ in contents[0]] == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]


def test_nothing_is_printed_and_nothing_left_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    elsewhere.mkdir()
    here.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    export(here, nets.good())
    out, err = capfd.readouterr()
    assert not out
    assert "passes" not in err  # the unit of coremltools' progress bars
    assert sorted(os.listdir(here)) == ["model.mlpackage", "model.mlpackage.sources.json"]
    assert not os.listdir(elsewhere)
    assert tempfile.tempdir == str(elsewhere)


def test_operators_that_coremltools_lacks_are_taken_apart(tmp_path: Path) -> None:
    found = structure(tmp_path, (net(lambda x: torch.addcmul(x, x, x.abs())), torch.randn(1, 4)))
    assert found.operators == {"add": 1, "mul": 1, "abs": 1}
    assert found.notes[1:] == (
        "coremltools does not know aten.addcmul.default: torch took that apart",
    )


# What cannot be written


def test_an_unsupported_operator_is_named_with_its_module(tmp_path: Path) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.ReLU(), nets.unsupported()[0])

        def forward(self, x: torch.Tensor) -> Any:
            return self.block(x)

    with pytest.raises(
        UnsupportedOperator, match=r"linalg_eigvals.* in block\.1\.1\.mixer \(Eigenvalues\)"
    ):
        export(tmp_path, (Outer(), torch.randn(1, 4, 4)))
    assert not os.listdir(tmp_path)


def test_too_many_dimensions_are_named_with_their_module(tmp_path: Path) -> None:
    tall = net(lambda x: (x.reshape(1, 2, 2, 1, 2, 2) + 1).permute(0, 2, 1, 4, 3, 5) * 2)
    with pytest.raises(UnsupportedOperator, match=r"aten\.\w+\.default in 1 \(Net\): .*rank <= 5"):
        export(tmp_path, (nn.Sequential(nn.ReLU(), tall), torch.randn(1, 2, 2, 2, 2)))


def test_a_branch_in_the_graph_is_unsupported(tmp_path: Path) -> None:
    branch = net(lambda x: torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,)))
    with pytest.raises(UnsupportedOperator, match="cond"):
        export(tmp_path, (branch, torch.randn(1, 4)))


def test_a_path_that_depends_on_values_is_refused_with_its_place(tmp_path: Path) -> None:
    class Choosy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x

    with pytest.raises(DynamicShape, match=r"values of its input \(test_coreml\.py, line \d+\)"):
        export(tmp_path, (Choosy(), torch.randn(1, 4)))


def test_a_shape_that_depends_on_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DynamicShape, match=r"aten\.nonzero\.default"):
        export(tmp_path, (net(torch.nonzero), torch.randn(1, 4)))


def test_one_tensor_as_two_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match="same tensor"):
        export(tmp_path, (net(lambda x: (x + 1,) * 2), torch.randn(1, 4)))


def test_changing_buffers_are_refused(tmp_path: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            return x + self.seen

    with pytest.raises(UnsupportedOperator, match="seen"):
        export(tmp_path, (Counting(), torch.randn(1, 4)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"deployment": "ios9"}, "deployment=ios9 is not one of ios15"),
        ({"weights": "int3"}, "weights=int3 is not one of none"),
        ({"weights": "int8", "deployment": "ios15"}, "needs deployment=ios16"),
    ],
)
def test_options_are_checked(options: dict[str, str], said: str) -> None:
    with pytest.raises(BadTarget, match=said):
        exporter.check(wanted(**options))
    exporter.check(wanted())


def test_an_onnx_file_is_not_adopted(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="ONNX"):
        exporter.adopt(Graph(tmp_path / "a.onnx"), tmp_path / "model.mlpackage", wanted())


# What cannot be read


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="no such file"):
        exporter.structure(tmp_path / "absent.mlpackage")
    renamed = tmp_path / "renamed.mlpackage"
    renamed.write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(BadModelFile, match="one file"):
        exporter.structure(renamed)
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(BadModelFile, match=r"no Manifest\.json"):
        exporter.structure(tmp_path / "empty.mlpackage")


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"rootModelIdentifier": "a"}'])
def test_a_broken_manifest_is_refused(package: Path, text: str) -> None:
    (package / "Manifest.json").write_text(text)
    with pytest.raises(BadModelFile, match="manifest"):
        exporter.structure(package)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(package: Path, share: float) -> None:
    model = _coreml_program.model_file(package)
    data = model.read_bytes()
    model.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadModelFile):
        exporter.structure(package)


def test_a_package_without_its_model_is_refused(package: Path) -> None:
    _coreml_program.model_file(package).unlink()
    with pytest.raises(BadModelFile, match="model is missing"):
        exporter.structure(package)


@pytest.mark.parametrize("kept_bytes", [None, 0, 100, 400])
def test_missing_weights_are_noticed(package: Path, kept_bytes: int | None) -> None:
    weights = _coreml_program.model_file(package).parent / "weights" / "weight.bin"
    data = weights.read_bytes()
    if kept_bytes is None:
        weights.unlink()
    else:
        weights.write_bytes(data[:kept_bytes])
    with pytest.raises(BadModelFile, match=r"weight\.bin"):
        exporter.structure(package)


def test_a_neural_network_of_the_older_kind_is_refused(package: Path) -> None:
    from coremltools.proto import Model_pb2

    older = Model_pb2.Model(specificationVersion=4)
    older.neuralNetwork.layers.add().name = "a"
    _coreml_program.model_file(package).write_bytes(older.SerializeToString())
    with pytest.raises(BadModelFile, match="holds neuralNetwork"):
        exporter.structure(package)


def test_loops_make_the_multiply_adds_unknown(package: Path) -> None:
    """No network that we export has a loop; somebody else's package may."""
    model = _coreml_program.model_file(package)
    spec = _coreml_program.read(package)
    function = spec.mlProgram.functions["main"]
    loop = function.block_specializations[function.opset].operations.add(type="while_loop")
    loop.blocks.add().operations.add(type="relu")
    model.write_bytes(spec.SerializeToString())
    before = exporter.structure(package).operators
    assert before["while_loop"] == 1
    assert before["relu"] == 2
    found = exporter.structure(package)
    assert found.macs is None
    assert "while_loop" in found.notes[-1]


# The runtime, as far as it goes without a Mac


def target(unit: str = "cpu_and_ne", precision: str = "fp16", **options: str) -> Target:
    return Target("host", "coreml", unit, precision, {**runtime.OPTIONS, **options})


@pytest.mark.skipif(platform.system() == "Darwin", reason="on a Mac it may be there")
def test_elsewhere_than_on_a_mac_the_runtime_says_what_it_needs() -> None:
    assert runtime.missing() == "needs macOS 14.4 or newer"


@pytest.mark.parametrize(
    ("macos", "enough"), [("14.3.1", False), ("14.4", True), ("15", True), ("26.1", True)]
)
def test_macos_versions_are_compared_as_numbers(
    macos: str, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "mac_ver", lambda: (macos, ("", "", ""), "arm64"))
    assert (runtime.missing() is None) == enough
    monkeypatch.setattr(runtime, "installed", lambda _: False)
    assert runtime.missing() == (runtime.INSTALL if enough else "needs macOS 14.4 or newer")


def test_specialization_is_checked() -> None:
    runtime.check(target(specialization="fast"))
    with pytest.raises(BadTarget, match="specialization=slow is not one of default, fast"):
        runtime.check(target(specialization="slow"))


class StandIn:
    """A loaded model: the real description, made-up answers and durations."""

    durations_ns = (700, 50, 60)

    def __init__(self, path: str, **arguments: Any) -> None:
        self.arguments = arguments
        self._spec = _coreml_program.read(Path(path))
        self.fed: list[dict[str, Any]] = []

    def get_spec(self) -> Any:
        return self._spec

    def get_compiled_model_path(self) -> str:
        return "compiled.mlmodelc"

    def predict(self, feeds: dict[str, Any]) -> dict[str, Any]:
        self.fed.append(feeds)
        backwards = reversed(self._spec.description.output)
        return {o.name: numpy.full((4,), float(o.name[-1]), "float32") for o in backwards}

    @property
    def last_predict_duration_in_nano_seconds(self) -> int:
        return self.durations_ns[len(self.fed) - 1]


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand-ins for what coremltools has on a Mac only. Returns the plan's arguments."""
    import coremltools
    from coremltools.models import compute_plan

    def device(name: str) -> Any:
        return SimpleNamespace(preferred_compute_device=type(name, (), {})())

    def operator(name: str, blocks: tuple[Any, ...] = ()) -> Any:
        return SimpleNamespace(operator_name=name, blocks=blocks)

    engine, cpu = device("MLNeuralEngineComputeDevice"), device("MLCPUComputeDevice")
    usages = {"ios17.conv": engine, "ios17.relu": engine, "ios17.cast": cpu, "ios17.cond": cpu}
    inner = SimpleNamespace(operations=[operator("ios17.relu")])
    names = ("const", "ios17.constexpr_lut_to_dense", "ios17.conv", "ios17.cast", "ios17.odd")
    block = SimpleNamespace(operations=[*map(operator, names), operator("ios17.cond", (inner,))])
    program = SimpleNamespace(functions={"main": SimpleNamespace(block=block)})
    plan = SimpleNamespace(
        model_structure=SimpleNamespace(program=program),
        get_compute_device_usage_for_mlprogram_operation=lambda o: usages.get(o.operator_name),
    )
    asked: dict[str, Any] = {}

    def load_from_path(**arguments: Any) -> Any:
        asked.update(arguments)
        return plan

    monkeypatch.setattr(coremltools.models, "MLModel", StandIn)
    monkeypatch.setattr(
        compute_plan, "MLComputePlan", SimpleNamespace(load_from_path=load_from_path)
    )
    return asked


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(export(tmp_path_factory.mktemp("two"), nets.two_inputs()))


@pytest.mark.parametrize("unit", runtime.UNITS)
def test_units_and_hints_become_coremltools_own(unit: str, two: str, mac: Any) -> None:
    import coremltools

    expected = {
        "all": coremltools.ComputeUnit.ALL,
        "cpu": coremltools.ComputeUnit.CPU_ONLY,
        "cpu_and_gpu": coremltools.ComputeUnit.CPU_AND_GPU,
        "cpu_and_ne": coremltools.ComputeUnit.CPU_AND_NE,
    }[unit]
    plain = runtime.load(two, target(unit))
    assert plain._model.arguments == {"compute_units": expected, "optimization_hints": None}
    assert mac == {"path": "compiled.mlmodelc", "compute_units": expected}
    fast = runtime.load(two, target(unit, specialization="fast"))
    strategy = coremltools.SpecializationStrategy.FastPrediction
    assert fast._model.arguments["optimization_hints"] == {"specializationStrategy": strategy}


def test_a_session_feeds_times_and_orders(two: str, mac: Any) -> None:
    session = runtime.load(two, target())
    assert session.inputs == [("input0", (1, 4), "float16"), ("input1", (1, 4), "float16")]
    feeds = {name: numpy.ones(shape, kind) for name, shape, kind in session.inputs}
    call = session.bind(feeds)
    assert isinstance(call, functools.partial)
    assert session.elapsed_ns(call, 3) == 700 + 50 + 60
    assert [set(fed) for fed in session._model.fed] == [{"input0", "input1"}] * 3
    assert {x.dtype.name for x in session._model.fed[0].values()} == {"float32"}
    outputs = session.outputs(session._model.predict({}))
    assert [o.shape for o in outputs] == [(1, 4), (1, 4)]
    assert [float(o[0, 0]) for o in outputs] == [0, 1]


def test_a_session_says_where_operators_are_placed(two: str, mac: Any) -> None:
    assert runtime.load(two, target()).actual == {
        "unit": "cpu_and_ne",
        "precision": "fp16",
        "deployment": "ios17",
        "specialization": "default",
        "placement": "neural_engine 2/5, cpu 2/5, unknown 1/5",
    }
    assert runtime.placement(two, target()) == {"neural_engine": 2, "cpu": 2, "unknown": 1}


def test_another_precision_than_asked_for_is_an_error(two: str, mac: Any) -> None:
    with pytest.raises(RuntimeError, match="asked for fp32, the program computes in fp16"):
        runtime.load(two, target(precision="fp32"))


def test_a_program_that_core_ml_refuses_is_an_error_not_a_warning(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """coremltools warns and goes on; off a Mac it does not even try to load."""
    from coremltools.models import model as real

    class Proxy:
        @staticmethod
        def maximum_supported_specification_version() -> int:
            return 99

        def __init__(self, *arguments: Any) -> None:
            raise RuntimeError("Error parsing MIL model: no luck today")

    monkeypatch.setattr(real, "_MLModelProxy", Proxy)
    with pytest.raises(RuntimeError, match="no luck today") as caught:
        runtime.load(str(package), target())
    assert runtime.kind_of(caught.value) == "invalid-artifact"
    monkeypatch.setattr(Proxy, "maximum_supported_specification_version", lambda: 5)
    with pytest.raises(RuntimeError, match="too old"):
        runtime.load(str(package), target())


def test_errors_get_their_kind() -> None:
    assert runtime.kind_of(MemoryError()) == "out-of-memory"
    assert runtime.kind_of(ModuleNotFoundError("coremltools")) == "missing-package"
    assert runtime.kind_of(ValueError("x")) == "error"


def test_manifests_name_the_model(good: Path) -> None:
    manifest = json.loads((good / "Manifest.json").read_text())
    entries = manifest["itemInfoEntries"]
    assert entries[manifest["rootModelIdentifier"]]["path"] == "com.apple.CoreML/model.mlmodel"
    assert sorted(e["path"] for e in entries.values())[1] == "com.apple.CoreML/weights"
