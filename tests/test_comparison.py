"""`compare`: laps, verdicts of many candidates, tables that no name breaks, published figures."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import comparison, laps, statistics
from profiler.comparison import Against, Cell, Compared, RankChange
from profiler.encoding import from_json, to_json
from profiler.errors import UsageError
from profiler.grammar import comparison as grammar
from profiler.statistics import Comparison, compare, compare_apart, corrected, holm
from profiler.types import Artifact, Device, Format, Protocol, Round, Structure, Telemetry, Workload
from reports import comparison as report
from reports import comparison_plots
from reports.published import Published, beside, published, same_device
from reports.text import printable
from tests.conftest import Run
from tests.test_measuring import graph

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)
HOSTILE = [
    'a,b"c',
    "<script>alert(1)</script>",
    "x|y\nz",
    "naïve 模型",
    "=1+1",
    "\x1b[31mred",
    "$x_1$",
]


# Several comparisons at once -----------------------------------------------------------------


@given(P_VALUES)
def test_holm_lies_between_no_correction_and_bonferronis(p_values: list[float]) -> None:
    for plain, adjusted in zip(p_values, holm(p_values), strict=True):
        assert plain <= adjusted <= min(1.0, len(p_values) * plain) + 1e-12


@given(P_VALUES)
def test_holm_rejects_what_the_stepwise_procedure_rejects(p_values: list[float]) -> None:
    level = 0.05
    rejected = set()
    for step, number in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[number] * (len(p_values) - step) > level:
            break
        rejected.add(number)
    assert rejected == {i for i, p in enumerate(holm(p_values)) if p <= level}


def test_holm_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0.9, 1.1), min_size=6, max_size=15))
def test_a_verdict_stands_exactly_when_its_p_value_is_small(ratios: list[float]) -> None:
    found = compare(
        {str(i): 1.0 for i in range(len(ratios))},
        dict(zip(map(str, range(99)), ratios, strict=False)),
    )
    assert (found.verdict == "AMBIGUOUS") == (found.p_value > 0.05)


def test_one_comparison_needs_no_correction_and_the_unusable_do_not_count() -> None:
    slow = compare(dict.fromkeys("abcdef", 1.0), dict.fromkeys("abcdef", 1.5))
    none = statistics.unusable("why")
    assert corrected({"x": slow, "y": none}) == {"x": slow, "y": none}


def test_six_rounds_do_not_carry_many_verdicts_and_as_many_as_are_asked_for_do() -> None:
    def verdicts(rounds: int, candidates: int) -> set[str]:
        keys = [str(i) for i in range(rounds)]
        base = dict.fromkeys(keys, 1.0)
        slow = {str(n): compare(base, dict.fromkeys(keys, 1.5)) for n in range(candidates)}
        return {c.verdict for c in corrected(slow).values()}

    assert verdicts(6, 1) == {"SLOWER"}
    assert verdicts(6, 4) == {"AMBIGUOUS"}
    for candidates in (1, 2, 4, 9, 30):
        assert verdicts(comparison.rules(candidates).min_rounds, candidates) == {"SLOWER"}


def test_targets_that_are_all_the_same_are_hardly_ever_told_apart() -> None:
    generator = random.Random(2)
    wrong = 0
    for _ in range(100):
        drift = [generator.uniform(0.9, 1.1) for _ in range(9)]
        times = [
            {str(i): d * generator.gauss(1, 0.02) for i, d in enumerate(drift)} for _ in "abcde"
        ]
        found = corrected({str(n): compare(times[0], t) for n, t in enumerate(times[1:])})
        wrong += any(c.verdict in ("FASTER", "SLOWER") for c in found.values())
    assert wrong <= 5


# Two days ------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0.5, 2), min_size=4, max_size=10),
    st.lists(st.floats(0.5, 2), min_size=4, max_size=10),
)
def test_days_change_places_as_their_ratio_does(first: list[float], second: list[float]) -> None:
    there, back = compare_apart(first, second), compare_apart(second, first)
    assert there.low <= there.ratio <= there.high
    assert (back.low, back.ratio, back.high) == pytest.approx(
        (1 / there.high, 1 / there.ratio, 1 / there.low)
    )


def test_the_interval_of_two_days_covers_the_true_ratio() -> None:
    generator = random.Random(4)
    missed = 0
    for _ in range(500):
        then = [generator.lognormvariate(0, 0.05) for _ in range(7)]
        now = [1.2 * generator.lognormvariate(0, 0.05) for _ in range(9)]
        found = compare_apart(then, now)
        missed += not found.low <= 1.2 <= found.high
    assert missed <= 25 + 3 * math.sqrt(25)


def test_a_day_compared_with_itself_and_with_one_that_is_three_percent_slower() -> None:
    generator = random.Random(6)

    def day(factor: float) -> list[float]:
        return [factor * generator.gauss(1, 0.01) for _ in range(12)]

    same = [compare_apart(day(1.0), day(1.0)).verdict for _ in range(100)]
    slow = [compare_apart(day(1.0), day(1.03)).verdict for _ in range(100)]
    assert same.count("SLOWER") + same.count("FASTER") <= 5
    assert slow.count("SLOWER") >= 90


def test_mann_and_whitneys_count_by_counting_all_orders() -> None:
    import itertools

    seen = [0] * 13
    for places in itertools.combinations(range(7), 3):
        seen[sum(p > q for p in places for q in range(7) if q not in places)] += 1
    assert statistics._orders(4, 3) == tuple(seen)


def test_too_few_rounds_of_two_days_are_unusable() -> None:
    assert compare_apart([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]).verdict == "UNUSABLE"
    assert compare_apart([], [1.0] * 9).verdict == "UNUSABLE"


# Cells ---------------------------------------------------------------------------------------


def cell(network: str, target: str, low: int, high: int, **more: object) -> Cell:
    known = {"size_bytes": 10, "load_ns": 5, "first_ns": 5, "flags": ()}
    return Cell(
        network,
        target,
        "",
        (low + high) // 2,
        low,
        high,
        {f"s-{n}": 1.0 for n in range(6)},
        **{**known, **more},
    )  # type: ignore[arg-type]


def sample(names: tuple[str, ...] = ("n", "m"), targets: tuple[str, ...] = ("a", "b")) -> Compared:
    slow = Against(2.0, 1.9, 2.1, 6, "SLOWER")
    cells = []
    for number, name in enumerate(names):
        base = 1_000_000 * (number + 1)
        cells.append(cell(name, targets[0], base, base + 9000))
        cells.append(cell(name, targets[1], 2 * base, 2 * base + 9000, against=slow, error=1e-6))
    device = Device("host", "AMD EPYC 7B13, 2 cores, Linux", "f")
    rules = comparison.rules(1)
    return Compared(names, targets, targets[0], "now", device, {"r": "1"}, rules, tuple(cells))


def test_only_orders_beyond_the_intervals_change_places() -> None:
    cells = [cell("n", "a", 10, 12), cell("m", "a", 13, 15), cell("n", "b", 20, 30)]
    crossing = [*cells, cell("m", "b", 15, 19)]
    assert comparison.rank_changes(crossing) == [RankChange("n", "m", ("a",), ("b",))]
    assert comparison.rank_changes([*cells, cell("m", "b", 15, 21)]) == []
    assert comparison.rank_changes([*cells, Cell("m", "b", "crash: died")]) == []
    few = dataclasses.replace(crossing[3], medians_ns={"s-0": 1.0})
    loud = dataclasses.replace(crossing[3], flags=("unstable environment",))
    assert comparison.rank_changes([*cells, few]) == comparison.rank_changes([*cells, loud]) == []
    (said,) = report.rank_sentences(comparison.rank_changes(crossing))
    assert said == "n is faster than m on a, slower on b"


def test_slower_is_a_verdict_and_a_size() -> None:
    found = {
        "more": Against(1.05, 1.02, 1.08, 9, "SLOWER"),
        "less": Against(1.02, 1.011, 1.03, 9, "SLOWER"),
        "unsure": Against(1.5, 0.9, 2.0, 9, "AMBIGUOUS"),
        "none": Against(None, None, None, 0, "UNUSABLE"),
    }
    assert comparison.slower(found, 0.03) == ["more"]
    assert comparison.slower(found, None) == []


@pytest.mark.parametrize(
    ("operators", "delegated", "actual", "share"),
    [
        ({"Conv": 3}, {}, {}, None),
        ({"delegate:XnnpackBackend": 1, "add": 1}, {"conv": 3}, {}, 0.25),
        ({"Conv": 3}, {}, {"delegated": "3 of 4 operators"}, 0.25),
    ],
)
def test_the_fallback_share_counts_what_no_delegate_took(
    operators: dict[str, int],
    delegated: dict[str, int],
    actual: dict[str, str],
    share: float | None,
) -> None:
    held = Structure(operators, {"fp32": 1}, delegated=delegated)
    made = Artifact("m", Format("onnx"), "d", 1, 1, held, {})
    assert comparison.fallback_share(made, actual) == share


def test_rounds_that_were_disturbed_do_not_count_unless_all_were() -> None:
    def taken(samples: int, flags: tuple[str, ...]) -> Round:
        return Round("p", "now", (samples,), 1, 1, 1, 1, {}, Telemetry(), flags=flags)

    mixed = {"s-0": taken(5, ()), "s-1": taken(9, ("loud",))}
    assert comparison.medians_ns(mixed) == {"s-0": 5}
    assert comparison.medians_ns({"s-1": mixed["s-1"]}) == {"s-1": 9}


def test_a_result_survives_json() -> None:
    whole = sample()
    assert from_json(Compared, json.loads(json.dumps(to_json(whole)))) == whole


def test_networks_and_targets_of_one_name_are_told_apart() -> None:
    files = [Workload("f:onnx", {"path": p}, "net.onnx") for p in ("a", "b", "a")]
    assert [w.name for w in laps.distinct(files)] == ["net.onnx", "net.onnx #2"]
    twice = laps.named(["host/onnxruntime", "host/openvino", "host/onnxruntime"])
    assert list(twice) == ["host/onnxruntime", "host/openvino", "host/onnxruntime #2"]


# The command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host/a", ["host/a"]),
        ("host/a,host/b", ["host/a", "host/b"]),
        (
            "host/a:cpu,fp32,threads=2,host/b:graph=all",
            ["host/a:cpu,fp32,threads=2", "host/b:graph=all"],
        ),
        ("host/a:calibration=some/file.npz", ["host/a:calibration=some/file.npz"]),
        ("onnxruntime:fp32,threads=2", ["onnxruntime:fp32,threads=2"]),
    ],
)
def test_a_comma_between_targets_is_no_comma_within_one(text: str, found: list[str]) -> None:
    assert grammar.targets(text) == found


@pytest.mark.parametrize("text", ["slower", "slower:3", "faster:3%", "slower:-3%", "slower:x%"])
def test_what_fails_is_written_in_one_way(text: str) -> None:
    assert grammar.slower("slower:2.5%") == 0.025
    with pytest.raises(argparse.ArgumentTypeError, match="slower:3%"):
        grammar.slower(text)


# Tables --------------------------------------------------------------------------------------


def split(line: str) -> list[str]:
    return line.replace("\\|", "\0").strip("|").split("|")


@given(st.lists(st.text(min_size=1), min_size=2, max_size=3, unique_by=printable))
def test_no_name_breaks_a_table(names: list[str]) -> None:
    whole = sample(tuple(names))
    rows = list(csv.DictReader(io.StringIO(report.csv_text(whole), newline="")))
    assert [r["network"] for r in rows] == [printable(n) for n in names for _ in "ab"]
    text = report.markdown(whole)
    table = [line for line in text.split("\n") if line.startswith("|")]
    widths = {len(split(line)) for line in table}
    assert widths == {len(report.SPEED_HEAD), len(report.PRICE_HEAD)}
    assert len(table) == 2 * (2 + len(rows))
    assert "<" not in text.replace("&lt;", "")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stand_as_text(name: str, tmp_path: Path) -> None:
    whole = sample((name, "m"))
    assert "<script" not in report.markdown(whole)
    assert "\x1b" not in report.text(whole)
    comparison_plots.draw(whole, tmp_path / "p.svg")
    words = (tmp_path / "p.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(words)
    assert "<script" not in words


def test_the_text_says_what_was_measured_and_what_failed() -> None:
    whole = sample()
    failed = Cell("n", "b", "crash: died | of SIGSEGV", asked_precision="fp32", asked_unit="cpu")
    cells = tuple(failed if (c.network, c.target) == ("n", "b") else c for c in whole.cells)
    text = report.text(dataclasses.replace(whole, cells=cells))
    assert "crash: died | of SIGSEGV" in text
    assert "2.000" in text
    assert "SLOWER" in text
    assert "1e-06" in text
    rows = list(
        csv.DictReader(io.StringIO(report.csv_text(dataclasses.replace(whole, cells=cells))))
    )
    assert [r["latency_ns"] for r in rows] == ["1004500", "", "2004500", "4004500"]
    assert rows[1]["failure"] == "crash: died | of SIGSEGV"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_is_drawn_also_where_something_failed(suffix: str, tmp_path: Path) -> None:
    whole = sample()
    broken = dataclasses.replace(whole, cells=(Cell("n", "a", "crash: x"), *whole.cells[1:]))
    place = tmp_path / f"p.{suffix}"
    comparison_plots.draw(broken, place)
    assert place.stat().st_size > 1000
    if suffix == "svg":
        words = place.read_text()
        assert "failed" in words
        assert "latency (ms)" in words


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        comparison_plots.check(tmp_path / "p.gif")


# Published -----------------------------------------------------------------------------------


def test_what_is_published_is_first_hand_and_says_where() -> None:
    rows = published()
    assert len(rows) > 250
    for row in rows:
        assert row.certainty in ("read", "digitised from a figure")
        assert row.latency_ms > 0
        assert row.source
        assert row.device
    assert {r.network for r in rows} >= {"efficientformer_l1", "mobilenetv2_100", ""}


def printed(network: str, latency_ms: float, batch: int = 1, device: str = "phone") -> Published:
    return Published(network, network, device, "c", batch, latency_ms, "read", "", "a paper")


def latencies(ours: Mapping[str, int], **more: object) -> Compared:
    cells = tuple(cell(n, "a", v, v) for n, v in ours.items())
    whole = dataclasses.replace(sample(), networks=tuple(ours), targets=("a",), cells=cells)
    return dataclasses.replace(whole, **more)  # type: ignore[arg-type]


def test_orders_are_compared_from_four_networks_on() -> None:
    ours = latencies({"w": 1, "x": 2, "y": 3, "z": 4})
    theirs = [printed("w", 4), printed("x", 3), printed("y", 2), printed("z", 1)]
    (found,) = beside(ours, theirs).correlations
    assert found.spearman == {"a": pytest.approx(-1)}
    assert found.networks == ("w", "x", "y", "z")
    assert beside(ours, theirs[:3]).correlations == ()
    three = latencies({"w": 1, "x": 2, "y": 3, "z": 4})
    failed = (*three.cells[:3], Cell("z", "a", "crash: x"))
    (lacking,) = beside(dataclasses.replace(three, cells=failed), theirs).correlations
    assert lacking.spearman == {"a": None}


def test_another_batch_is_another_network_and_another_device_is_labelled() -> None:
    theirs = [
        printed("n", 5),
        printed("n", 900, batch=64),
        printed("n", 3, device="EPYC 7B13 fp32"),
    ]
    found = beside(sample(("n", "m")), theirs)
    assert [(x.published.latency_ms, x.this_device) for x in found.lines] == [(5, False), (3, True)]
    batched = beside(latencies({"n[batch=64]": 8}), theirs)
    assert [x.published.latency_ms for x in batched.lines] == [900]
    text = report.text(sample(("n", "m")), found)
    assert text.count(report.OTHER_DEVICE) == 1
    assert text.count(report.THIS_DEVICE) == 1
    assert "no rank correlation" in text


def test_a_device_is_this_one_only_by_all_its_words() -> None:
    machine = "Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz, 4 cores, Linux"
    assert same_device("Xeon E5-2680", machine)
    assert not same_device("Xeon E5-2690", machine)
    assert not same_device("iPhone 12 CPU", machine)
    assert not same_device("CPU", machine)


# For real ------------------------------------------------------------------------------------


def test_two_runtimes_are_timed_in_laps_and_what_fails_is_a_row(
    opclock: Run, tmp_path: Path
) -> None:
    onnx.save(graph(), tmp_path / 'a,"b" <c>.onnx')
    (tmp_path / "junk.onnx").write_bytes(b"this is not a graph " * 40)
    done = opclock(
        "compare", 'a,"b" <c>.onnx', "junk.onnx", "--on", "host/onnxruntime,host/openvino",
        "--count", "1", "--csv", "c.csv", "--markdown", "c.md", "--plot", "c.svg", "--json",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    ran = [c for c in result["cells"] if not c["failure"]]
    assert [c["target"] for c in ran] == ["host/onnxruntime", "host/openvino"]
    assert ran[0]["medians_ns"].keys() == ran[1]["medians_ns"].keys(), "the same laps"
    assert ran[1]["against"]["verdict"] == "UNUSABLE", "one round is too few for any other"
    for found in ran:
        for figure in ("latency_ns", "load_ns", "first_ns", "size_bytes"):
            assert found[figure] > 0
        assert found["peak_bytes"] is None or found["peak_bytes"] > 100_000
    assert [c["failure"].partition(":")[0] for c in result["cells"][2:]] == ["bad-model"] * 2
    assert "not a whole ONNX file" in done.stderr
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    assert rows[0]["network"] == 'a,"b" <c>.onnx'
    assert "&lt;c&gt;" in (tmp_path / "c.md").read_text()
    assert (tmp_path / "c.svg").stat().st_size > 1000

    # What is there is not measured again: one target alone has the same laps.
    one = ("--on", "host/onnxruntime", "--count", "1")
    save = opclock("baseline", "save", "b.json", 'a,"b" <c>.onnx', *one)
    assert save.returncode == 0, save.stderr
    kept = json.loads((tmp_path / "b.json").read_text())["compared"]["cells"]
    assert kept[0]["medians_ns"] == ran[0]["medians_ns"]

    check = opclock("baseline", "check", "b.json", "--fail-on", "slower:3%", "--json")
    assert check.returncode == 0, check.stderr
    (row,) = json.loads(check.stdout)["rows"]
    assert row["then_ns"] == ran[0]["latency_ns"]
    assert row["now_ns"] > 0
    assert "not judged" in check.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "x"], ["--on"]),
        (["compare", "activation.relux", "--on", "host/openvino"], ["unknown alternative"]),
        (["compare", "activation.relu", "--on", "host/openvin"], ["unknown runtime", "openvino"]),
        (
            [
                "compare",
                "activation.relu",
                "--on",
                "host/openvino",
                "--baseline",
                "host/onnxruntime",
            ],
            ["unknown target of this comparison"],
        ),
        (["compare", "activation.relu", "--on", "host/openvino", "--fail-on", "3%"], ["slower:3%"]),
        (["compare", "activation.relu", "--on", "host/openvino", "--plot", "a.gif"], [".svg"]),
        (["baseline", "check", "none.json"], ["cannot be read"]),
    ],
)
def test_wrong_usage_is_refused_before_the_work(
    opclock: Run, arguments: list[str], words: list[str]
) -> None:
    done = opclock(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_comparison_unusable_has_no_numbers() -> None:
    found = comparison.as_against(statistics.unusable("why"))
    assert (found.ratio, found.low, found.high, found.verdict) == (None, None, None, "UNUSABLE")
    kept = comparison.as_against(Comparison(1.5, 1.4, 1.6, 9, "SLOWER"))
    assert (kept.ratio, kept.verdict) == (1.5, "SLOWER")


def test_rules_take_exactly_what_is_asked_for() -> None:
    assert (comparison.rules(3, count=2).min_rounds, comparison.rules(3, count=2).max_rounds) == (
        2,
        2,
    )
    assert comparison.rules(0).min_rounds == Protocol().min_rounds
