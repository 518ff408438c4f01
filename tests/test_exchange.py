"""Tables leave in the formats of others and come back; what others wrote is read, or refused."""

from __future__ import annotations

import ast
import collections
import csv
import json
import math
import pickle
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.spaces.mobilenet import SPACE, STRIDES
from profiler import cli, plugins
from profiler.errors import BadTarget, MissingPackage, TableError, UnknownName
from profiler.tables import exchange, foreign
from profiler.tables import table as tables
from profiler.tables.formats import _mobile, hw_nas_bench, once_for_all, proxylessnas
from profiler.tables.table import Entry, LatencyTable
from tests.synthetic_tables import entry, of_keys, table, values

ON = "note10/tflite:threads=1"
FORMATS = [
    f"{name}:metric=host_latency" if name == "hw_nas_bench" else name
    for name in plugins.names(exchange.PACKAGE)
]
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


def name_of(text: str) -> str:
    return text.partition(":")[0]


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


# A consumer of others -----------------------------------------------------------------------------


class Estimator:
    """Once-for-all's way to add up a table, written anew: a key for each layer, its mean in ms."""

    def __init__(self, path: Path, marked: bool) -> None:
        self.table = yaml.safe_load(path.read_text())
        self.marked = marked

    def layer(
        self, kind: str, before: tuple[int, ...], after: tuple[int, ...], *more: str
    ) -> float:
        shapes = ("x".join(map(str, shape)) for shape in (before, after))
        key = "-".join([kind, *map("{}:{}".format, ("input", "output"), shapes), *more])
        return float(self.table[key]["mean"])

    def block(self, side: int, b: Mapping[str, int]) -> float:
        out = (side - 1) // b["stride"] + 1
        expand = b["in"] * b["ratio"] if self.marked else b["ratio"]
        more = {"expand": expand, "kernel": b["kernel"], "stride": b["stride"], "idskip": b["skip"]}
        if self.marked:
            more |= {"se": b["se"], "hs": b["hs"]}
        return self.layer(
            "expanded_conv",
            (side, side, b["in"]),
            (out, out, b["out"]),
            *(f"{k}:{v}" for k, v in more.items()),
        )

    def network_ms(self, stem: int, blocks: list[dict[str, int]], head: int) -> float:
        total = self.layer("Conv", (224, 224, 3), (112, 112, stem))
        side = 112
        for b in blocks:
            total += self.block(side, b)
            side = (side - 1) // b["stride"] + 1
        total += self.layer("Conv_1", (side, side, blocks[-1]["out"]), (side, side, head))
        return total + self.layer("Logits", (side, side, head), (1000,))


def described(text: str) -> tuple[int, list[dict[str, int]], int]:
    """Stem, blocks and head of one of our architectures as it is written, in its terms."""
    stem, separable, widths, head, depths, se, hs, *rest = (
        [int(n) for n in group.split("-")] for group in text.split("/")
    )
    before = separable[0]
    ends = {"in": stem[0], "out": before, "ratio": 1, "kernel": 3, "stride": 1, "skip": 0}
    blocks = [{**ends, "se": 0, "hs": hs[0]}]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for place in range(depth):
            stride = 1 if place else STRIDES[stage]
            block = {"in": before, "out": width, "stride": stride, "se": se[stage], "hs": hs[stage]}
            block |= {"ratio": rest[6 + stage][place], "kernel": rest[stage][place]}
            blocks.append({**block, "skip": int(stride == 1 and before == width)})
            before = width
    return stem[0], blocks, head[0]


def in_place(text: str, **groups: str) -> str:
    """A written architecture with another squeeze-excite or other activations."""
    parts = text.split("/")
    for name, place in (("se", 5), ("hs", 6)):
        parts[place] = groups.get(name, parts[place])
    return "/".join(parts)


