"""LiteRT: what the files hold, and that their sessions give what torch gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from exporters import litert as exporter
from profiler.errors import BadModelFile, BadTarget, UnsupportedOperator
from profiler.runtimes import litert as runtime
from profiler.types import Format, Graph, Model, Target
from tests.litert_nets import NETS

pytestmark = pytest.mark.skipif(bool(exporter.missing()), reason="needs litert_torch")


def wanted(precision: str = "fp32", **options: str) -> Format:
    return Format("litert", precision, {**exporter.OPTIONS, **options})


def target(precision: str = "fp32", **options: str) -> Target:
    return Target("host", "litert", "cpu", precision, {**runtime.OPTIONS, **options})


class Made:
    """A file, the model it was made from, and what torch computes."""

    def __init__(self, net: str, folder: Path, form: Format) -> None:
        torch.manual_seed(0)
        module, inputs = NETS[net]()
        self.model = Model(module.eval(), inputs)
        self.path = folder / "model.tflite"
        exporter.export(self.model, self.path, form)
        with torch.no_grad():
            leaves = torch.utils._pytree.tree_leaves(module(*inputs))
        self.expected = [t.numpy() for t in leaves]

    def run(self, where: Target) -> tuple[list[Any], Mapping[str, str]]:
        session = runtime.load(str(self.path), where)
        pairs = zip(session.inputs, self.model.inputs, strict=True)
        call = session.bind({entry[0]: x.numpy() for entry, x in pairs})
        call()
        return session.outputs(call()), session.actual

    def error(self, outputs: list[Any]) -> float:
        """The largest difference from torch, as a share of an output's largest value."""
        assert [o.shape for o in outputs] == [e.shape for e in self.expected]
        pairs = zip(outputs, self.expected, strict=True)
        wide = [(o.astype("float64"), e.astype("float64")) for o, e in pairs]
        return max(float(abs(o - e).max() / abs(e).max()) for o, e in wide)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Files that several tests share, each made once."""
    found: dict[str, Made] = {}

    def make(net: str, precision: str = "fp32", **options: str) -> Made:
        form = wanted(precision, **options)
        key = f"{net} {form}"
        if key not in found:
            found[key] = Made(net, tmp_path_factory.mktemp("litert"), form)
        return found[key]

    return make


Make = Callable[..., Made]


def test_a_file_holds_what_the_network_has(made: Make) -> None:
    found = exporter.structure(made("two_ends").path)
    assert found.operators == {
        "TRANSPOSE": 2,
        "PAD": 1,
        "CONV_2D": 1,
        "DEPTHWISE_CONV_2D": 1,
        "MEAN": 1,
        "FULLY_CONNECTED": 1,
        "SUB": 1,
    }
    # The normalisation is folded into the convolution.
    assert found.weights["fp32"] == (3 * 9 * 8 + 8) + (9 * 8 + 8) + (8 * 5 + 5)
    # Two permutations, a padding, two axes of the mean.
    assert found.weights["int32"] == 4 + 4 + 8 + 2
    assert found.macs == 2 * (8 * 8 * 8 * 27 + 8 * 6 * 6 * 9 + 8 * 5)
    assert found.inputs == ("args_0: fp32[2,3,16,16]", "args_1: fp32[2,5]")
    assert found.outputs == ("output_0: fp32[2,5]", "output_1: fp32[2,8,6,6]")
    assert found.notes == ()


def test_multiply_adds_of_products_that_are_no_plain_convolutions(made: Make) -> None:
    found = exporter.structure(made("products").path)
    transposed = 5 * 5 * 4 * 6 * 4
    grouped = 8 * 8 * 8 * 9 * 3
    assert found.operators["TRANSPOSE_CONV"] == found.operators["BATCH_MATMUL"] == 1
    assert found.macs == transposed + grouped + 2 * 7 * 7 * 3


def rewritten(path: Path, out: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a file with a change to the tables in it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    out.write_bytes(builder.Output())
    return out


def test_weights_that_two_tensors_share_count_once(made: Make, tmp_path: Path) -> None:
    def share(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors += graph.tensors

    path = made("two_ends").path
    twice = rewritten(path, tmp_path / "model.tflite", share)
    assert exporter.structure(twice) == exporter.structure(path)


def test_an_operator_of_somebodys_own(made: Make, tmp_path: Path) -> None:
    def rename(model: Any) -> None:
        (code,) = [c for c in model.operatorCodes if c.builtinCode == 9]
        code.builtinCode = code.deprecatedBuiltinCode = 32
        code.customCode = b"Warp"

    own = rewritten(made("two_ends").path, tmp_path / "model.tflite", rename)
    found = exporter.structure(own)
    assert found.operators["Warp"] == 1
    assert "FULLY_CONNECTED" not in found.operators
    assert found.macs is None
    with pytest.raises(RuntimeError, match="Warp") as caught:
        runtime.load(str(own), target())
    assert runtime.kind_of(caught.value) == "unsupported-operator"


@pytest.mark.parametrize("net", sorted(NETS))
@pytest.mark.parametrize("delegate", ["xnnpack", "none"])
def test_outputs_are_torchs_in_torchs_order(net: str, delegate: str, made: Make) -> None:
    net_made = made(net)
    outputs, actual = net_made.run(target(delegate=delegate))
    assert net_made.error(outputs) < 1e-5
    assert actual["delegate"] == delegate


def test_channels_last_is_the_same_network(made: Make) -> None:
    last = made("two_ends", layout="nhwc")
    structure = exporter.structure(last.path)
    assert structure.inputs == ("args_0: fp32[2,16,16,3]", "args_1: fp32[2,5]")
    assert structure.outputs == ("output_0: fp32[2,5]", "output_1: fp32[2,6,6,8]")
    # The mean is over torch's axes.
    assert structure.operators["TRANSPOSE"] == 1
    assert structure.macs == exporter.structure(made("two_ends").path).macs
    where = target(layout="nhwc")
    session = runtime.load(str(last.path), where)
    assert [shape for _, shape, _ in session.inputs] == [(2, 3, 16, 16), (2, 5)]
    outputs, actual = last.run(where)
    assert last.error(outputs) < 1e-5
    assert actual["layout"] == "nhwc"
    for got, other in zip(outputs, made("two_ends").run(target())[0], strict=True):
        numpy.testing.assert_allclose(got, other, rtol=1e-4, atol=1e-5)


def test_integers_are_32_bits_and_truth_values_stay(made: Make) -> None:
    session = runtime.load(str(made("mixed").path), target())
    assert [kind for _, _, kind in session.inputs] == ["float32", "int32", "bool"]
    names = [o.partition(":")[0] for o in exporter.structure(made("mixed").path).outputs]
    assert names == ["z", "a", "not", "more"]


def test_operators_that_were_delegated_are_counted(made: Make) -> None:
    for net, taken, total in (("two_ends", 8, 8), ("table", 1, 2)):
        assert sum(exporter.structure(made(net).path).operators.values()) == total
        assert made(net).run(target())[1]["delegated"] == f"{taken} of {total} operators"
        nothing = made(net).run(target(delegate="none"))[1]["delegated"]
        assert nothing == f"0 of {total} operators"


def test_nothing_to_delegate_is_not_silently_run_otherwise(tmp_path: Path) -> None:
    class Not(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return ~x

    out = tmp_path / "model.tflite"
    exporter.export(Model(Not().eval(), (torch.tensor([True, False]),)), out, wanted())
    with pytest.raises(RuntimeError, match="takes none of the 1 operators") as caught:
        assert runtime.load(str(out), target()).actual
    assert runtime.kind_of(caught.value) == "unsupported-operator"
    assert runtime.load(str(out), target(delegate="none")).actual["threads"] == "1"


def test_threads_are_counted(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(made("two_ends").path)
    for threads in ("1", "2", "4"):
        session = runtime.load(path, target(threads=threads))
        assert session.actual["threads"] == threads
        if runtime._threads():
            assert session._new_threads == int(threads) - 1
    monkeypatch.setattr(session, "_new_threads", 1)
    del session.actual
    if runtime._threads():
        with pytest.raises(RuntimeError, match="asked for 4 threads, XNNPACK made 2"):
            assert session.actual


def test_half_precision_is_in_the_file_and_in_the_arithmetic(made: Make) -> None:
    half = made("two_ends", "fp16")
    found = exporter.structure(half.path)
    assert found.weights["fp16"] == 3 * 9 * 8 + 9 * 8 + 8 * 5
    assert found.weights["fp32"] == 8 + 8 + 5
    assert found.operators["DEQUANTIZE"] == 3
    outputs, actual = half.run(target("fp16", threads="2"))
    assert actual["precision"] == "fp16"
    assert actual["threads"] == "2"
    assert 1e-5 < half.error(outputs) < 1e-2
    # The same file computed in float32 has lost less.
    session = runtime.load(str(half.path), target("fp32"))
    pairs = zip(session.inputs, half.model.inputs, strict=True)
    call = session.bind({entry[0]: x.numpy() for entry, x in pairs})
    assert half.error(session.outputs(call())) != half.error(outputs)
    with pytest.raises(RuntimeError, match="asked for fp32, the artifact holds fp16"):
        assert session.actual


@pytest.mark.parametrize("quantization", ["dynamic", "static"])
def test_int8(quantization: str, made: Make) -> None:
    small = made("two_ends", "int8", quantization=quantization)
    found = exporter.structure(small.path)
    assert found.weights["int8"] == 3 * 9 * 8 + 9 * 8 + 8 * 5
    assert found.macs == exporter.structure(made("two_ends").path).macs
    assert found.inputs == ("args_0: fp32[2,3,16,16]", "args_1: fp32[2,5]")
    assert ("QUANTIZE" in found.operators) == (quantization == "static")
    assert bool(found.notes) == (quantization == "dynamic")
    outputs, actual = small.run(target("int8"))
    assert actual["precision"] == "int8"
    # Static ranges cut off what calibration has not seen.
    assert 1e-4 < small.error(outputs) < 0.2


@pytest.mark.parametrize("net", ["many", "mixed"])
def test_outputs_in_half_precision_are_torchs_in_torchs_order(net: str, made: Make) -> None:
    half = made(net, "fp16")
    outputs, _ = half.run(target("fp16"))
    assert 1e-5 < half.error(outputs) < 1e-2


def test_an_operator_without_weights_computes_in_half_too(tmp_path: Path) -> None:
    out = tmp_path / "model.tflite"
    value = torch.full((1, 4), 1.0001)
    exporter.export(Model(nn.ReLU().eval(), (value,)), out, wanted("fp16"))
    session = runtime.load(str(out), target("fp16"))
    call = session.bind({session.inputs[0][0]: value.numpy()})
    (rounded,) = session.outputs(call())
    assert (rounded == 1).all()
    assert session.actual["precision"] == "fp16"


def test_an_artifact_of_another_precision_is_refused(made: Make) -> None:
    session = runtime.load(str(made("two_ends").path), target("int8"))
    with pytest.raises(RuntimeError, match="asked for int8, the artifact holds fp32"):
        assert session.actual


def test_the_same_model_gives_the_same_bytes(
    made: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    once = made("two_ends", "int8", quantization="static")
    again = Made("two_ends", tmp_path, wanted("int8", quantization="static"))
    assert again.path.read_bytes() == once.path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_truncated_file_is_told(precision: str, made: Make, tmp_path: Path) -> None:
    data = made("two_ends", precision).path.read_bytes()
    cut = tmp_path / "model.tflite"
    for share in (0.0, 0.001, 0.1, 0.5, 0.9):
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(BadModelFile, match="LiteRT file"):
            exporter.structure(cut)
        with pytest.raises(ValueError, match=r"Flatbuffer|empty|out of range") as caught:
            runtime.load(str(cut), target(precision))
        assert runtime.kind_of(caught.value) == "invalid-artifact"
    cut.write_bytes(data[:-1])
    with pytest.raises(BadModelFile, match="not a whole LiteRT file"):
        exporter.structure(cut)


def test_another_format_is_told(tmp_path: Path) -> None:
    other = tmp_path / "model.tflite"
    other.write_bytes(b"\x08\x08\x12\x07pytorch" * 50)
    with pytest.raises(BadModelFile, match="is not a LiteRT file"):
        exporter.structure(other)
    for precision in runtime.PRECISIONS:
        with pytest.raises(ValueError, match="Flatbuffer") as caught:
            runtime.load(str(other), target(precision))
        assert runtime.kind_of(caught.value) == "invalid-artifact"
    with pytest.raises(BadModelFile, match="cannot be read"):
        exporter.structure(tmp_path / "absent.tflite")
    with pytest.raises(BadModelFile, match="is an ONNX file"):
        exporter.adopt(Graph(tmp_path / "model.onnx"), other, wanted())


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_operator_that_litert_lacks_is_named(layout: str, tmp_path: Path) -> None:
    class Eigenvalues(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.abs(torch.linalg.eigvals(x))

    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), Eigenvalues()))
    model = Model(network.eval(), (torch.randn(1, 3, 4, 4),))
    with pytest.raises(UnsupportedOperator) as caught:
        exporter.export(model, tmp_path / "model.tflite", wanted(layout=layout))
    assert "aten.linalg_eig.default in 1.1 (Eigenvalues)" in str(caught.value)


def test_an_operator_that_only_later_stages_refuse_is_named(tmp_path: Path) -> None:
    network = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1).eval()
    model = Model(network, (torch.randn(1, 4, 4, 4),))
    with pytest.raises(UnsupportedOperator, match=r"no mhlo\.convolution as conv\.py, line \d+"):
        exporter.export(model, tmp_path / "model.tflite", wanted())


def test_what_litert_does_not_take_is_said() -> None:
    for form in (wanted(layout="chwn"), wanted("int8", quantization="both")):
        with pytest.raises(BadTarget, match="is not one of"):
            exporter.check(form)
    with pytest.raises(BadTarget, match="is for int8"):
        exporter.check(wanted("fp16", quantization="static"))
    exporter.check(wanted("int8", quantization="static"))
    for where in (target(threads="0"), target(threads="x"), target(delegate="gpu")):
        with pytest.raises(BadTarget, match="is not"):
            runtime.check(where)
    with pytest.raises(BadTarget, match="only delegate=xnnpack"):
        runtime.check(target("fp16", delegate="none"))
    runtime.check(target("int8", delegate="none", threads="2"))


def test_errors_have_kinds() -> None:
    kinds = {
        "missing-package": ModuleNotFoundError("ai_edge_litert"),
        "out-of-memory": MemoryError(),
        "unsupported-operator": RuntimeError("Encountered unresolved custom op: Warp."),
        "error": ValueError("Node number 3 (DIV) failed to invoke."),
    }
    assert {kind: runtime.kind_of(error) for kind, error in kinds.items()} == {k: k for k in kinds}
