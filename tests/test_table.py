"""A table says what it holds, predicts by adding up, and refuses to be used when it is wrong."""

import dataclasses
import gc
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import MissingEntry, OutputError, TableError
from profiler.tables.table import (
    SOURCES,
    Closure,
    Entry,
    LatencyTable,
    Network,
    faults,
    load,
    nearest_keys,
    render,
    save,
)

SOUND = {"key": "mb4d/56/48", "ns": 100, "low_ns": 90, "high_ns": 110, "source": "measured"}
FLOATS = st.floats(-100, 100)
COUNTS = st.integers(0, 10**9)
KEYS = st.builds(
    "{}/{}/{}".format, st.sampled_from(["mb4d", "flat", "é"]), st.integers(1, 99), COUNTS
)
ENTRIES = st.builds(
    lambda key, ns, below, above, source, rounds: Entry(
        key, ns, max(0, ns - below), ns + above, source, rounds
    ),
    key=KEYS,
    ns=st.integers(1, 10**9),
    below=COUNTS,
    above=COUNTS,
    source=st.sampled_from(SOURCES),
    rounds=st.integers(0, 20),
)
NETWORKS = st.lists(
    st.builds(Network, st.text(max_size=5), COUNTS, COUNTS, FLOATS, FLOATS), max_size=3
).map(tuple)
CLOSURES = st.builds(
    Closure,
    seed=COUNTS,
    networks=COUNTS,
    mape_percent=FLOATS,
    p95_percent=FLOATS,
    max_percent=FLOATS,
    bias_percent=FLOATS,
    rms_percent=st.floats(0, 50),
    spearman=st.none() | FLOATS,
    kendall=st.none() | FLOATS,
    repeatability_percent=FLOATS,
)
TABLES = st.builds(
    LatencyTable,
    space=st.text(max_size=5),
    target=st.text(max_size=5),
    device=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    runtime_version=st.text(max_size=5),
    created=st.text(max_size=5),
    overhead_ns=COUNTS,
    scale=st.floats(0.01, 100),
    entries=st.lists(ENTRIES, max_size=8).map(lambda rows: {e.key: e for e in rows}),
    references=NETWORKS,
    closure=st.none() | CLOSURES,
    closure_networks=NETWORKS,
    provenance=st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)),
)


def entry(key: str, ns: int, source: str = "measured", spread: int = 0) -> Entry:
    return Entry(key, ns, max(0, ns - spread), ns + spread, source, 8)


def closure(rms_percent: float) -> Closure:
    return Closure(0, 16, 1.0, 2.0, 3.0, 0.5, rms_percent, 0.99, 0.95, 0.4)


def table(*entries: Entry, **facts: Any) -> LatencyTable:
    whole: dict[str, Any] = {"overhead_ns": 1000, "scale": 1.0, **facts}
    device = {"name": "host", "description": "a machine", "fingerprint": "f"}
    held = {e.key: e for e in entries}
    return LatencyTable("space", "host/ort", device, "1.0", "now", entries=held, **whole)


def written(path: Path, *entries: Mapping[str, Any], **facts: Any) -> Path:
    """A table's file with these entries, and its facts replaced."""
    record = json.loads(render(table(entry("mb4d/56/48", 100))))
    path.write_text(json.dumps({**record, "entries": list(entries), **facts}))
    return path


# The file ----------------------------------------------------------------------------------------


