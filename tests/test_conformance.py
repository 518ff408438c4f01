"""What every exporter and every runtime must do: each plug-in that is there is tried."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from profiler import devices, exporting, formats, measure, plugins
from profiler.collection import Collection, Item
from profiler.exporting import Request
from profiler.inspection import Inspected, Unreadable, read
from profiler.operators import category
from profiler.store import Store
from profiler.types import Artifact, Failure, Format, Protocol, Workload

ROOT = Path(__file__).resolve().parent.parent
EXPORTERS = plugins.names("exporters")
RUNTIMES = plugins.names("profiler.runtimes")
HERE = [r for r in RUNTIMES if not plugins.load("profiler.runtimes", r).missing()]
# An engine's own clock and kernels are not asked for a figure here: one short visit is enough.
ONCE = Protocol(
    warmup_runs=1,
    warmup_floor_ns=0,
    visit_samples=2,
    passes=1,
    min_rounds=1,
    max_rounds=1,
)
NETS = ("good", "batch_of_three", "two_inputs", "zero_branch", "small_outputs")
# Convolution 3 to 8, 3x3, 30x30 outputs; linear 8 to 4; by hand.
GOOD_MACS = 30 * 30 * 8 * 27 + 32
GOOD_WEIGHTS = 3 * 8 * 9 + 8 + 8 * 4 + 4
# torch's own programs keep what no compiler could express.
TAKE_ANYTHING = ("exported_program", "aoti")


def workload(name: str) -> Workload:
    return Workload(f"tests.nets:{name}", {}, name)


def available() -> list[str]:
    return [e for e in EXPORTERS if not plugins.load("exporters", e).missing()]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def artifacts(
    store: Store, monkeypatch_module: pytest.MonkeyPatch
) -> Mapping[tuple[str, str], Artifact | Failure]:
    """Every net in every format, in fp32 where the format has it."""
    keys = {(e, n): Request(workload(n), plain(e)) for e in available() for n in NETS}
    for bad in ("unsupported", "two_paths"):
        keys |= {(e, bad): Request(workload(bad), plain(e)) for e in available()}
    requests = {f"{e} {n}": request for (e, n), request in keys.items()}
    built = exporting.build(store, requests, lambda *_: None, lambda: None, 240, hands=2)
    return {(e, n): built[f"{e} {n}"] for e, n in keys}


@pytest.fixture(scope="module")
def second(
    store: Store, monkeypatch_module: pytest.MonkeyPatch
) -> Mapping[str, Artifact | Failure]:
    """The first net once more, by each exporter whose library writes the same bytes each time."""
    steady = [e for e in available() if e not in ("aoti", "exported_program", "ort")]
    return build_each(store, steady, "good")


@pytest.fixture(scope="module")
def starved(
    store: Store, monkeypatch_module: pytest.MonkeyPatch
) -> Mapping[str, Artifact | Failure]:
    """What becomes of an export whose disk is full."""
    return build_each(store, available(), "no_room")


def build_each(store: Store, names: list[str], net: str) -> Mapping[str, Artifact | Failure]:
    requests = {e: Request(workload(net), plain(e)) for e in names}
    return exporting.build(store, requests, lambda *_: None, lambda: None, 240, hands=2)


@pytest.fixture(scope="module")
def monkeypatch_module() -> pytest.MonkeyPatch:
    """Children look for tests.nets from the checkout's root."""
    patch = pytest.MonkeyPatch()
    patch.chdir(ROOT)
    return patch


def plain(exporter: str) -> Format:
    module = plugins.load("exporters", exporter)
    return formats.complete(Format(exporter, "fp32" if "fp32" in module.PRECISIONS else ""))


def good(found: Artifact | Failure) -> Artifact:
    assert isinstance(found, Artifact), found
    return found


