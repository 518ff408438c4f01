"""Blocks that are exported in one go are those that are exported one by one."""

from __future__ import annotations

import copy
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import torch

from exporters import _onnx_chain, _sources
from exporters import onnx as exporter
from profiler import export_job, exporting, formats, spaces
from profiler.exporting import Request
from profiler.store import Store
from profiler.tables import plan
from profiler.types import Artifact, Failure, Format, Model, Workload
from tests.test_structure import SMALL

HERE = "tests.test_exporting_together"
KINDS = {
    "onnx": sorted(SMALL),
    "onnx:fp16": ["mobilenet"],
    "onnx:int8": ["efficientformer"],
    "onnx:profile=nnapi": ["mobilevit"],
    "onnx:opset=17": ["mobilenet"],
}


def models_of(name: str) -> list[Model]:
    """A block of each kind that a small network of a space has."""
    space = spaces.load(name)
    text = SMALL[name] or space.text(tuple(v[0] for v in space.fields.values()))
    kinds = {k.partition("/")[0]: k for k in space.rows(space.parse(text))}
    built = []
    for key in kinds.values():
        workload = plan.block(space, key).workload
        model = export_job.call_builder(workload.builder, dict(workload.parameters))
        assert isinstance(model, Model)
        model.module.eval()
        export_job.randomize(model.module)
        built.append(model)
    return built


def written(models: list[Model], folder: Path, wanted: Format) -> list[Path]:
    outs = [folder / str(n) / "model.onnx" for n in range(len(models))]
    for out in outs:
        out.parent.mkdir(parents=True)
    # An exporter may change what it is given.
    exporter.export_together([copy.deepcopy(m) for m in models], outs, wanted)
    return outs


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names]
)
def test_a_block_is_what_torch_makes_of_it_alone(kind: str, name: str, tmp_path: Path) -> None:
    wanted = formats.parse(kind)
    models = models_of(name)
    assert len(models) > 3
    outs = written(models, tmp_path / "together", wanted)
    for number, (model, out) in enumerate(zip(models, outs, strict=True)):
        alone = tmp_path / f"{number}.onnx"
        exporter.export(copy.deepcopy(model), alone, wanted)
        one, other = onnx.load(alone), onnx.load(out)
        if wanted.precision == "int8":
            # In which order they stand depends on names, which the quantiser sorts by.
            assert Counter(n.op_type for n in one.graph.node) == Counter(
                n.op_type for n in other.graph.node
            )
        else:
            assert operators(one) == operators(other)
        assert weights(one) == weights(other)
        # torch's exporter keeps an input's name for an output that is this very input.
        names = [i.name.removesuffix("_orig") for i in one.graph.input]
        assert names == [i.name for i in other.graph.input]
        assert opsets(one) == opsets(other)
        assert shapes(one) == shapes(other)
        assert modules(one) == modules(other)
        assert exporter.structure(alone).macs == exporter.structure(out).macs


def operators(model: Any) -> list[Any]:
    """Each operator, what it takes named by where that comes from."""
    places: dict[str, Any] = {i.name: ("input", n) for n, i in enumerate(model.graph.input)}
    tensors = {t.name: values(t) for t in model.graph.initializer}
    places |= tensors
    found = []
    for number, node in enumerate(model.graph.node):
        attributes = sorted(a.SerializeToString() for a in node.attribute)
        found.append((node.op_type, attributes, [places.get(n, n) for n in node.input]))
        places |= {name: (number, place) for place, name in enumerate(node.output)}
    return [*found, [places[o.name] for o in model.graph.output]]


def modules(model: Any) -> Counter[Any]:
    return Counter((s.operator, s.modules, s.classes) for s in _sources.of_onnx(model))


def values(tensor: Any) -> tuple[Any, ...]:
    return tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes()


def weights(model: Any) -> Counter[Any]:
    return Counter(values(t) for t in model.graph.initializer)


def opsets(model: Any) -> dict[str, int]:
    return {o.domain: o.version for o in model.opset_import}


def shapes(model: Any) -> list[Any]:
    described = (*model.graph.input, *model.graph.output)
    return [v.type.SerializeToString() for v in described]


@pytest.mark.parametrize("name", ["efficientformerv2", "mobile_former"])
def test_nothing_in_a_file_depends_on_what_was_exported_beside_it(
    name: str, tmp_path: Path
) -> None:
    """Or else what was measured with a file would be lost when the others are not the same."""
    wanted = formats.parse("onnx")
    models = models_of(name)
    outs = written(models, tmp_path / "together", wanted)
    for number, (model, out) in enumerate(zip(models[:4], outs, strict=False)):
        twice = written([model, models[0], model], tmp_path / f"again {number}", wanted)
        once = written([model], tmp_path / f"once {number}", wanted)
        assert {p.read_bytes() for p in (*once, twice[0], twice[2])} == {out.read_bytes()}


def small(width: int) -> Model:
    """A convolution and its inputs."""
    return Model(torch.nn.Conv2d(3, width, 3).eval(), (torch.zeros(1, 3, 8, 8),))


class Branching(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if float(x.sum()) > 0 else x


def branching() -> Model:
    """What no exporter takes."""
    return Model(Branching(), (torch.zeros(1, 3, 8, 8),))


def raising() -> Model:
    raise SystemExit(3)


def killing() -> Model:
    os.kill(os.getpid(), signal.SIGKILL)
    return small(1)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [("branching", "dynamic-control-flow"), ("raising", "exit"), ("killing", "killed")],
)
def test_one_that_cannot_be_exported_takes_no_other_along(
    bad: str, kind: str, tmp_path: Path
) -> None:
    wanted = formats.parse("onnx")
    builders = {f"good {n}": Workload(f"{HERE}:small", {"width": n}) for n in range(1, 6)}
    builders["bad"] = Workload(f"{HERE}:{bad}", {})
    keys = ["good 1", "good 2", "bad", "good 3", "good 4", "good 5"]
    requests = {k: Request(builders[k], wanted, together=True) for k in keys}
    with Store(tmp_path) as store:
        built = exporting.build(store, requests, lambda *_: None, lambda: None, 100, hands=1)
    failed = built.pop("bad")
    assert isinstance(failed, Failure)
    assert failed.kind == kind, failed.message
    assert all(isinstance(a, Artifact) for a in built.values())
    assert len(built) == 5


class Told:
    """A channel that keeps what it is told."""

    def __init__(self) -> None:
        self.announced: list[str] = []
        self.beats = 0

    def announce(self, key: str) -> None:
        self.announced.append(key)

    def beat(self, share: float) -> None:
        self.beats += 1


def test_what_is_slow_to_build_goes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a group are silent, and in memory, at the same time."""
    now_s = [0.0]

    def built(entry: dict[str, Any]) -> tuple[Model, str]:
        now_s[0] += 3
        return small(8), ""

    monkeypatch.setattr(export_job, "_built", built)
    monkeypatch.setattr(export_job.time, "monotonic", lambda: now_s[0])
    entries = [
        {"key": str(n), "together": True, "format": {"name": "onnx"}, "folder": str(tmp_path)}
        for n in range(8)
    ]
    channel: Any = Told()
    assert export_job._done_together(entries, channel) is None
    assert channel.announced == ["0", "1", "2"]
    assert channel.beats == 3


# Chains ------------------------------------------------------------------------------------------


def whole(chain: _onnx_chain.Chain) -> Any:
    """The ModelProto with all values in it, as protobuf would hold it."""
    model = copy.deepcopy(chain.model)
    for tensor, (first, second) in zip(model.graph.initializer, chain.values, strict=True):
        if len(first) + len(second):
            tensor.raw_data = bytes(first) + bytes(second)
    return model


def test_a_chain_in_a_file_is_what_protobuf_would_write(tmp_path: Path) -> None:
    parts = written(models_of("efficientformerv2")[1:2], tmp_path, formats.parse("onnx")) * 3
    chain = _onnx_chain.chained(parts)
    chain.save(tmp_path / "chain.onnx")
    read = onnx.load(tmp_path / "chain.onnx")
    assert read == whole(chain)
    onnx.checker.check_model(read, full_check=True)
    assert exporter.compose(parts, tmp_path / "again.onnx") == exporter.structure(
        tmp_path / "chain.onnx"
    )


def test_a_blocks_second_copy_has_its_values_moved_by_one(tmp_path: Path) -> None:
    part = written(models_of("efficientformer")[1:2], tmp_path, formats.parse("onnx"))[0]
    one = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(part).graph.initializer}
    read = whole(_onnx_chain.chained([part] * 3))
    moved = 0
    for tensor in read.graph.initializer:
        number, _, name = tensor.name.partition("/")
        rolls = int(number[1:]) if one[name].size > _onnx_chain.MOST_FACTORS else 0
        if one[name].dtype.kind != "f":
            rolls = 0
        expected = numpy.roll(one[name], rolls)
        assert (onnx.numpy_helper.to_array(tensor) == expected).all()
        moved += rolls > 0
    assert moved > 4


def test_more_than_a_file_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = written([small(64)], tmp_path, formats.parse("onnx"))[0]
    monkeypatch.setattr(_onnx_chain, "MOST_BYTES", 5000)
    with pytest.raises(ValueError, match="more than a file of ONNX holds"):
        _onnx_chain.chained([part]).save(tmp_path / "chain.onnx")
    assert not (tmp_path / "chain.onnx").exists()
