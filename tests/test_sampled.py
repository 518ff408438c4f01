"""Which rows a build measures, how networks scale them, and what isolated parts sum to."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import devices, spaces
from profiler.errors import SpaceError, UnknownName
from profiler.statistics import median
from profiler.store import Store
from profiler.tables import baselines, build, calibrate, networks, refine
from profiler.tables import plan as planning
from profiler.tables.calibrate import Reference
from profiler.tables.estimate import Term, bends
from profiler.tables.interpolation import Interpolation, between

V1 = spaces.load("efficientformer")
V2 = spaces.load("efficientformerv2")
MOBILEVIT = spaces.load("mobilevit")

# Rows ---------------------------------------------------------------------------------------------


def latency(key: str) -> float:
    """A smooth latency, with a hump where stage 3's MB4D has 200 to 300 channels."""
    place = key.rpartition("/")[2].split("-")
    value = 1000.0 * math.prod(float(n) for n in place)
    hump = key.startswith("mb4d/14/") and 200 <= int(place[0]) <= 300
    return value * (1.5 if hump else 1.0)


def test_rows_left_out_are_none_of_the_first_and_occur_in_networks() -> None:
    first = refine.first(V1)
    judged = refine.left_out(V1, first)
    assert len(judged) == refine.LEFT_OUT
    assert not set(first) & set(judged)
    assert set(judged) <= set(refine.uses(V1))


def test_little_time_means_few_rows_that_still_span_the_space() -> None:
    counts = [len(refine.first(V1, budget)) for budget in (30.0, 60.0, 120.0, 600.0, None)]
    assert counts == sorted(counts)
    assert counts[1] <= 0.6 * counts[-1]
    few = refine.first(V1, 60.0)
    known = {k: latency(k) for k in planning.chains(V1, few, planning.SLOPE)[1]}
    between_them = Interpolation(known)
    for architecture in V1.draw(random.Random(1), 20):
        for key in V1.rows(architecture):
            assert key in known or between_them.at(key) is not None, key
    assert len(refine.left_out(V1, few)) <= len(few) // 8 + 4


def test_in_little_time_references_need_few_exports_and_are_not_in_the_closure(
    tmp_path: Path,
) -> None:
    def further(architecture: spaces.Architecture) -> int:
        return len(set(V1.rows(architecture)) - exported)

    target = devices.target("host/onnxruntime")
    with Store(tmp_path) as store:
        bench = networks.Bench(store, V1, target, networks.BRIEF, budget_s=60.0)
        found = build.plan(bench, refine.first(V1, 60.0), 8)
    exported = {k for c in found.chains for k in c.blocks}
    assert len(set(found.references)) == build.BRIEF_REFERENCES
    assert len(set(found.closure)) == 8
    assert not set(found.references) & set(found.closure)
    usual = median([further(a) for a in V1.draw(random.Random(5), 100)])
    assert max(further(a) for a in found.references) <= usual / 2


def test_the_next_rows_are_where_interpolation_misses() -> None:
    first = refine.first(V1)
    known = {k: latency(k) for k in first}
    more = refine.following(V1, known, refine.uses(V1))
    assert more
    assert not set(more) & set(first)
    assert all(planning.repeats(V1, k) for k in more)
    places = [k for k in more if k.startswith("mb4d/14/")]
    smooth = [k for k in more if k.startswith("mb4d/56/")]
    assert len(places) > len(smooth)


def test_sampling_more_rows_predicts_those_left_out_better() -> None:
    rows = refine.first(V1)
    judged = refine.left_out(V1, rows)
    weights = refine.uses(V1)
    errors = []
    for _ in range(3):
        known = {k: latency(k) for k in [*rows, *judged]}
        missed = refine.error(known, judged)
        assert missed is not None
        errors.append(missed)
        rows += refine.following(V1, known, weights)
    assert errors[-1] < errors[0]


@pytest.mark.parametrize("coarse", range(len(refine.COARSE)))
@pytest.mark.parametrize("space", [V1, V2, MOBILEVIT], ids=lambda s: s.name)
def test_the_first_rows_span_the_space_however_few_they_are(
    space: spaces.Space, coarse: int
) -> None:
    rows = planning.chosen(space, *refine.COARSE[coarse])
    known = Interpolation({k: latency(k) for k in planning.chains(space, rows)[1]})
    assert not [k for k in space.keys if known.at(k) is None]


@pytest.mark.parametrize("space", [V1, V2], ids=lambda s: s.name)
def test_thinned_rows_still_span_the_space(space: spaces.Space) -> None:
    rows = planning.chosen(space, 4)
    known = Interpolation({k: latency(k) for k in planning.chains(space, rows)[1]})
    assert len(rows) < len(space.keys) / 2
    assert not [k for k in space.keys if known.at(k) is None]


def test_a_narrower_space_has_fewer_values_and_says_what_it_does_not_know() -> None:
    narrow = V2.narrowed({"expansions3": [3, 4], "widths1": [32]})
    assert narrow.fields["expansions3_7"] == (3, 4)
    assert narrow.fields["widths1"] == (32,)
    for architecture in narrow.draw(random.Random(1), 20):
        assert V2.rows(architecture) == narrow.rows(architecture)
    with pytest.raises(UnknownName, match="widths9"):
        V2.narrowed({"widths9": [1]})
    with pytest.raises(SpaceError, match="no value is left in widths"):
        V2.narrowed({"widths1": [33]})


# Stairs -------------------------------------------------------------------------------------------


