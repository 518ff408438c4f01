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
from profiler.types import Artifact
from profiler.worker import random_feeds

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


def exported(requests: Mapping[str, Request], folder: Path) -> dict[str, Artifact]:
    with Store(folder) as store:
        built = exporting.build(store, requests, lambda *_: None, lambda: None, 240, hands=2)
    assert all(isinstance(a, Artifact) for a in built.values()), built
    return {k: a for k, a in built.items() if isinstance(a, Artifact)}


def blocks_of(space: Space, keys: Sequence[str], folder: Path) -> dict[str, Artifact]:
    requests = {k: Request(plan.block(space, k).workload, ONNX) for k in sorted(set(keys))}
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


def test_what_is_kept_compiled_executes_the_same_and_gives_the_same(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    out, kept = tmp_path / "chain.onnx", tmp_path / "chain.onnx.compiled"
    exporter.compose([Path(artifacts[k].path) for k in V1.rows(V1.parse("l1"))], out)
    (tmp_path / "chain.onnx.compiled.part").write_bytes(b"a process was killed here")
    target, plain = (
        devices.target("host/onnxruntime"),
        devices.target("host/onnxruntime:graph=disabled"),
    )
    first = runtime.load_compiled(str(out), target, str(kept))
    before = compiled(out)
    out.unlink()
    second = runtime.load_compiled(str(out), target, str(kept))
    assert Counter(runtime.executed(str(kept), plain)) == before
    feeds = random_feeds(first.inputs)
    for want, got in zip(first.bind(feeds)(), second.bind(feeds)(), strict=True):
        assert (want == got).all()


def test_without_room_or_on_another_provider_nothing_is_kept(
    artifacts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept = artifacts["mb4d/56/48"].path, tmp_path / "kept"
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(runtime, "Session", lambda *given: seen.append(given[:1]))
    runtime.load_compiled(path, devices.target("host/onnxruntime:cuda"), str(kept))
    monkeypatch.setattr(runtime, "ROOM_BYTES", 1 << 80)
    runtime.load_compiled(path, devices.target("host/onnxruntime"), str(kept))
    assert seen == [(path,), (path,)]
    assert not list(tmp_path.iterdir())
    kept.touch()
    runtime.load_compiled(path, devices.target("host/onnxruntime"), str(kept))
    assert seen[-1] == (str(kept),)
