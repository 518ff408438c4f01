"""Experiments: their files, the arithmetic of chains, what is shown, and one for real."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.operators import axes
from benchmarks.operators._units import on_map
from profiler import bench, devices, experiments, plugins, roofline
from profiler.bench import Result, Taken, Trial
from profiler.encoding import to_json
from profiler.errors import Skipped, UnknownName, UsageError
from profiler.experiments import FRONT, MANY, ONE, PARTS, UNITS, Case, case, cases, weights
from profiler.roofline import Roofline, place
from profiler.store import Store
from profiler.types import Artifact, Failure, Format, Model, Structure, Target
from reports import experiments as report
from tests.conftest import ROOT, Run

EXPERIMENTS = [n for n in plugins.names("benchmarks.operators") if n != "roofline"]
TIMES = st.floats(1e3, 1e7)


# The files -----------------------------------------------------------------------------------


def test_there_is_an_experiment_for_every_question() -> None:
    assert set(EXPERIMENTS) >= {
        "patch_embedding", "reshape", "normalization", "activation", "attention", "mixing",
        "ablation", "convolution", "projection", "resampling", "softmax", "joining",
    }  # fmt: skip


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_alternative_says_what_it_is_and_has_a_baseline(experiment: str) -> None:
    module = plugins.load("benchmarks.operators", experiment)
    assert (module.__doc__ or "").strip()
    found = experiments.alternatives(experiment)
    assert len(found) >= 2
    for name, alternative in found.items():
        assert (getattr(module, name).__doc__ or "").strip()
        assert alternative.baseline in found
        assert all(values for values in alternative.axes.values())
    every = cases(experiment)
    for each in every:
        assert experiments.partner(each, each.alternative.baseline, every) is not None


def model(of: Case, **how: object) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    module = plugins.load("benchmarks.operators", of.alternative.experiment)
    built = getattr(module, of.alternative.name)(**of.parameters, **how)
    return built.module, built.inputs


def shapes(of: Case, **how: object) -> tuple[list[int], list[int]]:
    module, inputs = model(of, **how)
    with torch.no_grad():
        output = module(*inputs)
    return list(inputs[0].shape), list(output.shape)


SMALL = [
    case("activation", "gelu", channels=16, resolution=7),
    case("normalization", "layer_norm", channels=16, resolution=7),
    case("joining", "concatenation", channels=16, resolution=7),
    case("softmax", "softmax", channels=16, resolution=7),
    case("attention", "map_as_tokens", channels=16, resolution=7, heads=2),
    case("mixing", "attention", channels=16, resolution=7, heads=2),
    case("patch_embedding", "convolution_stem", channels=8),
    case("resampling", "bilinear", channels=8, resolution=7),
]


@pytest.mark.parametrize("of", SMALL, ids=lambda c: c.label)
def test_a_chain_goes_from_the_units_input_to_its_output(of: Case) -> None:
    before, after = shapes(of)
    assert shapes(of, chain=0)[1] == before
    assert shapes(of, chain=1)[1] == after
    assert shapes(of, chain=3)[1] == after
    alone, _ = model(of, alone=True)
    assert alone(*model(of, alone=True)[1]) is not None


def test_every_unit_of_a_chain_has_weights_of_its_own() -> None:
    of = case("activation", "gelu", channels=16, resolution=7)
    count = [sum(p.numel() for p in model(of, chain=n)[0].parameters()) for n in (0, 1, 4)]
    assert count[2] - count[0] == 4 * (count[1] - count[0])
    assert count[1] > count[0] > 0


def test_the_operator_alone_has_the_inputs_that_it_has_inside() -> None:
    activation = case("activation", "gelu", channels=16, resolution=7)
    assert shapes(activation, alone=True) == ([1, 64, 7, 7], [1, 64, 7, 7])
    module, inputs = model(case("joining", "addition", channels=16, resolution=7), alone=True)
    assert [list(x.shape) for x in inputs] == [[1, 16, 7, 7]] * 2
    assert not list(module.parameters())


def test_what_does_not_exist_is_skipped_with_its_reason() -> None:
    odd = case("attention", "strided", channels=16, resolution=7)
    for how in ({}, {"chain": 1}, {"alone": True}):
        with pytest.raises(Skipped, match="odd side 7"):
            model(odd, **how)


def test_the_example_of_the_documents_is_an_alternative() -> None:
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "EXPERIMENTS.md").read_text(), re.DOTALL
    )
    known = {"axes": axes, "on_map": on_map, "Model": Model}
    exec(compile(code, "EXPERIMENTS.md", "exec"), known)
    built = known["two_depthwise"](channels=8, resolution=7, chain=2)  # type: ignore[operator]
    assert sum(p.numel() for p in built.module.parameters()) == 5 * 8 + 4 * 8 * 10


# Axes ----------------------------------------------------------------------------------------


def test_an_axis_can_be_changed_and_keeps_its_kind() -> None:
    found = cases("activation", {"channels": ["64", "128", "64"]})
    assert {c.parameters["channels"] for c in found} == {64, 128}
    assert len(found) == 2 * len(experiments.alternatives("activation"))


def test_unknown_axes_values_and_names_are_answered_with_what_exists() -> None:
    with pytest.raises(UsageError, match="no axis 'width'; its axes are channels, resolution"):
        cases("activation", {"width": ["3"]})
    with pytest.raises(UsageError, match="axis channels takes whole numbers"):
        cases("activation", {"channels": ["wide"]})
    with pytest.raises(UnknownName, match="activation"):
        cases("activaton")
    with pytest.raises(UnknownName, match="gelu"):
        case("activation", "gelux")


def test_alternatives_are_compared_with_the_baseline_above_them() -> None:
    found = experiments.alternatives("patch_embedding")
    assert found["convolution_stem"].baseline == "large_kernel"
    assert found["deep_stem"].baseline == found["patches"].baseline == "patches"


def test_a_partner_agrees_on_the_axes_that_both_have() -> None:
    every = cases("mixing", {"resolution": ["7", "14"]})
    attention = [c for c in every if c.alternative.name == "attention"]
    for one in attention:
        other = experiments.partner(one, "pooling", every)
        assert other is not None
        assert other.parameters["resolution"] == one.parameters["resolution"]


# What a unit costs ---------------------------------------------------------------------------


@given(front=TIMES, unit=TIMES, follower=TIMES)
def test_costs_come_out_of_chains_as_they_went_in(
    front: float, unit: float, follower: float
) -> None:
    keeping = {ONE: {"p": front + unit}, MANY: {"p": front + UNITS * unit}}
    changing = {
        FRONT: {"p": front},
        ONE: {"p": front + unit + follower},
        MANY: {"p": front + unit + UNITS * follower},
    }
    for keeps, rounds in ((True, keeping), (False, changing)):
        found = experiments.combined(weights(keeps), rounds)
        assert found["p"] == pytest.approx(unit, abs=1e-6 * (front + unit + follower))


@given(
    st.dictionaries(st.sampled_from("abcdef"), TIMES),
    st.dictionaries(st.sampled_from("abcdef"), TIMES),
)
def test_only_processes_that_timed_all_parts_count(
    one: dict[str, float], many: dict[str, float]
) -> None:
    found = experiments.combined(weights(True), {ONE: one, MANY: many})
    assert set(found) == set(one) & set(many)


def test_a_cost_below_its_noise_is_not_compared() -> None:
    good = {str(n): 5.0 for n in range(8)}
    bad = {**good, "3": -1.0}
    assert experiments.against(good, bad).verdict == "UNUSABLE"
    assert experiments.against(good, {k: 2 * v for k, v in good.items()}).verdict == "SLOWER"


# The roofline --------------------------------------------------------------------------------


@given(macs=st.floats(1, 1e12), moved=st.floats(1, 1e9), peak=st.floats(1e6, 1e14), band=TIMES)
def test_nothing_is_above_the_roof_that_takes_as_long_as_the_roof_says(
    macs: float, moved: float, peak: float, band: float
) -> None:
    roof = Roofline(peak, band, "", "")
    fastest_ns = max(macs / peak, moved / band) * 1e9
    found = place(roof, macs, moved, fastest_ns)
    assert found is not None
    assert found.share == pytest.approx(1)
    slower = place(roof, macs, moved, 2 * fastest_ns)
    assert slower is not None
    assert slower.share == pytest.approx(0.5)
    if not math.isclose(macs / moved, roof.ridge):
        assert found.bound == ("compute" if macs / moved > roof.ridge else "memory")
    assert place(roof, macs, moved, 0) is None


def test_a_roofline_is_the_best_product_and_the_copy() -> None:
    wanted = roofline.workloads(Target("host", "onnxruntime", "cpu", "fp32"))
    sizes = [w.parameters["size"] for w in wanted if "size" in w.parameters]
    latencies = [
        (w, w.parameters["size"] ** 3 / 10 if "size" in w.parameters else 1e7) for w in wanted
    ]
    found = roofline.roofline(latencies, "fp32")
    assert found is not None
    assert found.macs_per_s == pytest.approx(10e9)
    assert found.bytes_per_s == pytest.approx(2 * 64 * 2**20 / 0.01)
    assert len(sizes) > 1
    assert roofline.roofline([p for p in latencies if "size" in p[0].parameters], "fp32") is None


# What is shown -------------------------------------------------------------------------------


def artifact(operators: dict[str, int], macs: int, weights_held: int, output: str) -> Artifact:
    held = Structure(
        operators, {"fp32": weights_held}, macs, ("x: fp32[1,4,2,2]",), (f"y: fp32[{output}]",)
    )
    return Artifact("", Format("onnx", "fp32"), "d", 1, weights_held, held, {})


def fabricated() -> tuple[list[Case], Taken]:
    """Two activations and what stands without them, at 10, 8 and 5 us a unit, and one skipped."""
    names = {"gelu": 10e3, "relu": 8e3, "without": 5e3}
    wanted = [case("activation", n, channels=1, resolution=2) for n in names]
    built: dict[str, Artifact | Failure] = {}
    rounds = {}
    for each, unit_ns in zip(wanted, names.values(), strict=True):
        extra = {"gelu": {"Erf": 1, "Mul": 2}, "relu": {"Relu": 1}}.get(each.alternative.name, {})
        for part, count in ((FRONT, 0), (ONE, 1), (MANY, UNITS)):
            operators = {"Conv": 1 + 2 * count, **{n: c * count for n, c in extra.items()}}
            key = each.workload(part).key
            built[key] = artifact(operators, 100 + 50 * count, 10 + 5 * count, "1,1,2,2")
            rounds[key] = {str(p): (3e3 + count * unit_ns) * (1 + p / 1000) for p in range(12)}
    skipped = case("activation", "silu", channels=1, resolution=2)
    for part in PARTS:
        workload = skipped.workload(part)
        built[workload.key] = Failure(workload, "onnx", "export", "skipped", "too odd")
    return [*wanted, skipped], Taken(built, rounds)


def test_lines_hold_costs_structure_and_verdicts() -> None:
    wanted, taken = fabricated()
    gelu, relu, without, skipped = bench.lines(wanted, taken, Roofline(1e9, 1e9, "", ""))
    assert gelu.unit is not None
    assert gelu.operator is not None
    assert gelu.unit.ns == pytest.approx(10e3, rel=0.01)
    assert gelu.operator.ns == pytest.approx(5e3, rel=0.01)
    assert gelu.operators == {"Erf": 1, "Mul": 2}
    assert without.operators == {"Conv": 2}
    assert without.operator is None
    assert without.comparison is None
    assert (gelu.macs, gelu.bytes_moved) == (50, 4 * (4 + 4 + 5))
    assert relu.comparison is not None
    assert relu.comparison.verdict == "FASTER"
    assert relu.comparison.ratio == pytest.approx(0.8)
    assert gelu.roof is not None
    assert gelu.roof.bound == "memory"
    assert (skipped.skipped, skipped.unit) == ("too odd", None)


def test_the_text_shows_all_of_it() -> None:
    wanted, taken = fabricated()
    roof = Roofline(2e9, 1e9, "matrix product", "copy")
    result = Result("host/onnxruntime:cpu", roof, bench.lines(wanted, taken, roof))
    assert report.results([result]) == TEXT
    json.dumps(to_json(result), allow_nan=False)


TEXT = """\
activation on host/onnxruntime:cpu; channels 1, resolution 2
alternative  in context            95 %  operator            95 %  ratio         95 %  verdict  notes
gelu           10.05 us  10.02-10.09 us  5.027 us   5.01-5.045 us
relu           8.044 us  8.016-8.072 us  3.016 us  3.006-3.027 us  0.800  0.800-0.800  FASTER
without        5.027 us   5.01-5.045 us
silu                                                                                            skipped: too odd
roofline: 2 GMAC/s (matrix product), 1 GB/s (copy), ridge at 2 MACs/byte
alternative  MACs  bytes  MACs/byte  of the roof  which is
gelu           50    52B      0.962          1 %  memory
relu           50    52B      0.962          1 %  memory
without        50    52B      0.962          1 %  memory

