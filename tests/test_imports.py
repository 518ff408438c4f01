"""Which way imports run, and what must not be written."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("profiler", "exporters", "benchmarks", "reports")
ROWS = (
    ("profiler.errors", "profiler.encoding", "profiler.written", "profiler.types"),
    (
        "profiler.plugins",
        "profiler.statistics",
        "profiler.sampling",
        "profiler.drift",
        "profiler.operators",
        "profiler.choices",
        "profiler.lineage",
        "profiler.categories",
        "profiler.spaces",
    ),
    (
        "exporters",
        "benchmarks",
        "profiler.runtimes",
        "profiler.environment",
        "profiler.formats",
        "profiler.devices",
        "profiler.store",
        "profiler.turns",
        "profiler.processes",
    ),
    (
        "profiler.worker",
        "profiler.export_job",
        "profiler.exporting",
        "profiler.workloads",
        "profiler.collection",
        "profiler.jobs",
        "profiler.measure",
        "profiler.rounds",
        "profiler.breakdown",
        "profiler.profiling",
        "profiler.dissection",
        "profiler.inspection",
        "profiler.agreement",
        "profiler.matrix",
        "profiler.laps",
        "profiler.comparison",
        "profiler.baseline",
        "profiler.tables",
        "profiler.roofline",
        "profiler.experiments",
        "profiler.bench",
        "profiler.observations",
        "profiler.doctor",
        "profiler.progress",
    ),
    ("reports",),
    (
        "profiler.commands",
        "profiler.cli",
        "profiler.grammar",
        "benchmarks.predictions",
        "benchmarks.removal",
        "benchmarks.verdicts",
    ),
)
PLUGINS = ("exporters", "benchmarks", "profiler.runtimes")
FRAMEWORKS = {"torch", "torchvision", "timm", "onnx", "onnxruntime", "onnxscript", "numpy"}
FRAMEWORKS |= {"coremltools", "openvino", "executorch", "torchao", "litert_torch", "ai_edge_litert"}
FRAMEWORKS |= {"ai_edge_quantizer", "tensorrt", "tensorrt_rtx_bindings", "flatbuffers"}
FRAMEWORKS |= {"matplotlib", "rich", "pandas", "google", "pyarrow", "yaml", "vl_convert"}
FILES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def row(module: str) -> int | None:
    found = [
        (len(prefix), number)
        for number, prefixes in enumerate(ROWS)
        for prefix in prefixes
        if module == prefix or module.startswith(prefix + ".")
    ]
    return max(found)[1] if found else None


def imported(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_its_own_row_or_lower(path: Path) -> None:
    name = module_name(path)
    if name == "profiler":
        return
    own = row(name)
    assert own is not None, f"{name} has no row: give it one here and in docs/ARCHITECTURE.md"
    for other in imported(ast.parse(path.read_text())):
        if other.partition(".")[0] in PACKAGES and other != "profiler":
            there = row(other)
            assert there is not None, f"{name} imports {other}, which has no row"
            assert there <= own, f"{name} (row {own + 1}) imports {other} (row {there + 1})"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_plugins_never_import_each_others_packages(path: Path) -> None:
    name = module_name(path)
    home = next((p for p in PLUGINS if name.startswith(p)), None)
    for other in imported(ast.parse(path.read_text())):
        there = next((p for p in PLUGINS if other.startswith(p)), None)
        if there and home != there:
            pytest.fail(f"{name} imports the plug-in {other}: load it by plugins.load")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_frameworks_are_imported_where_they_are_needed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = ast.Module(body=[n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)])
    for other in imported(top):
        assert other.partition(".")[0] not in FRAMEWORKS, f"{other} at the top of {path}"


def test_only_the_commands_print() -> None:
    allowed = ("profiler.commands", "profiler.cli", "profiler.progress")
    allowed += ("benchmarks.predictions", "benchmarks.removal", "benchmarks.verdicts")
    for path in FILES:
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        printing = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not printing or module_name(path).startswith(allowed), path


def test_every_file_can_be_read_whole() -> None:
    long = {str(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