@pytest.mark.parametrize("marked", [True, False])
def test_a_consumer_of_others_adds_up_the_same_latency(tmp_path: Path, marked: bool) -> None:
    drawn = [SPACE.text(a) for a in SPACE.draw(random.Random(3), 40)]
    none = "0-0-0-0-0-0"
    # Names say nothing of the activation at the ends, or nothing of activations at all.
    chosen = [
        in_place(t, hs="0-1-1-0-1-0") if marked else in_place(t, se=none, hs=none) for t in drawn
    ]
    rows = {t: SPACE.rows(SPACE.parse(t)) for t in [*chosen, *SPACE.named.values()]}
    keys = sorted({k for blocks in rows.values() for k in blocks})
    facts = {"scale": 1.037, "overhead_ns": 7_777}
    whole = of_keys(keys, lambda n: 10_007 * (n + 1) % 1_000_003, **facts)
    exchange.write(whole, tmp_path / "t.yaml", "once_for_all" if marked else "proxylessnas")
    estimator = Estimator(tmp_path / "t.yaml", marked)
    for text, blocks in rows.items():
        ours = whole.overhead_ns + sum(whole.scale_of(k) * whole.entries[k].ns for k in blocks)
        theirs = estimator.network_ms(*described(text))
        assert theirs == pytest.approx(ours / 1e6, rel=1e-12)
        assert round(theirs * 1e6) == whole.predict(text, blocks).latency_ns


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("stem/112/relu6/24", "Conv-input:224x224x3-output:112x112x24"),
        (
            "ir/28/k5-s2-se0-hardswish/24-40-3",
            "expanded_conv-input:56x56x24-output:28x28x40-expand:72-kernel:5-stride:2-idskip:0"
            "-se:0-hs:1",
        ),
        (
            "residual/28/k3-se1-relu6/80-2.3",
            "expanded_conv-input:28x28x80-output:28x28x80-expand:184-kernel:3-stride:1-idskip:1"
            "-se:1-hs:0",
        ),
        (
            "separable/112/relu6/16-16",
            "expanded_conv-input:112x112x16-output:112x112x16-expand:16-kernel:3-stride:1-idskip:0"
            "-se:0-hs:0",
        ),
        ("head_conv/7/relu6/160-960", "Conv_1-input:7x7x160-output:7x7x960"),
        ("classifier/1/1536", "Logits-input:1x1x1536-output:1000"),
    ],
)
def test_names_of_once_for_all(key: str, name: str) -> None:
    dialect = once_for_all.dialect("relu6")
    assert (dialect.name(key), dialect.key(name)) == (name, key)


@pytest.mark.parametrize(
    "key",
    [
        "stem/112/hardswish/24",
        "ir/28/k5-s2-se0-relu6/24-40-1",  # has an operator that theirs leaves out
        "ir/28/k5-s2-se0-relu6/28-40-2.5",  # the builder rounds 70 channels to 72
        "residual/28/k3-se0-gelu/80-2",
        "ffn/28/48-4",
    ],
)
def test_rows_that_once_for_all_has_no_name_for(key: str) -> None:
    assert once_for_all.dialect("relu6").name(key) is None


@pytest.mark.parametrize(
    "name",
    [
        "expanded_conv-input:28x28x80-output:28x28x80-expand:160-kernel:3-stride:1-idskip:0"
        "-se:0-hs:0",  # no shortcut where ours has one
        "expanded_conv-input:28x28x80-output:14x13x80-expand:160-kernel:3-stride:2-idskip:0"
        "-se:0-hs:0",
        "expanded_conv-input:28x28x80-output:28x28x80-expand:161-kernel:3-stride:1-idskip:1"
        "-se:0-hs:0",
        "expanded_conv-input:28x28x80-output:28x28x80-expand:2-kernel:3-stride:1-idskip:1",
        "Conv-input:224x224x4-output:112x112x24",
        "AvgPool2D-input:7x7x1152-output:1x1x1152",
        "Conv_2-input:1x1x1152-output:1x1x1536",
        "Logits-input:1x1x1536-output:100",
    ],
)
def test_names_that_mean_none_of_our_rows_are_kept(name: str) -> None:
    assert once_for_all.dialect("relu6").key(name) is None


