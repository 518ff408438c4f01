"""`agree`: our latency beside the runtime's own tool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from profiler.agreement import Agreement
from tests.conftest import ROOT, Run


def test_the_ratio_is_the_median_of_the_turns() -> None:
    found = Agreement("net", "host/a", (100, 300, 100), (100, 100, 50))
    assert found.ratio == 2.0


def test_both_sides_are_measured_in_every_turn(opclock: Run, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "nets.py", tmp_path / "nets.py")
    targets = ("host/onnxruntime", "host/openvino", "host/torch_eager")
    done = opclock("agree", "nets:good", "--on", *targets, "--count", "1", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["agreements"]
    assert [r["target"].partition(":")[0] for r in rows] == list(targets)
    for row in rows:
        assert len(row["ours_ns"]) == len(row["theirs_ns"]) == 1
        assert min(*row["ours_ns"], *row["theirs_ns"]) > 0
        assert row["ratio"] == row["ours_ns"][0] / row["theirs_ns"][0]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("host/torch_inductor", "knows no tool of torch_inductor's own"),
        ("host/coreml", "coreml cannot run here: needs macOS 14.4 or newer"),
    ],
)
def test_what_has_no_tool_is_said_before_anything_is_built(
    opclock: Run, target: str, said: str
) -> None:
    done = opclock("agree", "mobilenetv2_100", "--on", target)
    assert done.returncode in (1, 2)
    assert said in done.stderr
