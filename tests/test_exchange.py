"""Tables leave in the formats of others and come back, in the units of those formats."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler import cli, plugins
from profiler.errors import TableError
from profiler.tables import exchange, foreign
from profiler.tables import table as tables
from profiler.tables.table import Entry, LatencyTable
from tests.synthetic_tables import FORMATS, ON, entry, name_of, of_keys, table, values

WITHOUT_INTERVAL = ("hw_nas_bench", "tf_nas", "nni")
KEYS = [
    "stem/112/relu6/32",
    "stem/112/hardswish/32",
    "separable/112/relu6/32-16",
    "separable/112/relu6/16-16",
    "ir/56/k3-s2-se0-relu6/16-24-6",
    "ir/14/k5-s1-se0-relu6/64-96-4",
    "ir/28/k5-s2-se1-hardswish/24-40-3",
    "ir/28/k5-s2-se0-relu6/24-40-2.5",
    "ir/28/k5-s2-se0-relu6/24-40-1",
    "residual/56/k3-se0-relu6/24-6",
    "residual/28/k7-se1-relu6/40-4",
    "residual/28/k7-se0-hardswish/40-4",
    "head_conv/7/relu6/320-1280",
    "classifier/7/1280",
    "mb4d/56/48",
    "embedding/28/48-96",
]


def carried(whole: LatencyTable, path: Path, text: str) -> LatencyTable:
    """A table after it was written and read, both in this format."""
    exchange.write(whole, path, text)
    return exchange.read(path, text, whole.space, ON)


# There and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", FORMATS)
def test_a_table_comes_back_from_every_format(tmp_path: Path, text: str) -> None:
    whole = of_keys(KEYS, lambda n: 1_000_003 * (n + 1))
    found = carried(whole, tmp_path / "t", text)
    assert values(found.entries) == values(whole.entries)
    assert found.overhead_ns == whole.overhead_ns
    assert {e.source for e in found.entries.values()} == {"imported"}
    assert found.closure is None
    for key, was in whole.entries.items():
        now = found.entries[key]
        if name_of(text) in WITHOUT_INTERVAL:
            assert (now.low_ns, now.high_ns, now.flags) == (was.ns, was.ns, ("no interval",))
        else:
            assert now.low_ns == pytest.approx(was.low_ns, abs=1)
            assert now.high_ns == pytest.approx(was.high_ns, abs=1)


@pytest.mark.parametrize("text", FORMATS)
def test_scales_are_multiplied_in_and_predictions_stay(tmp_path: Path, text: str) -> None:
    facts = {"scale": 1.25, "family_scales": {"mb4d": 0.5, "mb4d/56": 0.5, "stem/112/relu6": 2.0}}
    whole = of_keys(KEYS, lambda n: 1_000_000 * (n + 1), **facts)
    found = carried(whole, tmp_path / "t", text)
    assert found.scale == 1.0
    blocks = [KEYS[0], KEYS[4], KEYS[9], KEYS[9], KEYS[13], KEYS[14]]
    before, after = (t.predict("net", blocks).latency_ns for t in (whole, found))
    assert after == pytest.approx(before, abs=len(blocks))


@pytest.mark.parametrize("text", FORMATS)
def test_what_was_imported_can_leave_again_the_same(tmp_path: Path, text: str) -> None:
    exchange.write(of_keys(KEYS, lambda n: 1000 + n), tmp_path / "a", text)
    once = exchange.read(tmp_path / "a", text, "mobilenet", ON)
    exchange.write(once, tmp_path / "b", text)
    again = exchange.read(tmp_path / "b", text, "mobilenet", ON)
    assert again.entries == once.entries
    assert again.overhead_ns == once.overhead_ns


@pytest.mark.parametrize("text", FORMATS)
@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda k: k != foreign.OVERHEAD)
        | st.sampled_from(["a,b", 'say "no"', "it's/1", "é/日本/7", "a: b", "- x", "#1", "=1+1"])
        | st.sampled_from(KEYS),
        st.tuples(st.integers(1, 10**9), st.integers(0, 10**6), st.integers(0, 500)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 10**6),
)
def test_keys_and_numbers_of_every_kind_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    figures: dict[str, tuple[int, int, int]],
    overhead_ns: int,
) -> None:
    rows = [entry(k, ns, min(ns, by), rounds=n) for k, (ns, by, n) in figures.items()]
    whole = table(rows, overhead_ns=overhead_ns)
    found = carried(whole, tmp_path_factory.getbasetemp() / "t", text)
    assert values(found.entries) == values(whole.entries)
    assert found.overhead_ns == overhead_ns
    for key, now in found.entries.items():
        if name_of(text) not in WITHOUT_INTERVAL:
            was = whole.entries[key]
            assert now.high_ns - was.high_ns in (-1, 0, 1)
            assert now.low_ns - was.low_ns in (-1, 0, 1)


def test_an_asymmetric_interval_is_not_made_narrower(tmp_path: Path) -> None:
    whole = table([Entry("mb4d/56/48", 1000, 990, 1100, "measured", 8)])
    for text in ("once_for_all", "proxylessnas", "nn_meter", "dynamic_ofa"):
        found = carried(whole, tmp_path / "t", text).entries["mb4d/56/48"]
        assert (found.low_ns, found.high_ns) == (900, 1100)


@pytest.mark.parametrize("text", FORMATS)
def test_an_entry_named_as_the_overhead_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TableError, match="overhead"):
        exchange.write(table([entry("overhead", 5)]), tmp_path / "t", text)
    assert not (tmp_path / "t").exists()


def test_an_imported_table_says_where_it_comes_from_and_is_one_of_ours(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "theirs.csv"
    path.write_text("key,latency_us\nmb4d/56/48,12.5\n")
    found = exchange.read(path, "csv", "efficientformer", ON)
    assert found.provenance["protocol"] == "unknown"
    assert found.provenance["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.provenance["file"], found.provenance["format"]) == ("theirs.csv", "csv")
    assert "1 entries have no interval" in found.provenance["flags"][0]
    assert (found.space, found.target, found.runtime_version) == ("efficientformer", ON, "unknown")
    tables.save(found, tmp_path / "ours.json")
    assert tables.load(tmp_path / "ours.json") == found
    assert found.predict("net", ["mb4d/56/48"] * 2).coverage == {"imported": 1.0}
    assert not found.predict("net", ["mb4d/56/48"]).validated


# Units --------------------------------------------------------------------------------------------


def written(text: str, path: Path, **facts: Any) -> str:
    """The file of a table with one entry of 2.5 ms, 2.4 to 2.6 ms, 4 rounds."""
    row = Entry("mb4d/56/48", 2_500_000, 2_400_000, 2_600_000, "measured", 4)
    exchange.write(table([row], overhead_ns=0, **facts), path, text)
    return path.read_text()


def test_units_are_those_of_the_format(tmp_path: Path) -> None:
    place, key = tmp_path / "t", "mb4d/56/48"
    std = 0.1 / 1.96 * 2
    for text in ("once_for_all", "dynamic_ofa"):
        record = yaml.safe_load(written(text, place))[key]
        assert record == {"count": 4, "mean": 2.5, "std": pytest.approx(std)}
    record = yaml.safe_load(written("proxylessnas", place))[key]
    assert record == {"count": 4, "mean": 2.5, "var": pytest.approx(std**2)}
    record = json.loads(written("fbnet", place))
    ends = [record[f"runtime_us_p{n}"] for n in (0, 10, 50, 90, 100)]
    assert ends == [2400, 2400, 2500, 2600, 2600]
    found = json.loads(written("hw_nas_bench:metric=host_latency", place))
    assert found == {"fbnet": {"host_latency": {key: 2.5}}}
    found = json.loads(written("nn_meter", place))["mb4d"][key]
    mean, deviation = found["latency"].split(" +- ")
    assert (float(mean), float(deviation)) == (2.5, pytest.approx(0.1 / 1.96))
    assert json.loads(written("tf_nas", place)) == {"mb4d/56": {"48": 2.5}}
    assert ast.literal_eval(written("nni", place))["op_latency"] == 2.5
    (row,) = csv.DictReader(written("csv", place).splitlines())
    assert (row["latency_ns"], row["low_ns"], row["high_ns"]) == ("2500000", "2400000", "2600000")


def test_every_format_states_its_unit() -> None:
    units = {n: plugins.load(exchange.PACKAGE, n).UNIT for n in map(name_of, FORMATS)}
    assert {n for n, u in units.items() if u == "us"} == {"fbnet"}
    assert {n for n, u in units.items() if u == "ns"} == {"csv", "parquet"}
    assert set(units.values()) == {"ms", "us", "ns"}


@pytest.mark.parametrize(("unit", "ns"), [("ns", 12), ("us", 12_500), ("ms", 12_500_000)])
def test_columns_name_their_unit(tmp_path: Path, unit: str, ns: int) -> None:
    (tmp_path / "t").write_text(f"key,latency_{unit}\na/1,12.5\n")
    assert values(exchange.read(tmp_path / "t", "csv", "s", ON).entries) == {"a/1": ns}


# Commands -----------------------------------------------------------------------------------------


def test_the_commands_export_and_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs, back = (str(tmp_path / n) for n in ("a.json", "a.parquet", "b.json"))
    whole = of_keys(KEYS, lambda n: 1000 * (n + 1))
    tables.save(whole, Path(ours))
    assert cli.main(["table", "export", ours, "--format", "parquet", "-o", theirs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == len(KEYS)
    wanted = ["--format", "parquet", "--space", "mobilenet", "--on", ON, "-o", back]
    assert cli.main(["table", "import", theirs, *wanted]) == 0
    assert f"{len(KEYS)} imported entries; overhead 3 us" in capsys.readouterr().out
    assert values(tables.load(Path(back)).entries) == values(whole.entries)
    wanted[1] = "once_for_all"
    assert cli.main(["table", "import", theirs, *wanted]) == 2
    assert "a.parquet as once_for_all: it cannot be read" in capsys.readouterr().err
