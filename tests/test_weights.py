"""The weights that a network is measured with: its activations are those of a trained one."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

from profiler import workloads
from profiler.export_job import call_builder, randomize, settle
from profiler.types import Model


class Residual(nn.Module):
    """A branch that ends in a normalisation, as in MobileNetV2."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 1)
        )
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.norm(self.branch(x))
        return out


def made(module: nn.Module, *inputs: torch.Tensor) -> Model:
    model = Model(module.eval(), inputs)
    randomize(module)
    settle(model)
    return model


def test_normalisations_bring_what_they_read_to_one_scale() -> None:
    blocks = [Residual() for _ in range(12)]
    module = nn.Sequential(*blocks)
    seen: list[torch.Tensor] = []
    model = made(module, torch.zeros(1, 16, 24, 24))
    for one in blocks:
        one.norm.register_forward_hook(lambda m, i, out: seen.append(out / m.weight.abs().mean()))
    with torch.no_grad():
        out = model.module(torch.randn(1, 16, 24, 24))
    assert all(0.7 < float(x.std()) < 1.4 for x in seen)
    assert float(out.std()) < 8, "it grows as a sum does, not as a product"


def test_what_hardly_varies_is_not_blown_up() -> None:
    """A channel of one value, and one of zeros: their deviations are rounding errors."""

    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            level = torch.tensor([1.0, 0.0] * 8).reshape(1, 16, 1, 1)
            return 1e-4 * x + level

    module = nn.Sequential(Flat(), nn.BatchNorm2d(16))
    model = made(module, torch.zeros(1, 16, 24, 24))
    with torch.no_grad():
        out = model.module(torch.randn(1, 16, 24, 24)).flatten(2)[0]
    assert float(out.std(1).max()) < 3e-4
    assert 0.3 < float(out[::2].square().mean()) < 4


@pytest.mark.parametrize("name", ["levit_128s", "convmixer_1024_20_ks9_p14", "efficientformer_l1"])
def test_float32_is_enough_for_deep_networks(name: str) -> None:
    """Rounding errors do not grow from block to block; with statistics of single channels they
    were 1e-2 in LeViT."""
    (workload,) = workloads.resolve(name)
    model = call_builder(workload.builder, workload.parameters)
    assert isinstance(model, Model)
    made(model.module, *model.inputs)
    with torch.no_grad():
        single = model.module(*model.inputs)
        double = model.module.double()(*(x.double() for x in model.inputs))
    assert float((single - double).abs().max() / double.abs().max()) < 1e-5


def test_settling_leaves_no_hooks_and_the_mode_of_the_network() -> None:
    model = made(nn.Sequential(Residual()), torch.zeros(1, 16, 8, 8))
    assert not model.module.training
    assert all(not m._forward_pre_hooks for m in model.module.modules())
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    with torch.no_grad():
        model.module(torch.randn(1, 16, 8, 8))
    assert all(torch.equal(v, before[k]) for k, v in model.module.state_dict().items())


@pytest.mark.parametrize("name", ["gamma", "layer_scale_1"])
def test_layer_scales_are_small_and_not_zero(name: str) -> None:
    module = nn.Module()
    module.register_parameter(name, nn.Parameter(torch.zeros(40)))
    randomize(module)
    value = getattr(module, name).detach()
    assert float(value.min()) >= 0.02
    assert float(value.max()) <= 0.1


# Blocks one after the other: none has seen what the others make of its input.
DEEP = {
    "efficientformer": "64-64-128-256/3-3-12-6/3",
    "efficientformerv2": "32-64-96-176/2-4-9-7/0-6/3-3/3-3-3-4/3-3-4-3-3-4-4-4-4/3-4-3-3-3-4-4",
}


@pytest.mark.parametrize("name", DEEP)
def test_activations_of_composed_networks_stay_moderate(name: str) -> None:
    """EfficientFormerV2 without attention in stage 3 once made 4e5 of them."""
    space = importlib.import_module(f"benchmarks.spaces.{name}").SPACE
    flowing: tuple[torch.Tensor, ...] = ()
    for key in space.rows(space.parse(DEEP[name])):
        workload = space.block(key).workload
        built: Any = call_builder(workload.builder, workload.parameters)
        made(built.module, *built.inputs)
        with torch.no_grad():
            out = built.module(*(flowing or [torch.randn_like(x) for x in built.inputs]))
        flowing = out if isinstance(out, tuple) else (out,)
    assert float(flowing[0].std()) < 20
