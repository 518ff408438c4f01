"""`inspect`: structures side by side, and operators by the work they do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from profiler import inspection
from profiler.errors import BadModelFile
from profiler.operators import CATEGORIES, by_category, category
from profiler.types import Structure
from tests.conftest import ROOT, Run


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Conv", "convolution"),
        ("aten.conv2d", "convolution"),
        ("DEPTHWISE_CONV_2D", "convolution"),
        ("XNNConv2d", "convolution"),
        ("FULLY_CONNECTED", "matrix product"),
        ("linear", "matrix product"),
        ("MVN", "normalisation"),
        ("aten.native_layer_norm.out", "normalisation"),
        ("com.microsoft.Gelu", "activation"),
        ("sigmoid_hard", "activation"),
        ("aten.add_", "element-wise"),
        ("aten._softmax", "softmax"),
        ("aten.view_copy", "reshape and layout"),
        ("expand_dims", "reshape and layout"),
        ("slice_by_index", "selection and joining"),
        ("DequantizeLinear", "conversion"),
        ("delegate:XnnpackBackend", "delegate"),
        ("NobodyKnowsThis", "other"),
        ("", "other"),
    ],
)
def test_an_operator_is_known_by_any_compilers_name(name: str, kind: str) -> None:
    assert category(name) == kind


def test_categories_keep_all_operators() -> None:
    operators = {"Conv": 3, "Gelu": 2, "Nobody": 1, "Reshape": 4}
    found = by_category(operators)
    assert sum(sum(m.values()) for m in found.values()) == 10
    assert list(found) == [c for c in CATEGORIES if c in found]


def test_what_a_compiler_made_of_torchs_graph_is_said() -> None:
    source = Structure({"aten.batch_norm": 5, "aten.hardswish": 2, "aten.view": 3}, {})
    other = Structure({"batch_norm": 1, "sigmoid_hard": 2, "mul": 2}, {}, delegated={"reshape": 7})
    said = inspection.against_source(source, other)
    assert said == [
        "normalisation: 4 of 5 folded or fused away",
        "activation: all 2 are still there",
        "reshape and layout: 3 became 7",
    ]


def test_a_files_format_is_told_by_its_ending(tmp_path: Path) -> None:
    for name, known in (("a.onnx", "onnx"), ("a.aoti.pt2", "aoti"), ("b.pt2", "exported_program")):
        (tmp_path / name).touch()
        assert inspection.formats_of(tmp_path / name)[0] == known
    (tmp_path / "a.txt").touch()
    with pytest.raises(BadModelFile, match=r"opclock inspects .*\.onnx.*, not \.txt"):
        inspection.formats_of(tmp_path / "a.txt")
    with pytest.raises(BadModelFile, match="no such file"):
        inspection.formats_of(tmp_path / "gone.onnx")


def test_two_compilers_views_stand_side_by_side(opclock: Run, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "nets.py", tmp_path / "nets.py")
    done = opclock("inspect", "nets:zero_branch", "--format", "onnx", "openvino")
    assert done.returncode == 0, done.stderr
    head, *_ = [line for line in done.stdout.splitlines() if line.startswith("operators by kind")]
    assert head.split()[3:] == ["exported_program", "onnx", "openvino"]
    (line,) = [t for t in done.stdout.splitlines() if t.strip().startswith("convolution  ")]
    assert line.split()[1:] == ["1", "1", "1"]
    assert "onnx against torch's graph: normalisation: 1 of 1 folded" in done.stdout
    assert "NNAPI: yes" in done.stdout


def test_a_file_and_a_broken_one_are_told_apart(opclock: Run, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "nets.py", tmp_path / "nets.py")
    assert opclock("export", "nets:good", "-o", "good.onnx").returncode == 0
    whole = (tmp_path / "good.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    done = opclock("inspect", "good.onnx", "cut.onnx", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    (found,) = said["inspected"]
    assert found["structure"]["operators"]["Conv"] == 1
    (bad,) = said["unreadable"]
    assert bad["name"] == "cut.onnx"
    assert "not a whole ONNX file" in bad["message"]
    assert "cut.onnx" in done.stderr
    assert "Traceback" not in done.stderr