# Exporters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("exporter", available())
def test_an_export_holds_the_whole_network(
    exporter: str, net: str, artifacts: Mapping[tuple[str, str], Artifact | Failure]
) -> None:
    made = good(artifacts[exporter, net])
    assert Path(made.path).exists()
    assert made.structure.precision == made.format.precision == "fp32"
    assert sum(made.structure.operators.values()) + len(made.structure.delegated) > 0
    assert made.export_ns > 0
    for port in (*made.structure.inputs, *made.structure.outputs):
        assert re.fullmatch(r".+: \w+\[(\d+(,\d+)*)?\]", port), "shapes are static"
    counts = {"two_inputs": (2, 2)}.get(net, (1, 1))
    assert (len(made.structure.inputs), len(made.structure.outputs)) == counts


@pytest.mark.parametrize("exporter", available())
def test_weights_and_multiply_adds_arrive(
    exporter: str, artifacts: Mapping[tuple[str, str], Artifact | Failure]
) -> None:
    made = good(artifacts[exporter, "good"])
    assert made.model_parameters == GOOD_WEIGHTS
    assert abs(made.structure.parameters - GOOD_WEIGHTS) <= 8
    assert made.structure.macs == GOOD_MACS
    branch = good(artifacts[exporter, "zero_branch"])
    assert branch.structure.parameters >= 8 * 8 * 9, "the branch was folded away"
    held = {**branch.structure.operators, **branch.structure.delegated}
    convolutions = [n for n, count in held.items() if category(n) == "convolution" and count]
    assert convolutions


@pytest.mark.parametrize("exporter", available())
def test_the_same_export_has_the_same_digest(
    exporter: str,
    artifacts: Mapping[tuple[str, str], Artifact | Failure],
    second: Mapping[str, Artifact | Failure],
) -> None:
    """Rounds are found again by the artifact's content."""
    if exporter not in second:
        pytest.skip("the library writes other bytes each time")
    assert good(second[exporter]).digest == good(artifacts[exporter, "good"]).digest


@pytest.mark.parametrize("exporter", available())
def test_an_operator_that_a_format_lacks_is_named(
    exporter: str, artifacts: Mapping[tuple[str, str], Artifact | Failure]
) -> None:
    found = artifacts[exporter, "unsupported"]
    if isinstance(found, Artifact):
        assert exporter in TAKE_ANYTHING or any("eig" in n for n in found.structure.operators)
        return
    assert found.stage == "export"
    assert found.kind == "unsupported-operator", found
    assert "eig" in found.message
    assert "1.mixer" in found.message, "the module is named too"
    assert "\n" not in found.message


@pytest.mark.parametrize("exporter", available())
def test_a_path_that_depends_on_values_is_told_with_its_line(
    exporter: str, artifacts: Mapping[tuple[str, str], Artifact | Failure]
) -> None:
    found = artifacts[exporter, "two_paths"]
    assert isinstance(found, Failure)
    assert found.kind in ("dynamic-control-flow", "bad-model"), found
    assert "nets.py, line" in found.message
    assert "x.sum() > 0" in found.message or found.kind == "bad-model"


@pytest.mark.parametrize("exporter", available())
def test_a_full_disk_leaves_nothing_behind(
    exporter: str, starved: Mapping[str, Artifact | Failure], store: Store
) -> None:
    found = starved[exporter]
    assert isinstance(found, Failure)
    assert found.message
    assert not list((store.folder / "staging").iterdir())


BROKEN = {"empty": b"", "garbage": b"garbage" * 100, "cut": b"PK\x03\x04" + b"\0" * 64}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Inspected | Unreadable]:
    """What each exporter says of files that are none of its own, all read by one child."""
    folder = tmp_path_factory.mktemp("broken")
    files: dict[str, tuple[str, tuple[str, ...]]] = {}
    for exporter in available():
        for name, content in BROKEN.items():
            file = folder / f"{name}{plugins.load('exporters', exporter).SUFFIX}"
            file.write_bytes(content)
            files[f"{exporter} {name}"] = (str(file), (exporter,))
    return read(files)


@pytest.mark.parametrize("exporter", available())
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_artifact_is_told_in_one_sentence(
    exporter: str, name: str, broken: Mapping[str, Inspected | Unreadable]
) -> None:
    found = broken[f"{exporter} {name}"]
    assert isinstance(found, Unreadable)
    assert found.kind == "bad-model", found
    assert len(found.message) < 600


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_exporter_says_what_it_is(exporter: str) -> None:
    module = plugins.load("exporters", exporter)
    assert module.SUFFIX.startswith(".")
    assert module.PRECISIONS
    assert module.missing() is None or "\n" not in module.missing()
    assert re.search(r"==\d", module.INSTALL)
    whole = formats.parse(exporter)
    assert dict(whole.options) == module.OPTIONS
    assert formats.parse(str(whole)) == whole


# Runtimes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", HERE)
def test_every_net_runs_and_computes_what_torch_computes(
    runtime: str, store: Store, artifacts: Mapping[tuple[str, str], Artifact | Failure]
) -> None:
    target = devices.target(f"host/{runtime}")
    made_as = formats.executed_by(target)
    items = []
    for net in NETS:
        made = good(artifacts[made_as.name, net])
        items.append(Item.of(workload(net), made, target, ONCE))
    run = Collection(store, target, ONCE, items, None)
    measure.collect(run)
    assert not run.failures
    for item in items:
        (taken, *_) = store.rounds(item.key)
        assert taken.error is not None
        assert taken.error < 1e-3, item.workload.label
        assert len(taken.samples_ns) >= 2
        assert all(s > 0 for s in taken.samples_ns)
        assert taken.actual
        if "threads" in target.options:
            assert taken.actual["threads"] == target.options["threads"] == "1"


@pytest.mark.parametrize("runtime", HERE)
def test_a_file_of_another_kind_is_a_clean_failure(
    runtime: str, store: Store, artifacts: Mapping[tuple[str, str], Artifact | Failure],
    tmp_path: Path,
) -> None:  # fmt: skip
    target = devices.target(f"host/{runtime}")
    made = good(artifacts[formats.executed_by(target).name, "good"])
    bad = tmp_path / Path(made.path).name
    bad.write_bytes(b"not what it says " * 50)
    other = dataclasses.replace(made, path=str(bad), digest="bad")
    item = Item.of(workload("good"), other, target, ONCE)
    run = Collection(store, target, ONCE, [item], None)
    measure.collect(run)
    (failure,) = run.failures.values()
    assert failure.stage == "run"
    assert failure.kind in ("invalid-artifact", "crash"), failure
    assert failure.message


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_says_what_it_is(runtime: str) -> None:
    module = plugins.load("profiler.runtimes", runtime)
    assert set(module.FORMATS) <= set(EXPORTERS)
    assert module.UNITS
    assert module.PRECISIONS
    assert re.search(r"==\d", module.INSTALL)
    assert module.missing() is None or "\n" not in module.missing()
    target = devices.target(f"host/{runtime}")
    assert target.precision == module.PRECISIONS[0]
    assert module.kind_of(RuntimeError("something")) == "error"


def test_no_plug_in_loads_a_framework_when_it_is_imported() -> None:
    code = (
        "import sys; from profiler import plugins\n"
        "for package in ('exporters', 'profiler.runtimes', 'benchmarks.models'):\n"
        "    for name in plugins.names(package):\n"
        "        module = plugins.load(package, name)\n"
        "        getattr(module, 'missing', lambda: None)()\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'coremltools', 'executorch', 'numpy',"
        " 'litert_torch', 'ai_edge_litert', 'tensorrt_rtx_bindings', 'jax'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_install_lines_name_the_versions_that_are_tested() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    modules = [plugins.load("exporters", e) for e in EXPORTERS]
    modules += [plugins.load("profiler.runtimes", r) for r in RUNTIMES]
    for module in modules:
        for word in module.INSTALL.split():
            name, pinned, version = word.partition("==")
            assert not pinned or pins[name] == version, (module.__name__, name)


def test_a_builder_may_have_a_parameter_called_blocks() -> None:
    """Only a sequence's blocks are builders themselves."""
    wanted = Request(Workload("mynets:chain", {"blocks": 3}), plain("onnx"))
    assert wanted.builders == ("mynets:chain",)
    assert not wanted.kept
