"""Exporting and measuring for real, on tiny networks, through the command line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import ROOT, Run

MISBEHAVING = {
    "raises": ("export", "error", "no luck today"),
    "exits": ("export", "exit", "3"),
    "dies": ("export", "exit", "7"),
    "segfaults": ("export", "crash", "SIGSEGV"),
    "hangs": ("export", "timeout", "15"),
    "not_a_module": ("export", "bad-model", "int"),
    "unsupported": ("export", "unsupported-operator", "linalg_eig"),
    "infinite": ("export", "error", "infinite"),
    "no_such_function": ("export", "bad-model", "no_such_function"),
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The test's folder, with the networks importable from it as `nets`."""
    shutil.copy(ROOT / "tests" / "nets.py", tmp_path)
    return tmp_path


def test_every_misbehaving_builder_is_a_failure_and_harms_no_other(
    opclock: Run, here: Path
) -> None:
    names = [f"nets:{n}" for n in MISBEHAVING]
    good = ["nets:good", "nets:prints", "nets:two_inputs", "nets:zero_branch"]
    done = opclock("measure", *good, *names, "--limit", "15", "--count", "1", "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert [m["name"] for m in result["measurements"]] == good
    failures = {f["workload"]["builder"].partition(":")[2]: f for f in result["failures"]}
    for name, (stage, kind, word) in MISBEHAVING.items():
        failure = failures[name]
        assert (failure["stage"], failure["kind"]) == (stage, kind), failure
        assert word in failure["message"], failure
        assert name in done.stderr


def test_a_measurement_says_all_that_is_needed_to_take_it_again(opclock: Run, here: Path) -> None:
    target = "host/onnxruntime:cpu,fp32,threads=1,graph=extended"
    done = opclock("measure", "nets:zero_branch", "--on", target, "--count", "6", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)["measurements"]
    low, high = line["interval_ns"]
    assert 0 < low <= line["median_ns"] <= high
    assert line["valid_rounds"] == 6 or "unstable environment" in line["flags"]
    assert line["actual"]["provider"] == "CPUExecutionProvider"
    assert line["actual"]["graph"] == "extended"
    assert line["relative_error"] < 1e-4
    assert line["environment"]["packages"]["onnxruntime"]
    artifact = line["artifact"]
    assert artifact["structure"]["operators"]["Conv"] == 1, (
        "the branch with the zero gain was folded away"
    )
    assert sum(artifact["structure"]["weights"].values()) >= 0.95 * artifact["model_parameters"]
    processes = {r["process"] for r in line["rounds"]}
    assert len(processes) == len(line["rounds"]), "a round is a fresh process"
    assert all(r["canary_ns"] > 0 for r in line["rounds"])


def test_nothing_is_measured_twice_unless_asked(opclock: Run, here: Path) -> None:
    def measure(*more: str) -> set[str]:
        done = opclock("measure", "nets:good", "--count", "2", "--json", *more)
        assert done.returncode == 0, done.stderr
        return {r["process"] for r in json.loads(done.stdout)["measurements"][0]["rounds"]}

    first = measure()
    assert measure() == first
    assert measure("--limit", "100") == first, "another limit does not make another measurement"
    assert not measure("--again") & first


def test_a_changed_builder_is_measured_anew(opclock: Run, here: Path) -> None:
    def processes() -> set[str]:
        done = opclock("measure", "nets:good", "--count", "1", "--json")
        return {r["process"] for r in json.loads(done.stdout)["measurements"][0]["rounds"]}

    first = processes()
    text = (here / "nets.py").read_text()
    (here / "nets.py").write_text(text.replace("nn.Linear(8, 4)", "nn.Linear(8, 5)"))
    assert not processes() & first


def test_a_model_can_be_compared_with_itself(opclock: Run, here: Path) -> None:
    done = opclock("measure", "nets:good", "nets:good", "--count", "6", "--seed", "3", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["measurements"]) == 2
    (verdict,) = result["comparisons"]
    assert verdict["pairs"] >= 6
    assert verdict["verdict"] in ("SAME", "AMBIGUOUS", "FASTER", "SLOWER")
    assert 0.5 < verdict["ratio"] < 2


# Files -------------------------------------------------------------------------------------------


def graph(batch: int | str = 1, operator: str = "Relu", domain: str = "") -> Any:
    weights = numpy.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype="float32")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node(operator, ["a"], ["y"], domain=domain),
    ]
    shape = [batch, 3, 8, 8]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, 6, 6])]
    tensors = [numpy_helper.from_array(weights, "w")]
    opsets = [helper.make_opsetid("", 20)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    made = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


def test_bad_files_are_failures_that_say_what_is_wrong(opclock: Run, tmp_path: Path) -> None:
    onnx.save(graph(), tmp_path / "good.onnx")
    whole = (tmp_path / "good.onnx").read_bytes()
    (tmp_path / "short.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "junk.onnx").write_bytes(b"this is not a graph " * 40)
    (tmp_path / "empty.onnx").write_bytes(b"")
    onnx.save(graph("batch"), tmp_path / "dynamic.onnx")
    onnx.save(graph(1, "Frobnicate", "my.ops"), tmp_path / "unknown.onnx")
    names = ["good", "short", "junk", "empty", "dynamic", "unknown"]
    files = [f"{n}.onnx" for n in names]
    done = opclock("measure", *files, "--count", "1", "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert [m["name"] for m in result["measurements"]] == ["good.onnx"]
    said = {Path(f["workload"]["parameters"]["path"]).stem: f for f in result["failures"]}
    for name in ("short", "junk", "empty"):
        assert "not a whole ONNX file" in said[name]["message"]
    assert "dimension 0 (batch) of input 'x' is dynamic" in said["dynamic"]["message"]
    assert "--shape x=?,3,8,8" in said["dynamic"]["message"]
    assert said["unknown"]["kind"] == "unsupported-operator"
    assert "Frobnicate" in said["unknown"]["message"]


def test_a_model_of_another_precision_is_not_measured_under_the_asked_one(
    opclock: Run, tmp_path: Path
) -> None:
    half = numpy.ones((3, 3), dtype="float16")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [1, 3]) for n in "xy"]
    made = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(half, "w")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "half.onnx")
    done = opclock("measure", "half.onnx", "--on", "onnxruntime:fp32", "--json")
    assert done.returncode == 1
    (failure,) = json.loads(done.stdout)["failures"]
    assert failure["kind"] == "wrong-precision"
    assert "fp16" in failure["message"]


