"""What the documents say can be done can be done."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from profiler import cli, spaces
from profiler.tables import plan as planning
from profiler.tables.table import Entry, LatencyTable, save

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    "benchmarks/README.md",
    "README.md",
    "CONTRIBUTING.md",
    "docs/METHOD.md",
    "docs/JSON.md",
    "docs/TABLES.md",
]
DOCUMENTS += ["docs/BREAKDOWN.md", "docs/REPORTS.md"]
COMMAND = re.compile(r"^    python profile\.py (.*?)(?:\s+#.*)?$", re.MULTILINE)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_in_the_documents_is_one_that_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    for line in COMMAND.findall(text):
        cli.parser().parse_args(shlex.split(line))
    if name == "README.md":
        assert len(COMMAND.findall(text)) >= 8


def examples() -> list[str]:
    found: list[str] = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    return found


def test_the_example_in_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = spaces.load("efficientformer")
    entries = {
        k: Entry(k, 1_000_000, 900_000, 1_100_000, "measured")
        for k in sorted(set(space.rows(space.parse("l1"))))
    }
    device = {"name": "host", "description": "a machine", "fingerprint": "f"}
    table = LatencyTable("efficientformer", "host/x", device, "1", "", 0, 1.0, entries)
    save(table, tmp_path / "v1.json")
    monkeypatch.chdir(tmp_path)
    exec(compile(examples()[0], "README.md", "exec"), {})
    assert capsys.readouterr().out == "21.0 ms\n[21.] ms\n"


def test_the_space_in_the_readme_is_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are determined by chains, and its blocks are what it says that they are."""
    (tmp_path / "myspace.py").write_text(examples()[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    space = spaces.load("myspace.py")
    chains, rows = planning.chains(space, space.keys)
    assert sorted(rows) == sorted(space.keys)
    assert len(chains) > 8 * 3
    assert space.text(space.parse("64/5")) == "64/5"
    for key in ("stem/16", "body/16", "head/16"):
        found = space.block(key)
        builder = getattr(sys.modules["myspace"], key.split("/")[0])
        module, given = builder(**found.workload.parameters)
        assert tuple(given.shape[1:]) == found.takes[0]
        assert tuple(module(given).shape[1:]) == found.gives[0]


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("doctor", "list", "measure", "demo", "table build", "table show"):
        assert name in text
    for name in ("table predict", "table check", "breakdown", "bench", "observations", "compare"):
        assert name in text


def test_files_that_the_documents_name_exist() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md"):
        text = (ROOT / name).read_text()
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / link).exists(), f"{name} links to {link}"