def test_every_row_of_the_space_that_has_a_name_is_found_by_it() -> None:
    rows = random.Random(0).sample(SPACE.keys, 4000)
    dialects = (once_for_all.dialect("relu6"), proxylessnas.DIALECT)
    there: list[tuple[Callable[[str], str | None], Callable[[str], str | None]]] = [
        *((d.name, d.key) for d in dialects),
        (hw_nas_bench.name, hw_nas_bench.key),
    ]
    for name, key in there:
        named = {k: n for k in rows if (n := name(k))}
        assert len(named) > 400
        assert len(set(named.values())) == len(named)
        assert all(key(n) == k for k, n in named.items())
    blocks = [k for k in rows if k.startswith(("ir/", "residual/"))]
    assert all((row := _mobile.parse(k)) and row.key == k for k in blocks)


def test_the_activation_of_the_ends_is_the_users_to_say(tmp_path: Path) -> None:
    whole = table([entry("stem/112/hardswish/24", 7000), entry("stem/112/relu6/24", 5000)])
    exchange.write(whole, tmp_path / "t", "once_for_all:ends=hardswish")
    record = yaml.safe_load((tmp_path / "t").read_text())
    assert record["Conv-input:224x224x3-output:112x112x24"]["mean"] == pytest.approx(0.010)
    assert "stem/112/relu6/24" in record
    found = exchange.read(tmp_path / "t", "once_for_all:ends=hardswish", "mobilenet", ON)
    assert values(found.entries) == values(whole.entries)


# What others wrote --------------------------------------------------------------------------------

THEIRS = {
    "once_for_all": (
        "Conv-input:224x224x3-output:112x112x24: {count: 500, mean: 0.9, std: 0.0447213595}\n"
        "AvgPool2D-input:7x7x1152-output:1x1x1152: {count: 495, mean: 1e-02, std: 0.0}\n",
        {
            "stem/112/relu6/24": (900_000, 896_080),
            "AvgPool2D-input:7x7x1152-output:1x1x1152": 10_000,
        },
    ),
    "proxylessnas": (
        "MBConv-input:10x10x16-output:5x5x24-expand:3-kernel:3-stride:2-idskip:0-se:0:\n"
        "  mean: 0.5\n  var: 0.0001\n"
        "expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:3-stride:2-idskip:0:"
        " {count: 164, mean: 6.25, var: 0.0}\n",
        {
            "MBConv-input:10x10x16-output:5x5x24-expand:3-kernel:3-stride:2-idskip:0-se:0": (
                500_000,
                480_400,
            ),
            "ir/56/k3-s2-se0-relu6/16-24-3": 6_250_000,
        },
    ),
    "fbnet": (
        '{"op_type":"Int8Conv","op_args":["name: \\"kernel\\" i: 3"],'
        '"input_shapes":[[1,3,224,224],[16,3,3,3],[16]],"input_dtypes":[3,3,6],'
        '"runtime_us_p0":90.0,"runtime_us_p10":95.0,"runtime_us_p50":100.5,'
        '"runtime_us_p90":120.0,"runtime_us_p100":400.0,"device":"x"}\n',
        {
            'Int8Conv [["name: \\"kernel\\" i: 3"],[[1,3,224,224],[16,3,3,3],[16]],[3,3,6]]': (
                100_500,
                95_000,
            )
        },
    ),
    "hw_nas_bench:metric=raspi4_latency": (
        '{"nasbench201": {}, "fbnet": {"edgegpu_energy": {"FC_Cin1984_Cout100": 1},'
        ' "raspi4_latency": {"FC_Cin1984_Cout100": 0.25, "Skip_H7_W7_Cin8_Cout8_stride1": 0.0,'
        ' "ConvBlock_H56_W56_Cin24_Cout32_exp6_kernel5_stride2_group1": 3.5,'
        ' "ConvBlock_H56_W56_Cin24_Cout24_exp1_kernel3_stride1_group2": 1.5,'
        ' "ConvNorm_H224_W224_Cin3_Cout16_kernel3_stride2_group1": 2.0}}}',
        {
            "FC_Cin1984_Cout100": 250_000,
            "ir/28/k5-s2-se0-relu6/24-32-6": 3_500_000,
            "ConvBlock_H56_W56_Cin24_Cout24_exp1_kernel3_stride1_group2": 1_500_000,
            "stem/112/relu6/16": 2_000_000,
        },
    ),
    "nn_meter": (
        '{"conv-bn-relu": {"YB2F4N": {"model": "m", "shapes": [[13, 13, 212]], "config":'
        ' {"HW": 13, "CIN": 212}, "latency": "37.5 +- 0.5"},'
        ' "AAAAAA": {"config": {"HW": 13, "CIN": 212}, "latency": "38.0"}}}',
        {
            "conv-bn-relu/HW=13,CIN=212": (37_500_000, 36_520_000),
            "conv-bn-relu/HW=13,CIN=212/AAAAAA": 38_000_000,
        },
    ),
    "tf_nas": (
        '{"base": 3.25, "MBInvertedResBlock_14_80_0_112_k5_s1_relu": {"320": 1.5, "321": 1.6},'
        ' "MBInvertedResBlock_14_80_80_112_k5_s1_swish": {"320": 2.0}}',
        {
            "ir/14/k5-s1-se0-relu6/80-112-4": 1_500_000,
            "MBInvertedResBlock_14_80_0_112_k5_s1_relu/321": 1_600_000,
            "MBInvertedResBlock_14_80_80_112_k5_s1_swish/320": 2_000_000,
        },
    ),
    "nni": (
        "{'op_name': 'k3_e1', 'op_data_shape': (56, 56, 24, 32, 2), 'op_dtype': 'float32',"
        " 'op_latency': 0.5}\n\n{'op_name': 'head', 'op_latency': 1}\n",
        {"k3_e1/56x56-s2/24-32": 500_000, "head": 1_000_000},
    ),
    "csv": (
        'rounds,key,latency_ms,low_ms,high_ms\n3,"a,b/1",1.5,1.25,1.75\n,c/2,2,,\n',
        {"a,b/1": (1_500_000, 1_250_000), "c/2": 2_000_000},
    ),
}