def test_stairs_are_found_where_rows_show_them_and_only_there() -> None:
    def stair(c: int) -> float:
        return 10.0 * -(-c // 16) * 16

    measured = [16, 24, 32, 40, 48, 64, 72, 80, 96, 104, 112, 128]
    stepped = {f"embedding/7/{c}": stair(c) for c in measured}
    smooth = {f"mb3d/49/{c}": 10.0 * c for c in measured}
    found = Interpolation({**stepped, **smooth})
    assert found.at("embedding/7/56") == pytest.approx(stair(56))
    assert found.at("mb3d/49/56") == pytest.approx(560, rel=0.01)
    assert found.at("embedding/7/136") is None


@given(
    st.dictionaries(st.integers(8, 400), st.floats(1, 1e6), min_size=2, max_size=12),
    st.integers(8, 400),
    st.sampled_from([1, 16, 32]),
)
def test_an_interpolated_row_lies_between_measured_ones(
    points: dict[int, float], width: int, step: int
) -> None:
    value = between((width,), {(w,): v for w, v in points.items()}, step)
    if value is not None:
        assert min(points) <= width <= max(points)
        assert min(points.values()) * 0.999 <= value <= max(points.values()) * 1.001


# Scales -------------------------------------------------------------------------------------------


@given(st.floats(0.8, 1.2))
def test_a_common_factor_is_found_by_both_estimators(factor: float) -> None:
    references = [
        Reference({"a": 3.0 * n, "b": 2.0, "c": 5.0 / n}, factor * (3.0 * n + 2.0 + 5.0 / n))
        for n in range(1, 7)
    ]
    assert calibrate.scale(references) == pytest.approx(factor)
    scales = calibrate.family_scales(references)
    assert scales.common == pytest.approx(factor)
    assert all(v == pytest.approx(1.0, abs=1e-6) for v in scales.families.values())


def test_a_familys_own_factor_is_found_from_many_networks() -> None:
    generator = random.Random(1)
    truth = {"a": 1.03, "b": 0.98, "c": 1.0}
    references = []
    for _ in range(40):
        parts = {f: generator.uniform(1e6, 1e7) for f in truth}
        references.append(Reference(parts, sum(truth[f] * v for f, v in parts.items())))
    scales = calibrate.family_scales(references)
    for name, value in truth.items():
        assert scales.common * scales.families[name] == pytest.approx(value, abs=0.004)
    variances = [scales.covariance[i][i] for i in range(3)]
    assert all(0 < v < calibrate.PRIOR_SHARE**2 for v in variances)


@given(st.floats(0.02, 0.5))
def test_networks_that_repeat_badly_move_a_family_less(noise: float) -> None:
    parts = [{"a": 1e6, "b": 3e6}, {"a": 3e6, "b": 1e6}, {"a": 2e6, "b": 2e6}]
    truth = {"a": 1.05, "b": 0.95}
    measured = [sum(truth[f] * v for f, v in p.items()) for p in parts]
    quiet, noisy = (
        calibrate.family_scales([Reference(p, m, n) for p, m in zip(parts, measured, strict=True)])
        for n in (0.0, noise)
    )
    assert abs(noisy.families["a"] - 1) < 0.7 * abs(quiet.families["a"] - 1)
    assert noisy.covariance[0][0] > quiet.covariance[0][0]


def test_without_references_nothing_is_scaled() -> None:
    assert calibrate.family_scales([]) == calibrate.Scales(1.0, {})


def test_a_block_whose_chains_are_not_linear_bends() -> None:
    times = {"straight": (100.0, 200.0, 400.0), "bent": (100.0, 260.0, 400.0)}
    terms, observed = [], {}
    for name, values in times.items():
        for count, value in zip((1, 2, 4), values, strict=True):
            chain = f"{count}*{name}"
            terms.append(Term(chain, f"front {name}", (name,) * count))
            observed[chain] = {p: value * (1 + 0.001 * n) for n, p in enumerate("pqrs")}
    assert bends(observed, terms) == {"bent"}


# Baselines ----------------------------------------------------------------------------------------


def test_a_split_graph_computes_the_same_operator_by_operator(tmp_path: Path) -> None:
    import onnx
    import torch

    from exporters import onnx as exporter
    from profiler import formats
    from profiler.types import Model

    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 1), torch.nn.ReLU()
    )
    whole = tmp_path / "whole.onnx"
    model = Model(layers.eval(), (torch.randn(1, 3, 8, 8),))
    exporter.export(model, whole, formats.parse("onnx"))
    files = exporter.split(whole, tmp_path)
    kinds = [f.stem.partition("-")[0] for f in files]
    assert kinds == ["Conv", "Relu", "Conv", "Relu"]
    assert files[1] == files[3]
    for file in files:
        single = onnx.load(str(file))
        onnx.checker.check_model(single)
        assert len(single.graph.input) == len(single.graph.output) == 1


def test_sums_of_isolated_parts_stand_beside_the_networks() -> None:
    latency_ns = {"net": 100.0, "alone a": 30.0, "alone b": 50.0, "op1": 60.0, "op2": 25.0}
    alone = baselines.Alone({}, {"a": ["op1"], "b": ["op2", "op2"]})
    blocks, operators = baselines.compare(alone, latency_ns, {"net": ("a", "b"), "gone": ("a",)})
    assert (blocks.name, blocks.networks, blocks.mape_percent) == ("isolated blocks", 1, 20.0)
    assert (operators.name, operators.bias_percent) == ("isolated operators", 10.0)