@given(TABLES)
def test_a_table_comes_back_as_it_was_and_is_written_the_same_again(
    tmp_path_factory: pytest.TempPathFactory, whole: LatencyTable
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.json"
    save(whole, path)
    data = path.read_bytes()
    assert load(path) == whole
    save(load(path), path)
    assert path.read_bytes() == data
    assert json.loads(data)["schema"] == "opclock-table/1"


@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_in_which_entries_were_found_does_not_show(
    whole: LatencyTable, generator: random.Random
) -> None:
    rows = list(whole.entries.items())
    generator.shuffle(rows)
    assert render(dataclasses.replace(whole, entries=dict(rows))) == render(whole)


@given(TABLES)
def test_every_entry_has_a_line_of_its_own(whole: LatencyTable) -> None:
    lines = render(whole).splitlines()
    rows = [json.loads(line.rstrip(",")) for line in lines if line.startswith('  {"key"')]
    assert sorted(r["key"] for r in rows) == sorted(whole.entries)
    assert all(sum(json.dumps(key) in line for line in lines) == 1 for key in whole.entries)


def test_entries_are_ordered_by_number_and_not_by_text() -> None:
    keys = ["mb4d/56/112", "mb4d/56/16", "mb4d/7/16", "head/448", "embedding/28/48-96"]
    keys.append("embedding/28/48-112")
    text = render(table(*(entry(k, 1) for k in keys)))
    found = [json.loads(x.rstrip(","))["key"] for x in text.splitlines() if x[:6] == '  {"ke']
    assert found == [
        "embedding/28/48-96",
        "embedding/28/48-112",
        "head/448",
        "mb4d/7/16",
        "mb4d/56/16",
        "mb4d/56/112",
    ]


def test_a_change_of_one_entry_changes_one_line() -> None:
    rows = [entry(f"mb4d/56/{w}", w) for w in (16, 32, 48)]
    before = render(table(*rows)).splitlines()
    after = render(table(rows[0], entry("mb4d/56/32", 33), rows[2])).splitlines()
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_a_table_in_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        save(table(), tmp_path / "file" / "table.json")


# What must not be used ---------------------------------------------------------------------------


def test_a_sound_entry_has_no_fault() -> None:
    assert faults([SOUND]) == []
    assert faults([{**SOUND, "low_ns": 0}]) == []
    assert faults([]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ns": math.nan}, "mb4d/56/48: ns is nan"),
        ({"high_ns": math.inf}, "mb4d/56/48: high_ns is inf"),
        ({"low_ns": -math.inf}, "mb4d/56/48: low_ns is -inf"),
        ({"ns": -5}, "mb4d/56/48: ns is -5; a block cannot take that"),
        ({"low_ns": -1}, "mb4d/56/48: low_ns is -1; a block cannot take that"),
        ({"ns": 0}, "mb4d/56/48: ns is 0; a block cannot take that"),
        ({"ns": "100"}, "mb4d/56/48: ns is missing or no number"),
        ({"ns": None}, "mb4d/56/48: ns is missing or no number"),
        ({"ns": True}, "mb4d/56/48: ns is missing or no number"),
        ({"high_ns": [1]}, "mb4d/56/48: high_ns is missing or no number"),
        ({"source": "guessed"}, "mb4d/56/48: source 'guessed' is not one of measured, "),
        ({"source": None}, "mb4d/56/48: source None is not one of"),
        ({"source": ["measured"]}, "mb4d/56/48: source ['measured'] is not one of"),
        ({"key": None}, "entry 1 has no key"),
        ({"key": 7}, "entry 1 has no key"),
    ],
)
def test_a_faulty_entry_is_named_with_its_fault(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    (found,) = faults([{**SOUND, **change}])
    assert found.startswith(said)
    with pytest.raises(TableError, match="must not be used") as caught:
        load(written(tmp_path / "t.json", {**SOUND, **change}))
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["key", "ns", "low_ns", "high_ns", "source"])
def test_a_field_that_an_entry_lacks_is_named(name: str) -> None:
    (found,) = faults([{k: v for k, v in SOUND.items() if k != name}])
    assert name in found


@pytest.mark.parametrize("wrong", ["mb4d/56/48", None, 5, ["mb4d/56/48", 100]])
def test_something_other_than_an_entry_is_named_by_its_place(wrong: Any) -> None:
    assert faults([SOUND, wrong]) == ["entry 2 has no key"]


@pytest.mark.parametrize("wrong", [None, {}, "entries", {"mb4d/56/48": SOUND}])
def test_a_table_needs_a_list_of_entries(wrong: Any) -> None:
    assert faults(wrong) == ["it has no list of entries"]


