"""Mobile-Former, EdgeViT and UniNet as written here are the networks that were published."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.models import edgevit, mobile_former, uninet
from profiler.errors import UnknownName
from profiler.export_job import randomize
from profiler.workloads import resolve

FAMILIES = {"mobile_former": mobile_former, "edgevit": edgevit, "uninet": uninet}
# Parameters and operations as published, in millions, and our multiply-adds; the sources are in
# the docstrings of the families.
PUBLISHED = {
    "mobile_former_26m": (3.2, 26, 23.550208),
    "mobile_former_52m": (3.5, 52, 49.290496),
    "mobile_former_96m": (4.6, 96, 92.01704),
    "mobile_former_151m": (7.6, 151, 146.249168),
    "mobile_former_214m": (9.4, 214, 208.37424),
    "mobile_former_294m": (11.4, 294, 286.73216),
    "mobile_former_508m": (14.0, 508, 498.46768),
    "edgevit_xxs": (4.1, 557, 551.262816),
    "edgevit_xs": (6.7, 1136, 1127.8152),
    "edgevit_s": (13.1, 1900, 1911.021792),
    "uninet_b1": (11.451, 1118, 1094.639808),
}
SMALLEST = ("mobile_former_26m", "edgevit_xxs", "uninet_b1")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost seconds on a busy machine, and gain nothing here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def create(name: str, batch: int = 1) -> Any:
    (workload,) = resolve(name, batch)
    module, _, function = workload.builder.partition(":")
    return getattr(importlib.import_module(module), function)(**workload.parameters)


@functools.cache
def counted(name: str) -> tuple[int, float, float]:
    """Parameters, multiply-adds and operations with normalisation and pooling; no arithmetic.

    The operations as fvcore counts them, and with it the publications: 2 for an element of batch
    normalisation, 5 of layer normalisation, 1 of an adaptive pooling's input.
    """
    rest = 0

    def hook(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal rest
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            rest += 2 * inputs[0].numel()
        elif isinstance(module, nn.LayerNorm):
            rest += 5 * inputs[0].numel()
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            rest += inputs[0].numel()

    with torch.device("meta"), torch.no_grad():
        model = create(name)
        for module in model.module.modules():
            module.register_forward_hook(hook)
        with FlopCounterMode(display=False) as counter:
            model.module(*model.inputs)
    macs = counter.get_total_flops() / 2
    return sum(p.numel() for p in model.module.parameters()), macs, macs + rest


def test_every_network_has_its_published_figures_here() -> None:
    assert [n for family in FAMILIES.values() for n in family.names()] == list(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_the_published_ones(name: str) -> None:
    parameters, operations, macs = PUBLISHED[name]
    found = counted(name)
    assert found[0] == pytest.approx(parameters * 1e6, rel=0.02)
    assert found[1] == macs * 1e6
    assert found[2] == pytest.approx(operations * 1e6, rel=0.02)


@pytest.mark.parametrize(
    ("name", "operations"),
    [("edgevit_xxs", 557), ("edgevit_xs", 1136), ("uninet_b1", 1118)],
)
def test_operations_are_exact_where_the_published_ones_are(name: str, operations: int) -> None:
    assert abs(counted(name)[2] / 1e6 - operations) < 0.5


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_batch_gets_a_thousand_classes_for_each_image(name: str) -> None:
    with torch.device("meta"):
        model = create(name, 2)
        assert model.inputs[0].shape == (2, 3, 224, 224)
        assert model.module(*model.inputs).shape == (2, 1000)


@pytest.mark.parametrize("name", SMALLEST)
def test_images_of_a_batch_do_not_touch_each_other(name: str) -> None:
    model = create(name, 2)
    randomize(model.module)
    with torch.no_grad():
        both = model.module(*model.inputs)
        second = model.module(model.inputs[0][1:])
    assert both.isfinite().all()
    assert not torch.allclose(both[0], both[1])
    assert torch.allclose(both[1:], second, rtol=1e-3, atol=1e-4 * both.abs().max().item())


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_of_each_family_can_be_exported(name: str) -> None:
    model = create(name)
    randomize(model.module)
    program = torch.export.export(model.module, model.inputs)
    with torch.no_grad():
        assert torch.allclose(program.module()(*model.inputs), model.module(*model.inputs))
    values = torch.utils._pytree.tree_leaves([n.meta.get("val") for n in program.graph.nodes])
    assert all(isinstance(d, int) for v in values if hasattr(v, "shape") for d in v.shape)
    # A fused attention would be timed and counted as another operator.
    assert not [n for n in program.graph.nodes if "scaled_dot_product" in str(n.target)]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_variant_is_refused_with_those_that_exist(family: str) -> None:
    with pytest.raises(UnknownName, match=family):
        FAMILIES[family].create(f"{family}_huge")


def test_channels_are_shuffled_only_where_convolutions_are_grouped() -> None:
    def shuffles(name: str) -> int:
        modules = create(name).module.modules()
        return sum(type(m).__name__ == "Shuffle" for m in modules)

    assert shuffles("mobile_former_26m") == 1 + 2 * 8 + 1
    assert shuffles("mobile_former_52m") == 0


def test_a_sampled_token_is_the_first_of_its_window() -> None:
    block = next(m for m in create("edgevit_xxs").module.modules() if hasattr(m, "sample"))
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert block.sample(image).flatten().tolist() == [0.0]
    assert block.spread.stride == block.spread.kernel_size == (4, 4)
