"""What a table speaks of is what a network executes: the compiled graphs agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from exporters import onnx as exporter
from profiler import devices, exporting, formats, spaces
from profiler.exporting import Request
from profiler.runtimes import onnxruntime as runtime
from profiler.spaces import Space
from profiler.store import Store
from profiler.tables import plan
from profiler.tables.estimate import Term, solve
from profiler.tables.networks import sequence_name
from profiler.types import Artifact, Format

ONNX = formats.parse("onnx")
V1 = spaces.load("efficientformer")
# A small network of each space, with every kind of block that its released networks have.
SMALL = {
    "efficientformer": "16-32-64-128/2-1-2-3/1",
    "efficientformerv2": "16-32-64-128/2-2-6-4/2-2/4-4/4-4/4-4-3-3-4-4/4-3-3-4",
    "mobilenet": "",
    "mobilevit": "",
    "mobile_former": "",
}


INT8 = formats.parse("onnx:int8")


def exported(requests: Mapping[str, Request], folder: Path) -> dict[str, Artifact]:
    with Store(folder) as store:
        built = exporting.build(store, requests, lambda *_: None, lambda: None, 240, hands=2)
    assert all(isinstance(a, Artifact) for a in built.values()), built
    return {k: a for k, a in built.items() if isinstance(a, Artifact)}


def blocks_of(
    space: Space, keys: Sequence[str], folder: Path, wanted: Format = ONNX
) -> dict[str, Artifact]:
    requests = {k: Request(plan.block(space, k).workload, wanted) for k in sorted(set(keys))}
    return exported(requests, folder)


def compiled(path: Path) -> Counter[str]:
    """Operators that ONNX Runtime executes after its own optimisation."""
    target = devices.target("host/onnxruntime")
    return Counter(runtime.executed(str(path), target))


def chain(keys: Sequence[str], artifacts: Mapping[str, Artifact], folder: Path) -> Counter[str]:
    out = folder / "chain.onnx"
    exporter.compose([Path(artifacts[k].path) for k in keys], out)
    return compiled(out)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_operators_of_a_network_follow_from_those_of_chains(name: str, tmp_path: Path) -> None:
    """The chains that give a table its latencies give the executed operators, too: exactly."""
    space = spaces.load(name)
    text = SMALL[name] or space.text(tuple(v[0] for v in space.fields.values()))
    rows = space.rows(space.parse(text))
    chains, _ = plan.chains(space, dict.fromkeys(rows), plan.SLOPE)
    every = {k for c in chains for k in c.blocks}
    blocks = blocks_of(space, [*every, *rows], tmp_path / "store")
    terms = [Term(sequence_name(c.blocks), c.scaffold, c.counted) for c in chains]
    counts = {
        t.chain: float(chain(c.blocks, blocks, tmp_path).total())
        for t, c in zip(terms, chains, strict=True)
    }
    found = solve({k: max(v, 1e-9) for k, v in counts.items()}, terms)
    executed = chain(rows, blocks, tmp_path)
    predicted = found["overhead"] + sum(found[k] for k in rows)
    assert executed.total() > len(rows)
    assert predicted == pytest.approx(executed.total(), abs=0.01)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """L1 exported whole, and its blocks."""
    place = tmp_path_factory.mktemp("store")
    workload = V1.network("l1")
    assert workload is not None
    keys = [*V1.rows(V1.parse("l1")), "anchor/48x56x56"]
    return {**blocks_of(V1, keys, place), **exported({"whole": Request(workload, ONNX)}, place)}


def test_the_composed_l1_executes_the_same_operators_as_timms(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    composed = chain(V1.rows(V1.parse("l1")), artifacts, tmp_path)
    whole = compiled(Path(artifacts["whole"].path))
    assert composed == whole
    assert whole.total() > 100


def test_the_composed_l1_has_the_weights_of_timms(artifacts: dict[str, Artifact]) -> None:
    parts = [artifacts[k] for k in V1.rows(V1.parse("l1"))]
    assert sum(p.model_parameters for p in parts) == artifacts["whole"].model_parameters
    assert sum(p.structure.parameters for p in parts) == pytest.approx(
        artifacts["whole"].structure.parameters, 1e-3
    )


def test_repeated_blocks_have_weights_of_their_own(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    import onnx

    out = tmp_path / "chain.onnx"
    block = Path(artifacts["mb4d/56/48"].path)
    exporter.compose([Path(artifacts["anchor/48x56x56"].path), block, block, block], out)
    tensors = onnx.load(out).graph.initializer
    large = [t.raw_data for t in tensors if len(t.raw_data) > 1000]
    assert len(set(large)) == len(large)
    assert len({t.name for t in tensors}) == len(tensors)


def test_the_composed_int8_l1_executes_the_same_operators_as_timms(tmp_path: Path) -> None:
    """Blocks are quantised each for itself, and joined as if the network had been."""
    workload = V1.network("l1")
    assert workload is not None
    rows = V1.rows(V1.parse("l1"))
    blocks = blocks_of(V1, rows, tmp_path / "store", INT8)
    whole = exported({"whole": Request(workload, INT8)}, tmp_path / "store")["whole"]
    composed, real = chain(rows, blocks, tmp_path), compiled(Path(whole.path))
    assert real["QLinearConv"] > 10
    assert composed == real
