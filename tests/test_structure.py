"""What a table speaks of is what a network executes: the compiled graphs agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.spaces import efficientformer as space
from exporters import onnx as exporter
from profiler import devices, exporting, formats
from profiler.exporting import Request
from profiler.runtimes import onnxruntime as runtime
from profiler.store import Store
from profiler.types import Artifact

ONNX = formats.parse("onnx")
SMALL = "16-32-64-128/1-1-1-2/1"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """L1 exported whole, and the blocks of L1 and of a small network."""
    keys = {k for name in ("l1", SMALL) for k in space.rows(space.parse(name))}
    keys |= {"anchor/14/64", "anchor/7/128"}
    workload = space.network("l1")
    assert workload is not None
    requests = {k: Request(space.workload(k), ONNX) for k in sorted(keys)}
    requests["whole"] = Request(workload, ONNX)
    with Store(tmp_path_factory.mktemp("store")) as store:
        built = exporting.build(store, requests, lambda *_: None, lambda: None, 240, hands=2)
    assert all(isinstance(a, Artifact) for a in built.values()), built
    return {k: a for k, a in built.items() if isinstance(a, Artifact)}


def compiled(path: Path) -> Counter[str]:
    """Operators that ONNX Runtime executes after its own optimisation."""
    target = devices.target("host/onnxruntime")
    return Counter(runtime.executed(str(path), target))


def chain(keys: tuple[str, ...], artifacts: dict[str, Artifact], folder: Path) -> Counter[str]:
    out = folder / "chain.onnx"
    exporter.compose([Path(artifacts[k].path) for k in keys], out)
    return compiled(out)


def test_the_composed_l1_executes_the_same_operators_as_timms(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    composed = chain(space.rows(space.parse("l1")), artifacts, tmp_path)
    whole = compiled(Path(artifacts["whole"].path))
    assert composed == whole
    assert whole.total() > 100


def test_the_composed_l1_has_the_weights_of_timms(artifacts: dict[str, Artifact]) -> None:
    parts = [artifacts[k] for k in space.rows(space.parse("l1"))]
    assert sum(p.model_parameters for p in parts) == artifacts["whole"].model_parameters
    assert sum(p.structure.parameters for p in parts) == pytest.approx(
        artifacts["whole"].structure.parameters, 1e-3
    )


@pytest.mark.parametrize(
    ("front", "block"),
    [
        (("anchor/14/64",), "mb4d/14/64"),
        (("anchor/7/128",), "mb4d/7/128"),
        (("anchor/7/128", "flat/7/128"), "mb3d/49/128"),
    ],
)
def test_a_block_is_as_many_operators_in_a_chain_as_in_a_network(
    front: tuple[str, ...], block: str, artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    one = chain((*front, block), artifacts, tmp_path)
    four = chain((*front, *(block,) * 4), artifacts, tmp_path)
    rows = space.rows(space.parse(SMALL))
    place = rows.index(block)
    more = (*rows[:place], *(block,) * 3, *rows[place:])
    base, larger = chain(rows, artifacts, tmp_path), chain(more, artifacts, tmp_path)
    assert Counter(four) - Counter(one) == Counter(larger) - Counter(base)
    assert (four - one).total() % 3 == 0


def test_repeated_blocks_have_weights_of_their_own(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    import onnx

    out = tmp_path / "chain.onnx"
    block = Path(artifacts["mb4d/14/64"].path)
    exporter.compose([Path(artifacts["anchor/14/64"].path), block, block, block], out)
    tensors = onnx.load(out).graph.initializer
    large = [t.raw_data for t in tensors if len(t.raw_data) > 1000]
    assert len(set(large)) == len(large)
    assert len({t.name for t in tensors}) == len(tensors)