@pytest.mark.parametrize("text", THEIRS)
def test_files_of_others_are_read(tmp_path: Path, text: str) -> None:
    content, expected = THEIRS[text]
    (tmp_path / "t").write_text(content)
    found = exchange.read(tmp_path / "t", text, "s", ON).entries
    assert set(found) == set(expected)
    for key, figure in expected.items():
        ns, low_ns = figure if isinstance(figure, tuple) else (figure, figure)
        assert (found[key].ns, found[key].low_ns) == (ns, low_ns), key


def test_what_a_file_lacks_is_said(tmp_path: Path) -> None:
    text = "hw_nas_bench:metric=raspi4_latency"
    (tmp_path / "t").write_text(THEIRS[text][0])
    flags = exchange.read(tmp_path / "t", text, "s", ON).provenance["flags"]
    assert "nasbench201 was left out" in flags
    assert "1 rows of no time were left out" in flags
    (tmp_path / "t").write_text(THEIRS["tf_nas"][0])
    assert exchange.read(tmp_path / "t", "tf_nas", "s", ON).overhead_ns == 3_250_000


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_original_of_tf_nas_is_a_pickle_of_plain_data(tmp_path: Path, protocol: int) -> None:
    blocks = {320: 1.5, 321: 1.6}
    name = "MBInvertedResBlock_14_80_0_112_k5_s1_relu"
    original = collections.OrderedDict(base=3.25, **{name: collections.OrderedDict(blocks)})
    (tmp_path / "t").write_bytes(pickle.dumps(original, protocol))
    found = exchange.read(tmp_path / "t", "tf_nas", "s", ON)
    assert values(found.entries) == {
        "ir/14/k5-s1-se0-relu6/80-112-4": 1_500_000,
        f"{name}/321": 1_600_000,
    }