what each exporter made of the operator, or of its unit where none stands without it
alternative  host/onnxruntime
gelu         3: 1 Erf, 2 Mul
relu         1: 1 Relu
without      2: 2 Conv
silu         skipped\
"""  # noqa: E501 -- a table is as wide as its cells


def test_an_experiment_runs_from_the_command_line(opclock: Run) -> None:
    axes = ("--axis", "channels=8", "--axis", "resolution=7")
    done = opclock("bench", "joining", *axes, "--count", "1", "--no-roofline", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["roofline"] is None
    lines = {line["name"]: line for line in result["lines"]}
    assert set(lines) == {"addition", "concatenation", "without"}
    for line in lines.values():
        assert line["unit"]["rounds"] >= 1
        assert line["parameters"] == {"channels": 8, "resolution": 7}
    assert lines["addition"]["alone"]["ns"] > 0
    assert lines["without"]["alone"] is None
    assert lines["addition"]["operators"] == {"Add": 1}
    assert lines["concatenation"]["operators"]["Concat"] == 1
    assert lines["concatenation"]["macs"] == lines["without"]["macs"] == 8 * 8 * 49
    assert lines["concatenation"]["comparison"]["verdict"] == "UNUSABLE"


def test_a_skipped_alternative_and_the_roofline_stay_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "PRODUCTS", (32, 64))
    monkeypatch.setattr(roofline, "COPY_MEBIBYTES", 1)
    monkeypatch.setattr(bench, "ROOF_ROUNDS", 1)
    with Store(tmp_path) as store:
        trial = Trial(store, devices.target("host/onnxruntime"), rounds=1)
        odd = case("attention", "strided", channels=16, resolution=7)
        result = bench.run(trial, [odd], alone=False)
    (line,) = result.lines
    assert "odd side 7" in line.skipped
    assert not trial.failures
    assert result.roofline is not None
    assert result.roofline.product.startswith("matrix product")
    assert result.roofline.macs_per_s > 0 < result.roofline.bytes_per_s


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench", "activaton"], ["unknown operator benchmark", "activation"]),
        (["bench", "activation", "--axis", "width=3"], ["no axis 'width'", "channels"]),
        (["bench", "activation", "--axis", "channels"], ["channels=64,128,256"]),
        (["bench", "activation", "--on", "host/nothing"], ["unknown runtime"]),
    ],
)
def test_wrong_usage_is_answered_with_what_exists(
    opclock: Run, arguments: list[str], words: list[str]
) -> None:
    done = opclock(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr
