"""The examples of CONTRIBUTING.md, run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"```python\n# (\S+)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("checkout")
    for name in ("profiler", "exporters", "benchmarks", "reports"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "profile.py", place)
    blocks = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())
    assert len(blocks) == 3
    for name, text in blocks:
        assert not (place / name).exists()
        (place / name).write_text(text)
    return place


def run(checkout: Path, *arguments: str) -> str:
    command = [sys.executable, "profile.py", *arguments, "--store", "store"]
    done = subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_new_files_are_found_by_their_names_alone(checkout: Path) -> None:
    listed = json.loads(run(checkout, "list", "--json"))
    assert any(b.startswith("token_mixer.pooling") for b in listed["benchmarks"])
    assert "host/torchscript:cpu,fp32,threads=1" in listed["targets"]
    assert any(f.startswith("torchscript") for f in listed["formats"])


def test_the_new_operator_benchmark_is_measured_on_the_new_runtime(checkout: Path) -> None:
    arguments = ("token_mixer", "--on", "host/torchscript", "--count", "1", "--json")
    found = json.loads(run(checkout, "measure", *arguments))
    assert len(found["measurements"]) == 2
    for line in found["measurements"]:
        assert line["median_ns"] > 0
        assert line["actual"]["interpreter"] == "torch.jit"
        assert line["relative_error"] < 1e-3


def test_the_new_format_exports_and_is_inspected(checkout: Path) -> None:
    arguments = ("--format", "torchscript", "-o", "a.ts", "--json")
    said = json.loads(run(checkout, "export", "activation.relu", *arguments))
    assert said["structure"]["operators"]["aten::relu"] == 1
    assert (checkout / "a.ts").stat().st_size > 1_000
    (found,) = json.loads(run(checkout, "inspect", "a.ts", "--json"))["inspected"]
    assert found["format"] == "torchscript"
    assert found["structure"] == said["structure"]


def test_the_examples_keep_the_house_rules(checkout: Path) -> None:
    names = [name for name, _ in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())]
    command = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, *names], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