def test_a_key_that_is_there_twice_is_named() -> None:
    other = {**SOUND, "key": "mb4d/56/64"}
    assert faults([SOUND, other, {**SOUND, "ns": 7}]) == ["mb4d/56/48 is there twice"]


def test_all_faults_are_named_at_once_and_many_are_counted(tmp_path: Path) -> None:
    bad = [{**SOUND, "key": f"mb4d/56/{w}", "ns": -w} for w in range(1, 15)]
    assert len(faults(bad)) == 14
    with pytest.raises(TableError, match="and 4 more") as caught:
        load(written(tmp_path / "t.json", *bad))
    assert "mb4d/56/10: ns is -10" in str(caught.value)
    assert "mb4d/56/11" not in str(caught.value)


def test_a_number_beyond_all_measure_is_a_fault() -> None:
    assert faults([{**SOUND, "ns": 10**400}])


@given(st.integers(0, 2000))
def test_a_truncated_file_is_no_table(tmp_path_factory: pytest.TempPathFactory, place: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.json"
    text = render(table(*(entry(f"mb4d/56/{w}", w) for w in range(16, 112, 16))))
    path.write_text(text[: place % (len(text) - 2)])
    with pytest.raises(TableError, match=r"cut\.json is not a whole table"):
        load(path)


@pytest.mark.parametrize("data", [b"", b"key,ns\nmb4d,5\n", b"\xff\xfe\x00", b"\x89PNG\r\n"])
def test_a_file_that_is_not_json_is_no_table(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(data)
    with pytest.raises(TableError, match=r"t\.json"):
        load(path)


@pytest.mark.parametrize("path", ["absent.json", "."])
def test_a_file_that_cannot_be_read_is_a_table_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        load(tmp_path / path)


@pytest.mark.parametrize(
    "text", ["[]", "null", "5", "{}", '{"schema": null}', '{"schema": "opclock-table/2"}']
)
def test_json_of_another_form_is_no_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(TableError, match="not a table of the form opclock-table/1"):
        load(path)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"scale": math.nan}, "scale or overhead"),
        ({"scale": math.inf}, "scale or overhead"),
        ({"scale": 0}, "scale or overhead"),
        ({"scale": -1.5}, "scale or overhead"),
        ({"overhead_ns": -1}, "scale or overhead"),
        ({"overhead_ns": 1.5}, r"LatencyTable\.overhead_ns: expected int"),
        ({"scale": "1"}, r"LatencyTable\.scale: expected float"),
        ({"space": None}, r"LatencyTable\.space: expected str"),
        ({"surplus": 1}, "unknown field 'surplus'"),
        ({"closure": {"seed": 1}}, r"LatencyTable\.closure"),
        ({"references": [{"architecture": "a"}]}, r"LatencyTable\.references\[0\]"),
    ],
)
def test_a_table_with_a_wrong_fact_is_refused_by_name(
    tmp_path: Path, facts: dict[str, Any], said: str
) -> None:
    with pytest.raises(TableError, match=said):
        load(written(tmp_path / "t.json", SOUND, **facts))


