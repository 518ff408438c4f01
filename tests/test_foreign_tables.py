"""Files as others write them are read; what runs code or is no latency is refused by name."""

from __future__ import annotations

import collections
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.errors import BadTarget, MissingPackage, TableError, UnknownName
from profiler.tables import exchange
from tests.synthetic_tables import FORMATS, ON, entry, name_of, table, values

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