# What is refused ----------------------------------------------------------------------------------


class Evil:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    bad = {"base": 1.0, "x": {1: Evil(tmp_path / "ran")}}
    (tmp_path / "t").write_bytes(pickle.dumps(bad, protocol))
    with pytest.raises(TableError, match=r"asks for \S+, which is more than plain data"):
        exchange.read(tmp_path / "t", "tf_nas", "s", ON)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\nstr.__class__\n.",
        b"ccollections\nnamedtuple\n.",
        b"P1\n.",
        b"",
        b"\x80\x04",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04]\x94h\x00a.",
        b"I5\n.",
        b"no pickle",
    ],
)
def test_a_pickle_of_anything_else_is_a_table_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(TableError):
        exchange.read(tmp_path / "t", "tf_nas", "s", ON)


@given(st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_bytes_of_any_kind_are_a_table_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    for text in FORMATS:
        with pytest.raises(TableError):
            exchange.read(path, text, "s", ON)


@pytest.mark.parametrize("text", ["once_for_all", "proxylessnas"])
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("!!python/object/apply:os.system ['true']", "python/object/apply:os.system"),
        ("!!python/object:builtins.object {}", "python/object:builtins.object"),
        ("!!python/name:os.system ''", "python/name:os.system"),
        ("{mean: !!python/object/apply:time.time []}", "python/object/apply:time.time"),
        ("!mine {mean: 1}", "!mine"),
    ],
)
def test_a_yaml_that_runs_code_is_refused_by_name(
    tmp_path: Path, text: str, body: str, named: str
) -> None:
    (tmp_path / "t").write_text(f"a/1: {body}\n")
    with pytest.raises(TableError, match=named):
        exchange.read(tmp_path / "t", text, "s", ON)


@pytest.mark.parametrize(
    "line",
    [
        "__import__('os').system('true')",
        "{'op_name': 'a', 'op_latency': __import__('time').time()}",
        "{'op_name': 'a', 'op_latency': [].__class__}",
        "('a', 1)",
        "{'op_name': 'a'",
        "{'op_latency': 1}",
        "{'op_name': 'a', 'op_latency': 1, 'op_data_shape': (1, 2)}",
        "(" * 50_000,
        "{'op_name': '" + "a" * 200_000 + "', 'op_latency': 1}",
    ],
)
def test_a_line_that_is_more_than_values_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "t").write_text(line + "\n")
    with pytest.raises(TableError, match="line 1"):
        exchange.read(tmp_path / "t", "nni", "s", ON)


def record_of(text: str, value: float) -> str:
    """A file whose one row takes `value`."""
    shown = json.dumps(value)
    return {
        "once_for_all": f"a/1: {{mean: {'.nan' if math.isnan(value) else shown}}}",
        "dynamic_ofa": f'{{"a/1": {{"mean": {shown}}}}}',
        "fbnet": json.dumps({"op_type": "a"} | {f"runtime_us_p{n}": value for n in (10, 50, 90)}),
        "nn_meter": json.dumps({"a": {"1": {"latency": f"{value}"}}}),
        "tf_nas": f'{{"a": {{"1": {shown}}}}}',
        "nni": "{'op_name': 'a/1', 'op_latency': "
        + ("'nan'" if math.isnan(value) else shown)
        + "}",
        "csv": f"key,latency_ns\na/1,{value}",
        "hw_nas_bench": f'{{"fbnet": {{"host_latency": {{"a/1": {shown}}}}}}}',
    }[text]


@pytest.mark.parametrize(("value", "said"), [(-1.5, "a block cannot"), (float("nan"), "latency")])
@pytest.mark.parametrize("text", [t for t in FORMATS if t not in ("parquet", "proxylessnas")])
def test_a_latency_that_is_none_is_named(
    tmp_path: Path, text: str, value: float, said: str
) -> None:
    (tmp_path / "t").write_text(record_of(name_of(text), value))
    with pytest.raises(TableError, match=said):
        exchange.read(tmp_path / "t", text, "s", ON)


