"""The networks of the papers are the networks that opclock runs: counted, not believed."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.models import papers, reparameterized
from benchmarks.models.papers import NETWORKS, Figure, Published
from benchmarks.models.timm import names
from benchmarks.timm_library import timm
from profiler.errors import UnknownName
from profiler.export_job import randomize
from profiler.workloads import resolve

TOLERANCE = 0.02
# What is counted, divided by what is printed, where that is further from one; the notes say why.
KNOWN = {
    ("fastvit_t8_deployed", "parameters"): 1.110,
    ("fastvit_t12_deployed", "parameters"): 1.104,
    ("fastvit_s12_deployed", "parameters"): 1.071,
    ("fastvit_sa12_deployed", "parameters"): 1.059,
    ("fastvit_sa24_deployed", "parameters"): 1.044,
    ("fastvit_sa36_deployed", "parameters"): 1.035,
    ("fastvit_ma36_deployed", "parameters"): 1.030,
    ("edgevit_s", "parameters"): 1.181,
    ("efficientnet_b5", "macs"): 1.037,
    ("mobile_former_26m", "macs"): 0.906,
    ("mobile_former_52m", "macs"): 0.948,
    ("mobile_former_96m", "macs"): 0.959,
    ("mobile_former_151m", "macs"): 0.969,
    ("mobile_former_214m", "macs"): 0.974,
    ("mobile_former_294m", "macs"): 0.975,
}
BY_NAME = {network.name: network for network in NETWORKS}


@functools.cache
def built(name: str) -> Any:
    """A network and its inputs without memory or arithmetic, as the command line would find it."""
    import torch

    (workload,) = resolve(name)
    module, _, function = workload.builder.partition(":")
    with torch.device("meta"):
        return getattr(importlib.import_module(module), function)(**workload.parameters)


def parameters(network: Published) -> int:
    return sum(p.numel() for p in built(network.name).module.parameters())


def macs(network: Published) -> float:
    """Multiply-adds at the resolution that the figure is for, attention included."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    # The counter's hooks ask an input that is a parameter for its gradient.
    module = built(network.name).module.requires_grad_(False)
    side = network.resolution
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(1, 3, side, side, device="meta"))
    return float(counter.get_total_flops()) / 2


def deviates(counted: float, figure: Figure, ratio: float = 1.0) -> bool:
    """Whether the difference is more than the tolerance and the rounding of what is printed."""
    allowed = TOLERANCE * figure.value + figure.half_unit
    return abs(counted - ratio * figure.value) > allowed


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_a_network_has_the_parameters_and_multiply_adds_that_are_printed(
    network: Published,
) -> None:
    for kind, count in (("parameters", parameters), ("macs", macs)):
        figure = getattr(network, kind)
        if figure is None:
            assert network.note, f"{network.name}: say why it has no {kind}"
            continue
        counted, known = count(network), KNOWN.get((network.name, kind))
        said = f"{network.network}: {counted:,.0f} {kind} counted, {figure.printed} printed"
        if known is None:
            assert not deviates(counted, figure), said
        else:
            assert not deviates(counted, figure, known), said
            assert deviates(counted, figure), f"{said}: no longer a difference"
            assert network.note, f"{said}: say why"


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_a_network_runs_at_the_resolution_of_its_figures_or_says_so(network: Published) -> None:
    ((_, _, height, width),) = (x.shape for x in built(network.name).inputs)
    assert height == width
    if height != network.resolution:
        assert f"timm runs this one at {height} x {width}" in network.note


def test_every_network_is_listed_once_with_a_source() -> None:
    assert len(BY_NAME) == len(NETWORKS)
    assert all(n.source and n.network for n in NETWORKS)
    assert {name for name, _ in KNOWN} <= set(BY_NAME)
    assert set(reparameterized.names()) <= set(BY_NAME)
    assert not hasattr(papers, "names"), "the catalogue is no family of models"


def test_a_figure_knows_how_far_its_digits_reach() -> None:
    assert (Figure("12.3 M").value, Figure("12.3 M").half_unit) == pytest.approx((12.3e6, 0.05e6))
    assert (Figure("305 M").value, Figure("305 M").half_unit) == pytest.approx((305e6, 0.5e6))
    assert (Figure("0.40 G").value, Figure("0.40 G").half_unit) == pytest.approx((0.4e9, 5e6))


def test_timms_names_are_those_that_it_registers() -> None:
    assert names() == sorted(timm().list_models())


def test_a_name_is_resolved_without_importing_torch() -> None:
    script = "import sys; from profiler.workloads import resolve; resolve('levit_256'); "
    done = subprocess.run(
        [sys.executable, "-P", "-c", script + "print('torch' in sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_timm_has_every_network_that_is_deployed() -> None:
    trained = {n.removesuffix(reparameterized.SUFFIX) for n in reparameterized.names()}
    assert trained <= set(timm().list_models())
    with pytest.raises(UnknownName, match="did you mean mobileone_s0_deployed"):
        reparameterized.create("mobileone_s0_deploy")


@pytest.mark.parametrize("family", reparameterized.FAMILIES)
def test_folding_the_branches_changes_no_output(family: str) -> None:
    import torch
    from timm.utils.model import reparameterize_model

    size = reparameterized.FAMILIES[family][0]
    trained = timm().create_model(f"{family}_{size}").eval()
    randomize(trained)
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = trained(images)
        after = reparameterize_model(trained)(images)
    assert (before - after).abs().max() < 1e-3 * before.abs().max()


@pytest.mark.parametrize("name", reparameterized.names())
def test_a_deployed_network_has_one_branch_where_the_trained_one_has_several(name: str) -> None:
    import torch

    with torch.device("meta"):
        trained = timm().create_model(name.removesuffix(reparameterized.SUFFIX))
    # Batch normalisations are what the branches end in; attention keeps its own.
    left, before = (
        sum(isinstance(m, torch.nn.BatchNorm2d) for m in module.modules())
        for module in (built(name).module, trained)
    )
    assert left < 0.6 * before


def test_random_weights_leave_a_deep_network_without_norms_well_conditioned() -> None:
    """Else rounding alone decides its output, and no compiler's can be compared with torch's."""
    import torch

    (workload,) = resolve("fastvit_sa36_deployed")
    module, _, function = workload.builder.partition(":")
    model = getattr(importlib.import_module(module), function)(**workload.parameters)
    randomize(model.module)
    with torch.no_grad():
        single = model.module(*model.inputs)
        double = model.module.double()(*(x.double() for x in model.inputs))
    assert float((single - double).abs().max() / double.abs().max()) < 1e-5