@pytest.mark.parametrize("change", [{"ns": 100.5}, {"rounds": "8"}, {"surplus": 1}])
def test_an_entry_of_another_form_is_refused_by_key(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(TableError, match=r"LatencyTable\.entries\.mb4d/56/48"):
        load(written(tmp_path / "t.json", {**SOUND, **change}))


def test_a_table_that_lacks_a_fact_is_refused_by_its_name(tmp_path: Path) -> None:
    path = written(tmp_path / "t.json", SOUND)
    record = json.loads(path.read_text())
    del record["runtime_version"]
    path.write_text(json.dumps(record))
    with pytest.raises(TableError, match="runtime_version"):
        load(path)


def test_a_number_of_five_thousand_digits_is_a_table_error(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"schema": "opclock-table/1", "entries": [], "scale": ' + "9" * 5000 + "}")
    with pytest.raises(TableError):
        load(path)


def test_an_undefined_closure_is_refused(tmp_path: Path) -> None:
    figures = {**dataclasses.asdict(closure(1.0)), "rms_percent": math.nan}
    with pytest.raises(TableError):
        load(written(tmp_path / "t.json", SOUND, closure=figures))


# Predictions -------------------------------------------------------------------------------------


@given(TABLES, st.lists(st.integers(0, 7), max_size=12), st.randoms(use_true_random=False))
def test_a_prediction_is_the_overhead_and_the_scaled_sum(
    whole: LatencyTable, picks: list[int], generator: random.Random
) -> None:
    keys = list(whole.entries)
    blocks = [keys[p % len(keys)] for p in picks] if keys else []
    found = whole.predict("net", blocks)
    expected = whole.overhead_ns + whole.scale * sum(whole.entries[k].ns for k in blocks)
    assert found.latency_ns == pytest.approx(expected, rel=1e-12, abs=0.51)
    assert found.low_ns <= found.latency_ns <= found.high_ns
    assert found.name == "net"
    assert found.validated == (whole.closure is not None)
    assert sum(found.coverage.values()) <= 1 + 1e-5
    assert set(found.interpolated) == {
        k for k in blocks if whole.entries[k].source == "interpolated"
    }
    generator.shuffle(blocks)
    again = whole.predict("net", blocks)
    assert abs(again.latency_ns - found.latency_ns) <= 1


def test_a_prediction_of_a_worked_example() -> None:
    whole = table(entry("a/8", 200), entry("b/8", 50), overhead_ns=1000, scale=1.5)
    found = whole.predict("net", ["a/8", "b/8", "a/8"])
    assert found.latency_ns == 1000 + round(1.5 * 450)
    assert (found.low_ns, found.high_ns) == (1675, 1675)
    assert found.coverage == {"measured": pytest.approx(675 / 1675, abs=1e-6)}
    assert whole.predict("empty", []).latency_ns == 1000


def test_the_order_of_blocks_does_not_matter() -> None:
    whole = table(*(entry(f"a/{w}", 100 + 7 * w, spread=w) for w in range(1, 9)), scale=1.25)
    blocks = [f"a/{1 + i % 8}" for i in range(30)]
    straight = whole.predict("net", blocks)
    random.Random(1).shuffle(blocks)
    assert whole.predict("net", blocks) == straight


def test_the_order_of_blocks_does_not_even_decide_how_a_half_is_rounded() -> None:
    rows = [entry("a/0", 152), entry("a/1", 59), entry("a/2", 42), entry("a/3", 151)]
    whole = table(*rows, overhead_ns=36, scale=1.1)
    blocks = ["a/3", "a/0", "a/1", "a/2", "a/1", "a/0"]
    found = {whole.predict("net", b).latency_ns for b in (blocks, sorted(blocks))}
    assert len(found) == 1


def test_a_key_that_the_table_lacks_is_named_with_its_nearest() -> None:
    rows = [entry(f"mb4d/56/{w}", w) for w in (16, 32, 64, 96)]
    whole = table(*rows, entry("mb4d/28/48", 9), entry("stem/48", 9))
    with pytest.raises(MissingEntry, match="no entry 'mb4d/56/60'") as caught:
        whole.predict("net", ["stem/48", "mb4d/56/60"])
    said = str(caught.value)
    assert "nearest: mb4d/56/64, mb4d/56/32, mb4d/56/96;" in said
    assert "--interpolate" in said


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("embedding/28/40-96", "embedding/28/32-96"),
        ("mb4d/55/48", "mb4d/56/48"),
        ("mb4/56/wide", "mb4d/56/48"),
    ],
)
def test_the_nearest_key_is_of_the_same_family_or_looks_alike(key: str, first: str) -> None:
    known = {"embedding/28/32-96": 1, "embedding/28/32-192": 1, "mb4d/56/48": 1, "head/448": 1}
    assert nearest_keys(key, known)[0] == first


