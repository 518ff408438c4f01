"""Breakdowns: they close, rows know their modules, and every view of them is valid."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters import exported_program, onnx
from profiler import breakdown, devices, dissection, formats, plugins, profiling
from profiler.breakdown import align, by_operator, closure, coverage, fold
from profiler.categories import CATEGORIES, block_of, category_of, parents_of, stage_of
from profiler.encoding import from_json, to_json
from profiler.errors import BadModelFile, UsageError
from profiler.profiling import Profile
from profiler.sampling import Turns
from profiler.statistics import difference, midmean
from profiler.types import (
    Breakdown,
    Device,
    Executed,
    Model,
    OperatorTimes,
    Source,
    Target,
    Workload,
)
from reports import breakdown as report
from reports import breakdown_plots as plots
from reports.breakdown import View
from tests import breakdown_nets
from tests.breakdown_nets import NASTY
from tests.conftest import ROOT, Run

HOST = Device("host", "a machine", "one")
PLACE = Target("host", "onnxruntime")
NET = Workload("a:b", {}, NASTY)
TIMES = st.floats(0, 1e7, allow_nan=False)


def source(name: str, operator: str, module: str = "m", *classes: str) -> Source:
    return Source(name, operator, (), (), (module,) if module else (), classes)


def profile_of(times_ns: list[float], plain_ns: int = 1_000, between_ns: float = 0) -> Profile:
    executed = tuple(Executed(f"op{i}", "Conv", t, (f"s{i}",)) for i, t in enumerate(times_ns))
    sources = tuple(source(f"s{i}", "Conv", f"blocks.{i}.conv") for i in range(len(times_ns)))
    times = OperatorTimes(executed, plain_ns, between_ns)
    return Profile(times, sources, plain_ns, plain_ns, 10)


def taken_apart(*profiles: Profile, latency_ns: int = 1_000, device: Device = HOST) -> Breakdown:
    return by_operator(NET, PLACE, profiles, latency_ns, device, "1.0")


# Closure ----------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(TIMES, min_size=3, max_size=3), min_size=1, max_size=6),
    st.integers(1, 10**8),
    st.integers(1, 10**8),
    st.floats(-1e6, 1e7),
)
def test_rows_overhead_and_rest_are_the_latency(
    processes: list[list[float]], latency_ns: int, plain_ns: int, between_ns: float
) -> None:
    parts = taken_apart(
        *(profile_of(t, plain_ns, between_ns) for t in processes), latency_ns=latency_ns
    )
    rows_ns = sum(r.time_ns for r in parts.rows)
    assert rows_ns + parts.overhead_ns + parts.unattributed_ns == parts.total_ns == latency_ns
    assert parts.scaling is not None
    assert 0 <= parts.scaling.factor <= 1
    assert parts.overhead_ns >= 0
    # What was rounded may make a nanosecond a row.
    assert parts.unattributed_ns >= -len(parts.rows)


def test_times_are_brought_to_the_speed_of_the_rounds() -> None:
    """Two processes, one of them half as fast: its times count half."""
    parts = taken_apart(profile_of([400, 500]), profile_of([800, 1000], plain_ns=2_000))
    assert [r.samples_ns for r in parts.rows] == [(400, 400), (500, 500)]
    assert (parts.unattributed_ns, parts.overhead_ns) == (100, 0)
    assert closure(parts) == pytest.approx(-0.1)
    assert parts.flags == ("does not close: -10.0 %",)


def test_overhead_is_at_most_what_lay_between_the_operators() -> None:
    parts = taken_apart(profile_of([900], between_ns=60))
    assert (parts.overhead_ns, parts.unattributed_ns) == (60, 40)
    parts = taken_apart(profile_of([900], between_ns=500))
    assert (parts.overhead_ns, parts.unattributed_ns) == (100, 0)
    assert parts.flags == ()


def test_operators_that_hold_more_than_the_latency_are_scaled_and_it_is_said() -> None:
    parts = taken_apart(profile_of([600, 500]))
    assert parts.scaling is not None
    assert parts.scaling.summed_ns == 1_100
    assert parts.scaling.factor == pytest.approx(1 / 1.1)
    assert sum(r.time_ns for r in parts.rows) == 1_000
    assert closure(parts) == pytest.approx(0.1)
    assert "does not close: +10.0 %" in parts.flags
    assert "unscaled, scaled by 0.9091" in report.text(parts, View())


def test_a_breakdown_survives_json(tmp_path: Path) -> None:
    parts = taken_apart(profile_of([600, 300]))
    file = tmp_path / "kept.json"
    file.write_text(json.dumps({"breakdowns": [to_json(parts)]}))
    assert dissection.read(file) == [parts]
    file.write_text("{}")
    with pytest.raises(BadModelFile, match="does not hold breakdowns"):
        dissection.read(file)


# Places -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "module", "classes", "category"),
    [
        (
            "matrix product",
            "blocks.1.attn.qkv",
            ("x.Net", "x.Attention", "torch.nn.Linear"),
            "attention",
        ),
        ("softmax", "blocks.1.token_mixer", ("x.Net", "x.Attention"), "attention"),
        ("matrix product", "blocks.1.mlp.fc1", (), "MLP"),
        ("convolution", "stages.0.mlp.fc1", ("x.ConvMlp", "torch.nn.Conv2d"), "MLP"),
        ("activation", "blocks.1.mlp.act", ("x.Mlp", "torch.nn.GELU"), "activation"),
        ("element-wise", "blocks.1.norm1", ("x.Block", "torch.nn.LayerNorm"), "normalisation"),
        ("element-wise", "blocks.1.act", ("x.Block", "torch.nn.SiLU"), "activation"),
        ("convolution", "patch_embed.proj", ("x.PatchEmbed",), "patch embedding"),
        ("convolution", "conv_stem", ("x.Net", "torch.nn.Conv2d"), "patch embedding"),
        ("convolution", "stages.1.downsample.conv", ("x.Downsample",), "patch embedding"),
        ("convolution", "layer1.0.downsample.0", ("x.Net", "torch.nn.Sequential"), "convolution"),
        ("convolution", "downsample.attn.q", ("x.AttentionDownsample",), "attention"),
        ("reshape and layout", "blocks.1.attn", ("x.Attention",), "reshape and layout"),
        ("conversion", "", (), "reshape and layout"),
        ("pooling", "blocks.1.token_mixer.pool", ("x.Pooling",), "pooling"),
        ("element-wise", "blocks.1", ("x.Block",), "element-wise"),
        ("matrix product", "head", ("x.Net", "torch.nn.Linear"), "other"),
        ("other", "", (), "other"),
    ],
)
def test_categories_follow_the_work_and_the_module(
    kind: str, module: str, classes: tuple[str, ...], category: str
) -> None:
    assert category in CATEGORIES
    assert category_of(kind, module, classes) == category


def test_blocks_and_stages_are_read_from_paths() -> None:
    modules = [
        "stem.conv1", "stages.0.blocks.1.mlp.fc1", "stages.1.downsample.conv", "blocks.3.attn",
        "layer1.0.conv1", "layer1.0.downsample.0", "features.0", "head", "(network)",
    ]  # fmt: skip
    parents = parents_of(modules)
    blocks = [block_of(m, parents) for m in modules]
    assert blocks == [
        "stem", "stages.0.blocks.1", "stages.1", "blocks.3",
        "layer1.0", "layer1.0", "features", "head", "(network)",
    ]  # fmt: skip
    stages = [stage_of(b, parents) for b in blocks]
    assert stages[:2] == ["stem", "stages.0"]
    assert stages[3:] == ["blocks", "layer1", "layer1", "features", "head", "(network)"]


def test_what_the_compiler_inserted_stands_beside_and_counts_apart() -> None:
    sources = (source("a", "Conv", "stem.conv"), source("b", "Add", "blocks.0"))
    executed = (
        Executed("c", "Conv", 60, ("a",)),
        Executed("r", "ReorderOutput", 30, (), ("a", "b")),
        Executed("z", "Unheard", 10),
    )
    profile = Profile(OperatorTimes(executed, 100, 0), sources, 100, 100, 1)
    parts = taken_apart(profile, latency_ns=100)
    inserted = parts.rows[1]
    assert (inserted.category, inserted.joined) == ("reshape and layout", "neighbour")
    assert inserted.module == "blocks.0"
    assert inserted.modules == ("stem.conv", "blocks.0")
    assert coverage(parts) == {"source": 0.6, "neighbour": 0.3, "": 0.1}
    assert "~ blocks.0" in report.text(parts, View())


# Folding and alignment --------------------------------------------------------------------------


@given(st.lists(TIMES, min_size=1, max_size=12), st.integers(1, 4))
def test_folding_keeps_the_sum(times_ns: list[float], depth: int) -> None:
    parts = taken_apart(profile_of(times_ns, plain_ns=10_000), latency_ns=10_000)
    whole = sum(r.time_ns for r in parts.rows)
    for by in breakdown.GROUPINGS:
        folded = fold(parts, by, depth)
        assert sum(r.time_ns for r in folded) == whole
        assert sum(r.count for r in folded) == len(parts.rows)


def test_breakdowns_align_by_module_whatever_the_compiler_fused() -> None:
    sources = (
        source("a", "Conv", "blocks.0.conv"),
        source("b", "Relu", "blocks.0.act"),
        source("c", "Conv", "blocks.1.conv"),
    )

    def made(*executed: Executed) -> Breakdown:
        found = [
            Profile(
                OperatorTimes(
                    tuple(dataclasses.replace(e, time_ns=e.time_ns + n) for e in executed), 1000, 0
                ),
                sources,
                1000,
                1000,
                1,
            )
            for n in range(4)
        ]
        return taken_apart(*found)

    fused = made(Executed("x", "Conv", 300, ("a", "b")), Executed("y", "Conv", 100, ("c",)))
    plain = made(
        Executed("x", "Conv", 250, ("a",)),
        Executed("r", "Relu", 90, ("b",)),
        Executed("y", "Conv", 100, ("c",)),
    )
    by_block = {d.name: d for d in align(fused, plain, "block")}
    assert [by_block[n].difference_ns for n in ("blocks.0", "blocks.1")] == [42, 0]
    assert by_block["blocks.0"].low_ns > 0
    assert by_block["blocks.1"].low_ns <= 0 <= by_block["blocks.1"].high_ns
    act = {d.name: d for d in align(fused, plain, "module")}["blocks.0.act"]
    assert (act.left_ns, act.right_ns) == (0, 92)
    assert [d.name for d in align(fused, plain, "module", depth=1)] == ["blocks"]


def test_two_machines_are_compared_only_when_forced() -> None:
    here = taken_apart(profile_of([500]))
    there = taken_apart(profile_of([700]), device=Device("host", "another", "two"))
    with pytest.raises(UsageError, match="two machines"):
        align(here, there, "module")
    (only,) = align(here, there, "module", force=True)
    assert only.difference_ns == 200
    told = report.differences_text(here, there, [only], View("module"))
    assert "TWO MACHINES" in told
    assert "too few processes" in told


@given(st.lists(TIMES, min_size=1, max_size=7), st.lists(TIMES, min_size=1, max_size=7))
def test_a_difference_lies_in_its_interval(left: list[float], right: list[float]) -> None:
    middle, low, high = difference(left, right)
    assert low <= middle <= high
    turned = difference(right, left)
    assert turned[0] == pytest.approx(-middle)
    if len(left) < 4 and len(right) < 4:
        assert (low, high) == (-math.inf, math.inf)


def test_four_and_four_values_make_an_interval() -> None:
    assert difference([1, 2, 3, 4], [11, 12, 13, 14]) == (10, 7, 13)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_the_midmean_lies_among_the_middle_values(values: list[float]) -> None:
    ordered = sorted(values)
    cut = len(values) // 4
    assert ordered[cut] - 1e-6 <= midmean(values) <= ordered[-cut - 1] + 1e-6


# Views ------------------------------------------------------------------------------------------


def nasty() -> Breakdown:
    executed = (Executed(NASTY, NASTY, 600, ("s",)), Executed("b\nc", "Relu", 300, ("t",)))
    sources = (source("s", NASTY, NASTY), source("t", "Relu", f"{NASTY}.0"))
    profile = Profile(OperatorTimes(executed, 1000, 50), sources, 1000, 1000, 1)
    return taken_apart(*[profile] * 6)


def test_names_of_any_kind_keep_csv_and_trace_valid() -> None:
    parts = nasty()
    rows = list(csv.DictReader(io.StringIO(report.csv_text([parts]))))
    assert [r["name"] for r in rows] == [NASTY, "b\nc", "(overhead)", "(unattributed)"]
    assert {r["network"] for r in rows} == {NASTY}
    assert sum(int(r["time_ns"]) for r in rows) == parts.total_ns
    assert rows[0]["low_ns"] == rows[0]["high_ns"] == "600"
    events = json.loads(report.trace_text([parts]))["traceEvents"]
    spans = [e for e in events if e["ph"] == "X" and e["tid"] == 2]
    assert [e["name"] for e in spans] == [NASTY, "b\nc", "overhead and unattributed"]
    assert sum(e["dur"] for e in spans) == pytest.approx(parts.total_ns / 1e3)
    assert "\n".join(report.text(parts, View()).splitlines()[1:2]).count("operator") == 1


def test_spans_of_a_trace_follow_each_other_and_nest() -> None:
    parts = taken_apart(profile_of([100, 200, 300]))
    events = [e for e in json.loads(report.trace_text([parts]))["traceEvents"] if e["ph"] == "X"]
    operators = [e for e in events if e["tid"] == 2]
    for one, other in itertools.pairwise(operators):
        assert one["ts"] + one["dur"] == pytest.approx(other["ts"])
    blocks = [e for e in events if e["tid"] == 1]
    assert [(b["name"], b["dur"]) for b in blocks] == [
        (f"blocks.{i}", pytest.approx(d)) for i, d in enumerate((0.1, 0.2, 0.3))
    ]


@pytest.mark.parametrize("sort", ["time", "network", "category", "module"])
@pytest.mark.parametrize("by", breakdown.GROUPINGS)
def test_every_table_adds_up_to_the_latency(by: str, sort: str) -> None:
    parts = taken_apart(profile_of([100, 300, 200], between_ns=100))
    shown = report.text(parts, View(by, None, sort, top=2))
    assert "(overhead)" in shown
    assert "rows 600 + unattributed 300 + overhead 100 = 1,000 ns" in shown
    if by == "operator":
        assert "(1 more)" in shown


def test_tables_are_sorted_as_asked() -> None:
    rows = taken_apart(profile_of([1.0] * 11)).rows
    longest = dataclasses.replace(rows[2], time_ns=9)
    changed = [*rows[:2], longest, *rows[3:]]
    assert report.ordered(changed, View(sort="time"))[0] is longest
    by_module = report.ordered(changed[::-1], View(sort="module"))
    assert [r.module for r in by_module] == [f"blocks.{i}.conv" for i in range(11)]


@pytest.mark.parametrize("suffix", plots.SUFFIXES)
def test_pictures_are_drawn_of_any_names(suffix: str, tmp_path: Path) -> None:
    found = [nasty(), taken_apart(profile_of([100, 300, 200], between_ns=100))]
    for draw in (plots.draw_bars, plots.draw_rings):
        out = tmp_path / f"{draw.__name__}{suffix}"
        draw(found, out)
        first = out.read_bytes()
        assert len(first) > 1_000
        draw(found, out)
        assert suffix == ".png" or out.read_bytes() == first
    with pytest.raises(UsageError, match="pictures end in"):
        plots.draw_bars(found, tmp_path / "bars.gif")


def test_rings_hold_all_of_the_latency() -> None:
    root = plots.tree_of(taken_apart(profile_of([100, 300, 200], between_ns=100)))

    def leaves(ring: plots.Ring) -> int:
        return ring.time_ns if not ring.parts else sum(map(leaves, ring.parts.values()))

    assert leaves(root) == root.time_ns == 1_000


# Networks ---------------------------------------------------------------------------------------


def profiled(built: Any, folder: Path, runtime: str) -> tuple[Breakdown, list[Source]]:
    """A small network exported and profiled in this very process, few times."""
    target = devices.target(f"host/{runtime}")
    exporter = {"onnxruntime": onnx, "torch_eager": exported_program}[runtime]
    out = folder / f"net{exporter.SUFFIX}"
    module, example = built
    inputs = example if isinstance(example, tuple) else (example,)
    exporter.export(Model(module, inputs), out, formats.executed_by(target))
    engine = plugins.load("profiler.runtimes", runtime)
    session = engine.load(str(out), target)
    feeds = profiling.random_feeds(session.inputs)
    sources = exporter.sources(out)
    times = engine.profile(str(out), target, feeds, sources, Turns(lambda: None, 4), 1)
    profile = Profile(times, tuple(sources), times.latency_ns, times.latency_ns, 4)
    return by_operator(NET, target, [profile], times.latency_ns, HOST, "1"), sources


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch_eager"])
def test_a_shared_module_has_the_time_of_all_its_calls(tmp_path: Path, runtime: str) -> None:
    parts, _ = profiled(breakdown_nets.shared(), tmp_path, runtime)
    # The second name of the module is another path of the same weights.
    calls = [r for r in parts.rows if r.joined == "source" and r.module.endswith(".0")]
    assert len(calls) == 3
    assert {r.module for r in calls} <= {"layers.0", "again.0"}
    assert coverage(parts)[""] == 0


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch_eager"])
def test_networks_of_one_operator_and_of_strange_names(tmp_path: Path, runtime: str) -> None:
    parts, _ = profiled(breakdown_nets.one_operator(), tmp_path, runtime)
    assert [(r.category, r.module) for r in parts.rows] == [("activation", "(network)")]
    if runtime == "torch_eager":
        return  # torch itself cannot read back a program with a comma in a module's name
    parts, _ = profiled(breakdown_nets.strange(), tmp_path, runtime)
    assert breakdown_nets.STRANGE in {r.module for r in parts.rows}
    assert "plain" in {m for r in parts.rows for m in r.modules}


def test_a_network_of_several_inputs(tmp_path: Path) -> None:
    from tests import nets

    parts, _ = profiled(nets.two_inputs(), tmp_path, "onnxruntime")
    assert sorted(r.kind for r in parts.rows) == ["Add", "Mul"]
    assert {r.module for r in parts.rows} == {"(network)"}


def test_every_runtime_has_a_profile_or_says_why_not() -> None:
    for name in plugins.names("profiler.runtimes"):
        target = devices.target(f"host/{name}")
        reason = profiling.available(target)
        assert reason is None or "chains" in reason


def test_the_command_takes_a_network_apart(opclock: Run, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "breakdown_nets.py", tmp_path / "small.py")
    (tmp_path / "tests").mkdir()
    done = opclock(
        "breakdown", "small:transformer", "--on", "host/onnxruntime", "--count", "1", "--by",
        "block", "-o", "kept.json", "--csv", "rows.csv", "--trace", "trace.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "blocks.0" in done.stdout
    assert "the latency without profiler" in done.stdout
    record = json.loads((tmp_path / "kept.json").read_text())
    (parts,) = [from_json(Breakdown, b) for b in record["breakdowns"]]
    assert sum(r.time_ns for r in parts.rows) + parts.overhead_ns + parts.unattributed_ns == (
        parts.total_ns
    )
    known = coverage(parts)
    assert known["source"] + known["neighbour"] == pytest.approx(1)
    assert {"attention", "MLP"} <= {r.category for r in parts.rows}
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == len(parts.rows) + 3
    # What was kept can be looked at and compared again, and nothing is measured for it.
    again = opclock("breakdown", "kept.json", "kept.json", "--by", "category", "--plot", "both.svg")
    assert again.returncode == 0, again.stderr
    assert "difference" in again.stdout
    assert (tmp_path / "both.svg").is_file()


def test_a_runtime_without_a_profiler_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = plugins.load("profiler.runtimes", "onnxruntime")
    monkeypatch.delattr(runtime, "profile")
    failure = dissection.unavailable(NET, devices.target("host/onnxruntime"))
    assert failure is not None
    assert failure.kind == "no-profiler"
    assert "slope of chains" in failure.message