@pytest.mark.parametrize(
    ("text", "content", "said"),
    [
        ("once_for_all", "a/1: {mean: 1}\na/1: {mean: 2}\n", "a/1 is there twice"),
        ("dynamic_ofa", '{"a/1": {"mean": 1}, "a/1": {"mean": 2}}', "a/1 is there twice"),
        ("csv", "key,latency_ns\na/1,5\na/1,6\n", "a/1 is there twice"),
        ("csv", "key,latency_ns\na/1,5,6\n", "line 2 has 3 values"),
        ("csv", "key,latency\na/1,5\n", "needs a column key and one of"),
        ("csv", "key,latency_ns,latency_ms\na/1,5,6\n", "needs a column key and one of"),
        ("csv", "key,latency_ns,low_ns,high_ns\na/1,5,6,7\n", "interval that does not hold"),
        ("csv", "key,latency_ns\n", "it has no rows"),
        ("csv", "key,latency_ns\na/1,5e15\n", "no latency"),
        ("csv", 'key,latency_ns\n"a/1,5\n', "comma-separated"),
        ("once_for_all", "- 5\n", "the file is list"),
        ("once_for_all", "a/1: 5\n", "a/1 is int"),
        ("once_for_all", "a/1: {mean: yes}\n", "mean is True"),
        ("once_for_all", "a/1: {mean: 1, count: 1.5}\n", "count is 1.5"),
        ("once_for_all", "a: &a [*a]\n", "a is list"),
        ("once_for_all", "a: {mean: 1, std: [", "not YAML"),
        ("once_for_all", "a/1: {mean: 2, overhead: 1}\nb/1: {mean: 2, overhead: 2}\n", "different"),
        ("dynamic_ofa", "[" * 100_000, "not JSON"),
        ("hw_nas_bench:metric=x_latency", '{"fbnet": {"y_latency": {}}}', "it has y_latency"),
        ("hw_nas_bench:metric=edgegpu_energy", '{"fbnet": {}}', "no latency"),
        ("nn_meter", '{"a": {"1": {"latency": "fast"}}}', "fast"),
        ("fbnet", '{"runtime_us_p10": 1, "runtime_us_p50": 1, "runtime_us_p90": 1}', "no op_type"),
        ("parquet", "PAR1", "not Parquet"),
    ],
)
def test_a_file_that_is_not_right_is_refused_by_name(
    tmp_path: Path, text: str, content: str, said: str
) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(TableError, match=said):
        exchange.read(tmp_path / "t", text, "s", ON)


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("name", ["absent", "."])
def test_a_file_that_cannot_be_read_is_a_table_error(tmp_path: Path, text: str, name: str) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        exchange.read(tmp_path / name, text, "s", ON)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hw_nas_bench", "needs metric"),
        ("once_for_all:ends=gelu", "ends is one of relu6, hardswish"),
        ("csv:unit=ms", "csv takes no options"),
        ("once_for_all:ends=relu6,ends=relu6", "not right"),
    ],
)
def test_a_format_that_is_not_right_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadTarget, match=said):
        exchange.parse(text)


def test_an_unknown_format_names_the_known() -> None:
    with pytest.raises(UnknownName, match="unknown table format 'onceforall'; did you mean once_"):
        exchange.parse("onceforall")


@pytest.mark.parametrize(("text", "package"), [("once_for_all", "PyYAML"), ("parquet", "pyarrow")])
def test_a_package_that_is_not_there_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, package: str
) -> None:
    where = "_yaml" if package == "PyYAML" else text
    monkeypatch.setattr(f"{exchange.PACKAGE}.{where}.installed", lambda _: False)
    with pytest.raises(MissingPackage, match=rf"{package}: pip install \"opclock\[tables\]\""):
        exchange.write(table([entry("a/1", 5)]), tmp_path / "t", text)


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