def test_a_dynamic_shape_can_be_fixed(opclock: Run, tmp_path: Path) -> None:
    onnx.save(graph("batch"), tmp_path / "dynamic.onnx")
    done = opclock("measure", "dynamic.onnx", "--shape", "x=2,3,8,8", "--count", "1", "--json")
    assert done.returncode == 0, done.stderr


def test_external_weights_and_exported_programs_are_read(opclock: Run, tmp_path: Path) -> None:
    onnx.save(graph(), tmp_path / "outside.onnx", save_as_external_data=True, size_threshold=0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    example = (torch.randn(2, 4),)
    torch.export.save(torch.export.export(module, example), tmp_path / "program.pt2")
    batch = {0: torch.export.Dim("batch")}
    dynamic = torch.export.export(module, example, dynamic_shapes=(batch,))
    torch.export.save(dynamic, tmp_path / "dynamic.pt2")
    (tmp_path / "broken.pt2").write_bytes(b"no archive")
    names = ["outside.onnx", "program.pt2", "dynamic.pt2", "broken.pt2"]
    done = opclock("measure", *names, "--count", "1", "--json")
    result = json.loads(done.stdout)
    assert [m["name"] for m in result["measurements"]] == names[:2]
    messages = " ".join(f["message"] for f in result["failures"])
    assert "is dynamic" in messages
    assert "not an exported program" in messages


def test_an_export_is_a_file_that_computes_what_torch_computes(opclock: Run, here: Path) -> None:
    done = opclock("export", "nets:good", "-o", "out/good.onnx", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["structure"]["operators"]["Conv"] == 1
    onnx.checker.check_model(onnx.load(here / "out" / "good.onnx"), full_check=True)
    assert said["structure"]["weights"]["fp32"] == 3 * 8 * 9 + 8 + 8 * 4 + 4


# Wrong usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["measure", "mobilenetv2_10"], ["unknown model", "mobilenetv2_100"]),
        (["measure", "activation.gelux"], ["unknown alternative", "gelu"]),
        (["measure", "x", "--on", "hots/onnxruntime"], ["unknown device", "host"]),
        (["measure", "x", "--on", "host/onnxruntim"], ["unknown runtime", "onnxruntime"]),
        (["measure", "x", "--on", "onnxruntime:tpu"], ["'tpu'", "cpu", "fp32"]),
        (["measure", "x", "--on", "onnxruntime:thread=2"], ["unknown option", "threads"]),
        (["measure", "x", "--on", "onnxruntime:threads=0"], ["threads=0"]),
        (["measure", "none.onnx"], ["no such file"]),
        (["measure", "a b:c"], ["module:function"]),
        (["measure", "x", "--budget", "soon"], ["90s, 10m"]),
        (["measure", "x", "--shape", "x=1,a"], ["not a shape"]),
        (["measure", "x", "--count", "0"], ["from 1 on"]),
        (["export", "x", "--format", "onyx"], ["unknown", "onnx"]),
        (["table", "build", "efficientformr"], ["unknown space", "efficientformer"]),
        (["table", "predict", "none.json"], ["cannot be read"]),
        (["nonsense"], ["invalid choice"]),
    ],
)
def test_wrong_usage_is_answered_with_what_exists(
    opclock: Run, arguments: list[str], words: list[str]
) -> None:
    if arguments[:1] == ["export"]:
        arguments = ["export", "activation.relu", *arguments[2:]]
    done = opclock(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["doctor"],
        ["list"],
        ["export"],
        ["measure"],
        ["table"],
        ["table", "build"],
        ["table", "show"],
        ["table", "predict"],
        ["table", "check"],
        ["demo"],
    ],
)
def test_every_command_has_help_with_an_example(opclock: Run, command: list[str]) -> None:
    done = opclock(*command, "--help")
    assert done.returncode == 0
    assert command == ["table"] or f"opclock {' '.join(command)}" in done.stdout


