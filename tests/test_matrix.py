"""`matrix`: no empty cell, and the committed one is what the command gives."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from profiler.matrix import Cell, Matrix, Run
from profiler.types import Artifact, Format, Structure
from reports import matrix as report
from tests.conftest import ROOT
from tests.conftest import Run as Command

HEAD = report.Head("opclock matrix", "a machine", {"torch": "2"})
SMALL = "mobilenetv2_100"


def made(name: str, operators: int = 3) -> Artifact:
    held = Structure({"Conv": operators}, {"fp32": 5}, macs=7_000_000, notes=("opset 20",))
    return Artifact("m", Format(name), "d", 10, 5, held, {}, export_ns=1_500_000_000)


def sample() -> Matrix:
    runs = {"host/a": Run(12_345_678, 2e-7), "host/b": Run(failure="crash: died | of SIGSEGV")}
    cells = (
        Cell("net", "onnx", made("onnx"), runs=runs),
        Cell("net", "coreml", made("coreml")),
        Cell("other", "onnx", failure="error: <b>eig</b> in /a/b/site-packages/timm/x.py:4"),
        Cell("other", "coreml", made("coreml")),
    )
    where = {"coreml": "coreml: needs macOS 14.4 or newer"}
    return Matrix(("net", "other"), ("onnx", "coreml"), ("host/a", "host/b"), cells, where)


def test_every_cell_says_something() -> None:
    text = report.markdown(sample(), HEAD)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows
    for row in rows:
        cells = row.replace("\\|", "/").strip("| ").split(" | ")
        assert all(c.strip() for c in cells), row
    assert "12.35 (2e-07)" in text
    assert "failed (crash)" in text
    assert "not converted" in text
    assert "needs macOS 14.4" in text
    assert "- net, host/b: crash: died \\| of SIGSEGV" in text
    assert "<b>" not in text
    assert "in timm/x.py:4" in text, "no path of the machine that it was made on"


def test_the_csv_has_a_row_for_each_network_format_and_target() -> None:
    rows = list(csv.DictReader(io.StringIO(report.csv_text(sample()))))
    keys = [(r["network"], r["format"], r["target"]) for r in rows]
    assert keys == [
        ("net", "onnx", "host/a"),
        ("net", "onnx", "host/b"),
        ("net", "coreml", "not run here"),
        ("other", "onnx", "not run here"),
        ("other", "coreml", "not run here"),
    ]
    assert rows[0]["p50_ns"] == "12345678"
    assert rows[1]["reason"].startswith("crash")
    assert rows[3]["converted"] == "no"


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "SUPPORT.md"
    assert report.placed(file, "new\n").startswith(report.BEGIN)
    file.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    found = report.placed(file, "new\n")
    assert found.startswith(f"before\n{report.BEGIN}")
    assert found.endswith(f"{report.END}\nafter\n")
    assert "old" not in found


def test_a_part_of_the_committed_matrix_is_what_the_command_gives(
    opclock: Command, tmp_path: Path
) -> None:
    done = opclock(
        "matrix", SMALL, "--formats", "onnx", "openvino", "onnx:profile=nnapi,gelu=tanh",
        "--csv", "part.csv", "-o", "part.md", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["cells"]) == 3
    with (tmp_path / "part.csv").open() as file:
        fresh = list(csv.DictReader(file))
    assert {r["target"] for r in fresh} == {"host/onnxruntime", "host/openvino", "not run here"}
    with (ROOT / "docs" / "support.csv").open() as file:
        committed = {(r["network"], r["format"], r["target"]): r for r in csv.DictReader(file)}
    for row in fresh:
        kept = committed[row["network"], row["format"], row["target"]]
        for name in ("converted", "parameters", "model_parameters", "operators", "macs", "notes"):
            assert row[name] == kept[name], name
        if row["p50_ns"]:
            assert float(row["relative_error"]) < 1e-4


def test_the_committed_matrix_has_no_empty_cell() -> None:
    with (ROOT / "docs" / "support.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({r["network"] for r in rows}) > 70
    for row in rows:
        assert row["converted"] in ("yes", "no")
        assert row["p50_ns"] or row["reason"], row
    text = (ROOT / "docs" / "SUPPORT.md").read_text()
    assert "`opclock matrix" in text


@pytest.mark.parametrize("arguments", [["nonsense_net"], [SMALL, "--formats", "onyx"]])
def test_what_does_not_exist_is_refused_before_an_hour_of_work(
    opclock: Command, arguments: list[str]
) -> None:
    done = opclock("matrix", *arguments)
    assert done.returncode == 2
    assert "unknown" in done.stderr