def test_a_known_key_without_numbers_does_no_harm() -> None:
    whole = table(entry("conv/16", 1), entry("conv/wide", 1))
    with pytest.raises(MissingEntry, match=r"conv/16"):
        whole.predict("net", ["conv/32"])


def test_nothing_like_it_is_said_too() -> None:
    with pytest.raises(MissingEntry, match="none of its family"):
        table().predict("net", ["mb4d/56/48"])


def test_a_gap_is_filled_between_neighbours_and_the_coverage_says_so() -> None:
    whole = table(entry("a/16", 100), entry("a/64", 400), entry("b/8", 500), overhead_ns=0)
    found = whole.predict("net", ["a/32", "b/8", "a/32", "a/16"], fill=True)
    assert found.latency_ns == 1000
    assert found.coverage == pytest.approx({"measured": 0.6, "interpolated": 0.4})
    assert found.interpolated == ("a/32",)
    assert found.low_ns < 1000 < found.high_ns


def test_a_gap_is_filled_only_on_demand_and_never_beyond_the_neighbours() -> None:
    whole = table(entry("a/16", 100), entry("a/64", 400))
    with pytest.raises(MissingEntry, match="--interpolate"):
        whole.predict("net", ["a/32"])
    for key in ("a/8", "a/128", "c/32"):
        with pytest.raises(MissingEntry) as caught:
            whole.predict("net", [key], fill=True)
        assert "--interpolate" not in str(caught.value)


def test_filling_changes_nothing_where_nothing_is_missing() -> None:
    whole = table(entry("a/16", 100, spread=3), entry("a/32", 7), entry("a/64", 400), scale=1.1)
    blocks = ["a/16", "a/32", "a/64"]
    assert whole.predict("net", blocks, fill=True) == whole.predict("net", blocks)


def test_the_coverage_tells_the_sources_apart() -> None:
    rows = [entry("a/1", 100), entry("a/2", 200, "interpolated"), entry("a/3", 300, "imported")]
    found = table(*rows, overhead_ns=400).predict("net", ["a/1", "a/2", "a/3"])
    assert found.coverage == {"measured": 0.1, "interpolated": 0.2, "imported": 0.3}
    assert found.interpolated == ("a/2",)


@given(st.floats(0, 20), st.floats(0, 20))
def test_a_worse_closure_never_narrows_the_interval(first: float, second: float) -> None:
    rows = [entry("a/1", 100_000, spread=3000), entry("a/2", 70_000, spread=2000)]
    good, bad = (
        table(*rows, closure=closure(rms)).predict("net", ["a/1", "a/2"])
        for rms in sorted((first, second))
    )
    assert bad.low_ns <= good.low_ns <= good.latency_ns <= good.high_ns <= bad.high_ns
    assert good.latency_ns == bad.latency_ns


def test_the_interval_is_twice_the_closures_error_or_the_entries_own_spread() -> None:
    rows = [entry("a/1", 50_000, spread=300), entry("a/2", 49_000, spread=400)]
    blocks = ["a/1", "a/2"]
    spreads = table(*rows, closure=closure(0.1)).predict("net", blocks)
    errors = table(*rows, closure=closure(2.5)).predict("net", blocks)
    assert (spreads.low_ns, spreads.high_ns) == (99_500, 100_500)
    assert (errors.low_ns, errors.high_ns) == (95_000, 105_000)
    assert (spreads.validated, errors.validated) == (True, True)


def test_the_spread_of_a_repeated_block_grows_with_its_number_and_the_scale() -> None:
    whole = table(entry("a/1", 10_000, spread=100), overhead_ns=0, scale=2.0)
    found = whole.predict("net", ["a/1"] * 5)
    assert (found.low_ns, found.latency_ns, found.high_ns) == (99_000, 100_000, 101_000)
    assert not found.validated


def test_loading_leaves_the_collector_of_garbage_as_it_was(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with pytest.raises(TableError):
                load(bad)
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