@pytest.mark.parametrize("place", ["/proc/nowhere", "file/below"])
def test_a_place_that_cannot_be_written_is_named(opclock: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    done = opclock("measure", "activation.relu", store=tmp_path / place)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "--store" in done.stderr


def test_an_output_that_cannot_be_written_is_found_out_before_the_work(
    opclock: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for out in ("file/table.json", "."):
        done = opclock("table", "build", "efficientformer", "-o", out)
        assert done.returncode == 2
        assert "cannot be written" in done.stderr or "is a folder" in done.stderr


def test_nothing_is_drawn_when_nobody_watches(opclock: Run, here: Path) -> None:
    done = opclock("measure", "nets:good", "--count", "1")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_doctor_tells_absent_from_broken(opclock: Run, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "__init__.py").write_text("")
    done = opclock("doctor", "--json")
    findings = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
    assert findings["runtime onnxruntime"]["state"] == "ok"
    assert findings["torch"]["state"] == "ok"
    assert findings["iPhone"]["state"] == "not yet"
    if sys.platform != "darwin":
        assert findings["runtime coreml"]["state"] == "absent"
        assert "macOS 14.4" in findings["runtime coreml"]["remedy"]
    assert done.returncode == 0


def test_a_model_measured_earlier_is_compared_in_rounds_that_both_share(
    opclock: Run, here: Path
) -> None:
    assert opclock("measure", "nets:good", "--count", "6").returncode == 0
    done = opclock("measure", "nets:good", "nets:zero_branch", "--count", "6", "--json")
    (verdict,) = json.loads(done.stdout)["comparisons"]
    assert verdict["pairs"] >= 6
    assert verdict["verdict"] != "UNUSABLE"


@pytest.mark.parametrize(
    "arguments",
    [["--shape", "x=1,3,64,64"], ["--batch", "2"]],
)
def test_a_flag_that_no_model_takes_is_refused(opclock: Run, arguments: list[str]) -> None:
    done = opclock("measure", "activation.relu", *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr
