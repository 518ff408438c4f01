"""Rows are counted as torch executes them: parameters, multiply-adds, bytes written and alive."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.spaces.efficientformer import SPACE as V1
from benchmarks.spaces.efficientformerv2 import SPACE as V2
from exporters import onnx
from profiler.errors import BadModelFile
from profiler.export_job import call_builder, randomize
from profiler.spaces import Block, Part, Space
from profiler.tables.sizes import Count, size_of, sizes
from profiler.tables.table import Size
from profiler.types import Failure, Format, Graph, Model, Workload
from tests.rebuilding import build, parameters

FLOAT_BYTES = 4


def count(function: Callable[..., Any], *inputs: torch.Tensor) -> Count:
    found = Count()
    with torch.no_grad(), found.watching(inputs):
        function(*inputs)
    return found


# Blocks of the spaces ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "key"),
    [
        (V1, "mb3d/49/32"),
        (V1, "embedding_from_tokens/7/32-48"),
        (V2, "ffn/7/64-1.5"),
        (V2, "attention/14/64"),
        (V2, "attention_downsample/7/64-128"),
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_multiply_adds_are_those_of_the_exported_file(
    tmp_path: Path, space: Space, key: str
) -> None:
    workload = space.block(key).workload
    model = call_builder(workload.builder, workload.parameters)
    assert isinstance(model, Model)
    randomize(model.module)
    onnx.export(model, tmp_path / "model.onnx", Format("onnx", "fp32", dict(onnx.OPTIONS)))
    found = size_of(workload.builder, workload.parameters)
    assert found.macs == onnx.structure(tmp_path / "model.onnx").macs
    assert found.parameters == parameters(model.module)


@pytest.mark.parametrize(("space", "name"), [(V1, "l1"), (V2, "s0")], ids=["l1", "s0"])
def test_the_rows_of_a_released_network_have_its_parameters_and_multiply_adds(
    space: Space, name: str
) -> None:
    rows = space.rows(space.parse(name))
    workloads = {key: space.block(key).workload for key in rows}
    found = {key: size_of(w.builder, w.parameters) for key, w in workloads.items()}
    network = space.network(name)
    assert network is not None
    whole = build(network)
    assert sum(found[key].parameters for key in rows) == parameters(whole.module)
    with torch.device("meta"):
        counted = count(build(network).module, *build(network).inputs)
    assert sum(found[key].macs for key in rows) == counted.macs


@pytest.mark.parametrize("key", ["mb4d/7/32", "mb3d/49/32", "flat/7/32", "head/64"])
def test_shapes_alone_give_what_numbers_give(key: str) -> None:
    workload = V1.block(key).workload
    model = build(workload)
    found = count(model.module, *model.inputs)
    size = size_of(workload.builder, workload.parameters)
    assert (size.macs, size.activation_bytes, size.peak_bytes) == (
        found.macs,
        found.written_bytes,
        found.peak_bytes,
    )


# Operators ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "shapes", "macs"),
    [
        (nn.Conv2d(6, 8, 3, padding=1, groups=2), [(1, 6, 5, 7)], 8 * 5 * 7 * 3 * 9),
        (nn.ConvTranspose2d(6, 8, 2, stride=2, groups=2), [(1, 6, 5, 7)], 6 * 5 * 7 * 4 * 4),
        (nn.Conv1d(4, 4, 3), [(2, 4, 9)], 2 * 4 * 7 * 4 * 3),
        (nn.Linear(6, 5), [(2, 3, 6)], 2 * 3 * 6 * 5),
        (nn.Linear(6, 5, bias=False), [(6,)], 6 * 5),
        (torch.matmul, [(2, 3, 4, 5), (5, 6)], 2 * 3 * 4 * 5 * 6),
        (torch.matmul, [(3, 4, 5), (3, 5, 6)], 3 * 4 * 5 * 6),
        (torch.dot, [(7,), (7,)], 7),
        (lambda a, b: torch.einsum("bij,bkj->bik", a, b), [(2, 3, 4), (2, 5, 4)], 2 * 3 * 5 * 4),
        (lambda a, b: torch.baddbmm(a[:, :, :1], a, b), [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        (nn.BatchNorm2d(4).eval(), [(1, 4, 5, 5)], 0),
        (torch.add, [(3, 4), (3, 4)], 0),
    ],
)
def test_multiply_adds_of_operators(
    function: Any, shapes: list[tuple[int, ...]], macs: int
) -> None:
    inputs = [torch.randn(*s) for s in shapes]
    assert count(function, *inputs).macs == macs
    with torch.inference_mode():
        assert count(function, *inputs).macs == macs


def attention() -> Model:
    class Attention(nn.Module):
        def forward(self, q: Any, k: Any, v: Any) -> Any:
            return nn.functional.scaled_dot_product_attention(q, k, v)

    shapes = ((1, 2, 7, 4), (1, 2, 9, 4), (1, 2, 9, 5))
    return Model(Attention(), tuple(torch.randn(*s) for s in shapes))


def test_attention_in_one_operator_is_two_products() -> None:
    assert size_of("tests.test_sizes:attention", {}).macs == 2 * 7 * 9 * (4 + 5)


def test_what_operators_write_is_counted_and_views_are_not() -> None:
    x = torch.randn(2, 3, 8)
    whole = x.numel() * FLOAT_BYTES
    assert count(
        lambda x: x.transpose(1, 2).reshape(2, 8, 3)[:, :4].flatten(), x
    ).written_bytes == (
        # Only the last one has to copy.
        whole // 2
    )
    assert count(lambda x: (x + 1).relu_().mul_(2), x).written_bytes == 3 * whole
    assert count(lambda x: x[:, :1].neg(), x).written_bytes == whole // 3


def test_what_is_made_of_weights_alone_is_not_counted() -> None:
    weight = torch.randn(8, 8)
    x = torch.randn(1, 8)
    found = count(lambda x: x @ (weight + 1).matmul(weight), x)
    assert (found.macs, found.written_bytes) == (64, 8 * FLOAT_BYTES)


def test_the_peak_is_what_is_alive_at_once_with_the_input() -> None:
    x = torch.randn(1, 4, 8, 8)
    whole = x.numel() * FLOAT_BYTES

    def chain(x: Any) -> Any:
        for _ in range(5):
            x = x.neg()
        return x

    assert count(chain, x).peak_bytes == 3 * whole
    assert count(lambda x: x.relu().add_(1), x).peak_bytes == 2 * whole
    assert count(lambda x: torch.cat([x.neg(), x.exp()]), x).peak_bytes == 5 * whole
    assert count(lambda x: x.view(-1), x).peak_bytes == whole


# A user's own blocks -----------------------------------------------------------------------------


def pair(width: int) -> Any:
    return nn.Conv2d(3, width, 1), torch.randn(1, 3, 4, 4)


def alone(width: int) -> Any:
    return nn.Conv2d(3, width, 1)


def needs_numbers(width: int) -> Any:
    class Chooses(nn.Module):
        def forward(self, x: Any) -> Any:
            return x @ x.new_ones(width, width) if float(x.sum()) > -1e30 else x

    return Model(Chooses(), (torch.randn(1, width),))


def broken(width: int) -> Any:
    raise KeyError(f"no such width: {width}")


def deadly(width: int) -> Any:
    os._exit(3)


def file(width: int) -> Any:
    return Graph(Path("model.onnx"))


def own_space() -> Space:
    def block(key: str) -> Block:
        name, _, width = key.partition("/")
        workload = Workload(f"tests.test_sizes:{name}", {"width": int(width)}, key)
        return Block(workload, ((3, 4, 4),), ((3, 4, 4),))

    parts = [Part(("width",), lambda width: [f"pair/{width}"])]
    return Space("own", {"width": ((4, 8),)}, parts, block)


def test_blocks_of_a_users_own_are_counted_and_bad_ones_are_failures() -> None:
    keys = ["pair/8", "broken/4", "alone/8", "needs_numbers/8", "file/4", "deadly/4"]
    found = sizes(own_space(), keys)
    assert list(found) == keys
    conv = 3 * 8 + 8
    assert found["pair/8"] == Size(conv, 3 * 8 * 16, 8 * 16 * 4, (3 + 8) * 16 * 4)
    assert found["alone/8"] == Size(
        conv, 3 * 8 * 224**2, 8 * 224**2 * 4, (3 + 8) * 224**2 * FLOAT_BYTES
    )
    numbers = found["needs_numbers/8"]
    assert isinstance(numbers, Size)
    assert numbers.macs == 64
    said = {k: (f.kind, f.message) for k, f in found.items() if isinstance(f, Failure)}
    assert set(said) == {"broken/4", "deadly/4", "file/4"}
    assert "no such width: 4" in said["broken/4"][1]
    assert said["deadly/4"][0] == "exit"
    assert said["file/4"][0] == "bad-model"


def test_a_builder_that_is_not_there_is_said() -> None:
    with pytest.raises(BadModelFile, match="no function 'absent'"):
        size_of("tests.test_sizes:absent", {})
