"""Formats in writing, and the forms of ONNX, OpenVINO and torch that their options make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks.models.canary import canary
from profiler import devices, formats, plugins
from profiler.errors import BadModelFile, BadTarget, UnknownName
from profiler.export_job import randomize
from profiler.types import Format, Graph, Model

ROOT = Path(__file__).resolve().parent.parent
WORDS = st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True)


class Net(nn.Module):
    """What NNAPI lacks: GELU, layer norms of both kinds, a group norm, HardSwish."""

    def __init__(self) -> None:
        super().__init__()
        self.opening = nn.Conv2d(3, 8, 3, padding=1)
        self.group = nn.GroupNorm(1, 8)
        self.gelu = nn.GELU()
        self.swish = nn.Hardswish()
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.swish(self.gelu(self.group(self.opening(x))))
        return self.head(self.norm(x.flatten(2).transpose(1, 2)).mean(1))


def net() -> Model:
    model = Net().eval()
    randomize(model)
    return Model(model, (torch.randn(1, 3, 16, 16),))


def write(text: str, folder: Path, model: Model | None = None) -> tuple[Path, Any]:
    """An artifact of the net, and torch's output for its inputs."""
    model = model or net()
    with torch.no_grad():
        expected = model.module(*model.inputs).numpy()
    wanted = formats.parse(text)
    exporter = plugins.load("exporters", wanted.name)
    out = folder / f"model{exporter.SUFFIX}"
    exporter.export(Model(model.module, model.inputs), out, wanted)
    left = {p.name for p in folder.iterdir()}
    assert all(name.startswith("model") for name in left), left
    return out, expected


def relative(path: Path, model: Model, expected: Any) -> float:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    kind = "float16" if "float16" in port.type else "float32"
    (got,) = session.run(None, {port.name: model.inputs[0].numpy().astype(kind)})
    return float(numpy.abs(got.astype("float32") - expected).max() / numpy.abs(expected).max())


# Texts -------------------------------------------------------------------------------------------


@given(WORDS, st.sampled_from(("", "fp32", "int8")), st.dictionaries(WORDS, WORDS, max_size=3))
def test_a_format_survives_its_text(name: str, precision: str, options: dict[str, str]) -> None:
    wanted = Format(name, precision, options)
    assert Format.parse(str(wanted), ("fp32", "int8")) == wanted


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("onyx", UnknownName, "did you mean onnx"),
        ("onnx:opset=21", BadTarget, "opset=21 is not one of 17, 18, 19, 20"),
        ("onnx:opest=18", BadTarget, "did you mean opset"),
        ("onnx:fp8", BadTarget, r"'fp8' is not a precision \(fp32, fp16, int8\) of onnx"),
        ("onnx:fp16,int8", BadTarget, "given twice"),
        ("onnx:fp16,", BadTarget, "empty part"),
        ("onnx:calibration=nowhere.npz", BadTarget, "neither 'random' nor an .npz file"),
        ("openvino:int8,source=torch", BadTarget, "int8 is quantised in ONNX"),
        ("aoti:threads=0", BadTarget, "threads=0 is not a number"),
        (":fp16", BadTarget, "is not name:precision"),
    ],
)
def test_a_malformed_format_is_refused_in_its_own_words(
    text: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        formats.parse(text)


@pytest.mark.parametrize(
    ("target", "executed"),
    [
        ("onnxruntime", "onnx:fp32,calibration=random,gelu=exact,opset=20,profile=none"),
        ("onnxruntime:opset=18", "onnx:fp32,calibration=random,gelu=exact,opset=18,profile=none"),
        ("onnxruntime:fp16", "onnx:fp16,calibration=random,gelu=exact,opset=20,profile=none"),
        ("openvino:bf16", "openvino:fp32,calibration=random,opset=20,source=onnx"),
        ("openvino:format=onnx", "onnx:fp32,calibration=random,gelu=exact,opset=20,profile=none"),
        ("torch_inductor:threads=2", "aoti:fp32,freezing=1,marks=0,threads=2,unit=cpu"),
        ("torch_inductor:cuda", "aoti:fp32,freezing=1,marks=0,threads=1,unit=cuda"),
        ("torch_eager:threads=2", "exported_program:fp32"),
    ],
)  # fmt: skip
def test_a_target_says_which_artifact_it_executes(target: str, executed: str) -> None:
    assert str(formats.executed_by(devices.target(f"host/{target}"))) == executed


def test_a_target_takes_no_format_that_its_runtime_cannot_execute() -> None:
    with pytest.raises(BadTarget, match="takes onnx, ort, not litert"):
        devices.target("host/onnxruntime:format=litert")
    with pytest.raises(BadTarget, match="graph=1 is a CUDA graph"):
        devices.target("host/torch_eager:graph=1")


# ONNX --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", ["17", "18", "19", "20"])
def test_the_opset_is_the_one_that_was_asked_for(opset: str, tmp_path: Path) -> None:
    model = net()
    path, expected = write(f"onnx:opset={opset}", tmp_path, model)
    (found,) = [o.version for o in onnx.load(str(path)).opset_import if not o.domain]
    assert found == int(opset)
    held = plugins.load("exporters", "onnx").structure(path)
    assert held.macs == 16 * 16 * 8 * 27 + 32
    assert ("Gelu" in held.operators) == (opset == "20")
    assert ("Erf" in held.operators) == (opset != "20")
    assert relative(path, model, expected) < 1e-4


def test_fp16_is_half_in_weights_inputs_and_outputs(tmp_path: Path) -> None:
    model = net()
    inputs = model.inputs
    path, expected = write("onnx:fp16", tmp_path, model)
    held = plugins.load("exporters", "onnx").structure(path)
    assert held.precision == "fp16"
    assert "fp32" not in held.weights
    assert held.inputs[0].endswith("fp16[1,3,16,16]")
    assert relative(path, Model(model.module, inputs), expected) < 2e-2


def test_int8_is_quantised_per_channel_on_the_given_inputs(tmp_path: Path) -> None:
    model = canary()
    randomize(model.module)
    batches = tmp_path / "calibration.npz"
    exporter = plugins.load("exporters", "onnx")
    plain = tmp_path / "plain"
    plain.mkdir()
    path, _ = write("onnx", plain, model)
    (port,) = onnx.load(str(path)).graph.input
    generator = numpy.random.default_rng(3)
    numpy.savez(batches, **{port.name: generator.standard_normal((3, 1, 16, 28, 28), "float32")})
    made = tmp_path / "made"
    made.mkdir()
    path, expected = write(f"onnx:int8,calibration={batches}", made, model)
    held = exporter.structure(path)
    assert held.precision == "int8"
    assert held.operators["QuantizeLinear"] > 0
    scales = [t for t in onnx.load(str(path)).graph.initializer if t.name.endswith("_scale")]
    assert any(t.dims and t.dims[0] == 64 for t in scales), "one scale for each channel"
    assert 1e-6 < relative(path, model, expected) < 0.2
    wrong = tmp_path / "wrong.npz"
    numpy.savez(wrong, **{port.name: numpy.zeros((3, 2), "float32")})
    with pytest.raises(BadModelFile, match=r"has shape \(3, 2\)"):
        write(f"onnx:int8,calibration={wrong}", made, model)


def test_the_form_for_nnapi_leaves_nothing_to_the_cpu(tmp_path: Path) -> None:
    exporter = plugins.load("exporters", "onnx")
    plain, _ = write("onnx", tmp_path)
    assert "not supported: Gelu" in exporter.verdicts(plain)[0]
    model = net()
    path, expected = write("onnx:profile=nnapi,gelu=tanh", tmp_path, model)
    held = exporter.structure(path)
    (verdict,) = [n for n in held.notes if n.startswith("NNAPI")]
    assert verdict == exporter.verdicts(path)[0]
    assert verdict.startswith("NNAPI: yes; 1 partition with")
    lacking = {"Gelu", "LayerNormalization", "InstanceNormalization", "HardSwish", "FusedConv"}
    assert not lacking & set(held.operators)
    assert relative(path, model, expected) < 1e-2
    path, expected = write("onnx:profile=nnapi", tmp_path, model := net())
    assert exporter.structure(path).operators["Gelu"] == 1
    assert relative(path, model, expected) < 1e-4


def test_an_ort_file_holds_what_the_onnx_file_holds(tmp_path: Path) -> None:
    model = net()
    path, expected = write("ort:optimized=disabled", tmp_path, model)
    held = plugins.load("exporters", "ort").structure(path)
    assert held.operators["Conv"] == 1
    assert held.macs == 16 * 16 * 8 * 27 + 32
    assert relative(path, model, expected) < 1e-4
    onnx_path, _ = write("onnx", tmp_path)
    adopted = tmp_path / "model.adopted.ort"
    exporter = plugins.load("exporters", "ort")
    exporter.adopt(Graph(onnx_path), adopted, formats.parse("ort"))
    assert exporter.structure(adopted).operators["Conv"] == 1


# OpenVINO and torch ------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["onnx", "torch"])
def test_openvino_converts_from_either_source(source: str, tmp_path: Path) -> None:
    path, _ = write(f"openvino:source={source}", tmp_path)
    held = plugins.load("exporters", "openvino").structure(path)
    assert held.operators["Convolution"] == 1
    assert held.macs == 16 * 16 * 8 * 27 + 32
    assert "fp32[1,3,16,16]" in held.inputs[0]


def test_openvino_halves_its_weights_when_asked(tmp_path: Path) -> None:
    path, _ = write("openvino:fp16", tmp_path)
    held = plugins.load("exporters", "openvino").structure(path)
    assert held.precision == "fp16"
    path.with_suffix(".bin").unlink()
    with pytest.raises(BadModelFile, match=r"the \.bin beside it"):
        plugins.load("exporters", "openvino").structure(path)


def test_torchs_program_has_no_fusion(tmp_path: Path) -> None:
    path, _ = write("exported_program:bf16", tmp_path)
    held = plugins.load("exporters", "exported_program").structure(path)
    assert held.operators["aten.gelu"] == held.operators["aten.layer_norm"] == 1
    assert held.precision == "bf16"
    assert held.macs == 16 * 16 * 8 * 27 + 32


def test_torchs_registries_are_private_names_that_are_still_there() -> None:
    """Where a torch no longer has them, every block's export takes twice as long."""
    from torch._export import utils
    from torch._ops import OperatorBase
    from torch.onnx._internal.exporter import _decomp
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from exporters import onnx

    onnx._keep_registries()
    kept = (
        ONNXRegistry.from_torchlib,
        utils._materialize_cpp_cia_ops,
        utils._check_valid_to_preserve,
    )
    assert all(hasattr(k, "cache_info") for k in kept), kept
    assert OperatorBase.py_impl.__module__ == "exporters.onnx"
    assert _decomp.create_onnx_friendly_decomposition_table.__module__ == "exporters.onnx"


def test_what_torch_looks_up_once_changes_no_graph(tmp_path: Path) -> None:
    """Two attention blocks, one after the other: the second finds what the first has left."""
    source = (
        "import sys, hashlib\n"
        "from pathlib import Path\n"
        "from exporters import onnx\n"
        "from profiler import export_job\n"
        "from profiler.types import Format\n"
        "{}\n"
        "wanted = Format('onnx', 'fp32', onnx.OPTIONS)\n"
        "for width in (48, 64):\n"
        "    parameters = {{'channels': width, 'tokens': 49}}\n"
        "    builder = 'benchmarks.blocks.efficientformer:mb3d'\n"
        "    built = export_job.call_builder(builder, parameters)\n"
        "    export_job.randomize(built.module.eval())\n"
        "    out = Path(sys.argv[1], f'{{width}}.onnx')\n"
        "    onnx.export(built, out, wanted)\n"
        "    print('digest', hashlib.sha256(out.read_bytes()).hexdigest())\n"
    )
    digests = []
    for line in ("pass", "onnx._keep_registries = lambda: None"):
        command = [sys.executable, "-c", source.format(line), str(tmp_path)]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        digests.append([d for d in said.stdout.splitlines() if d.startswith("digest")])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 2
