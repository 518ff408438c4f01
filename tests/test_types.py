"""Nouns survive JSON; what is malformed is refused with its place; targets read as written."""

import dataclasses
import hashlib
import json
import math
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from profiler import devices, types
from profiler.encoding import canonical, digest, from_json, to_json
from profiler.errors import BadTarget, UnknownName
from profiler.types import Breakdown, Graph, Round, Target, Telemetry, Workload

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
NOUNS = [
    kind
    for kind in vars(types).values()
    if dataclasses.is_dataclass(kind) and kind not in (types.Model, types.Graph)
]
UNITS = ("cpu", "gpu")
PRECISIONS = ("fp32", "fp16")
WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return noun(hint)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(st.text(max_size=4), values(arguments[1]), max_size=3)
    if type(None) in arguments:
        return st.none() | values(arguments[0])
    known = {str: st.text(max_size=8), int: st.integers(), float: FLOATS, Any: JSON}
    return known[hint]


def noun(kind: Any) -> st.SearchStrategy[Any]:
    """Nouns of a kind, every field drawn."""
    return st.builds(kind, **{k: values(h) for k, h in typing.get_type_hints(kind).items()})


def text_and_back(value: Any) -> Any:
    return from_json(type(value), json.loads(canonical(value)))


@pytest.mark.parametrize("kind", NOUNS)
@settings(max_examples=30)
@given(data=st.data())
def test_every_noun_survives_json(kind: type, data: st.DataObject) -> None:
    value = data.draw(noun(kind))
    assert text_and_back(value) == value


def test_all_nouns_are_tried() -> None:
    assert {"Workload", "Target", "Round", "Measurement", "Failure", "Breakdown"} <= {
        kind.__name__ for kind in NOUNS
    }


@given(noun(Round))
def test_a_round_keeps_its_types_and_its_validity(value: Round) -> None:
    back = text_and_back(value)
    assert isinstance(back.samples_ns, tuple)
    assert isinstance(back.telemetry, Telemetry)
    assert back.valid == (not value.flags)


@given(noun(Workload))
def test_a_workload_survives_json_with_its_label_and_its_key(value: Workload) -> None:
    back = text_and_back(value)
    assert (back.key, back.label, back.name) == (value.key, value.label, value.name)


def test_the_label_plays_no_part_in_a_workloads_identity() -> None:
    plain, named = Workload("m:f", {"a": 1}), Workload("m:f", {"a": 1}, "short")
    assert plain == named
    assert plain.key == named.key
    assert (plain.name, named.name) == (plain.key, "short")


def test_a_tuple_and_a_list_as_parameter_are_the_same_workload() -> None:
    assert Workload("m:f", {"shape": (1, 2)}).key == Workload("m:f", {"shape": [1, 2]}).key


def test_builder_and_parameters_both_decide_a_workloads_key() -> None:
    found = {w.key for w in (Workload("m:f"), Workload("m:g"), Workload("m:f", {"a": 1}))}
    assert len(found) == 3


def test_a_graph_survives_json() -> None:
    value = Graph(Path("model.onnx"), {"x": (1, 3)})
    assert text_and_back(value) == value


@pytest.mark.parametrize("kind", NOUNS)
@settings(max_examples=5)
@given(data=st.data())
def test_a_field_that_a_noun_does_not_have_is_refused(kind: type, data: st.DataObject) -> None:
    record = {**to_json(data.draw(noun(kind))), "surplus": 1}
    with pytest.raises(ValueError, match=rf"{kind.__name__}: unknown field 'surplus'"):
        from_json(kind, record)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in NOUNS
        for name, hint in typing.get_type_hints(kind).items()
        if hint is not Any
    ],
)
@settings(max_examples=3)
@given(data=st.data())
def test_a_field_of_a_wrong_type_is_refused_by_name(
    kind: Any, name: str, data: st.DataObject
) -> None:
    wrong = 5 if typing.get_type_hints(kind)[name] is str else "text"
    record = {**to_json(data.draw(noun(kind))), name: wrong}
    with pytest.raises(ValueError, match=rf"{kind.__name__}\.{name}: expected"):
        from_json(kind, record)


@pytest.mark.parametrize("wrong", [True, 1.5, None, "1", [1]])
def test_a_count_is_neither_a_truth_nor_a_fraction(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"BreakdownRow\.count"):
        from_json(types.BreakdownRow, {"count": wrong})


@pytest.mark.parametrize("wrong", [True, "0.1", []])
def test_a_share_is_no_truth_and_no_text(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"Telemetry\.steal: expected float"):
        from_json(Telemetry, {"steal": wrong})


def test_a_whole_number_is_taken_for_a_fraction() -> None:
    assert type(from_json(Telemetry, {"steal": 0}).steal) is float


def test_a_fault_deep_inside_is_named_with_its_place() -> None:
    row = {"name": "a", "kind": "b", "count": "x", "time_ns": 1, "attribution": "c"}
    with pytest.raises(ValueError, match=r"Breakdown\.rows\[0\]\.count: expected int, found str"):
        from_json(Breakdown, {"rows": [row]})


def test_a_missing_field_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Workload: .*'builder'"):
        from_json(Workload, {})


@pytest.mark.parametrize("wrong", [None, [], "Workload", 3])
def test_something_other_than_an_object_is_no_noun(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Workload: expected an object"):
        from_json(Workload, wrong)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_refuses_what_json_has_no_word_for(value: float) -> None:
    for whole in (value, {"a": [value]}, Telemetry(steal=value)):
        with pytest.raises(ValueError, match="JSON compliant"):
            canonical(whole)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5), st.randoms(use_true_random=False))
def test_a_digest_does_not_depend_on_the_order_of_a_mapping(
    value: dict[str, Any], generator: Any
) -> None:
    pairs = list(value.items())
    generator.shuffle(pairs)
    assert digest(dict(pairs)) == digest(value)
    assert digest({"inner": dict(pairs)}) == digest({"inner": value})


@given(JSON, JSON)
def test_a_digest_differs_when_the_value_does(left: Any, right: Any) -> None:
    assume(json.dumps(left, sort_keys=True) != json.dumps(right, sort_keys=True))
    assert digest(left) != digest(right)


@given(noun(Target), st.text(min_size=1, max_size=3))
def test_a_digest_differs_when_one_field_of_a_noun_does(value: Target, more: str) -> None:
    assert digest(dataclasses.replace(value, unit=value.unit + more)) != digest(value)


def test_a_digest_tells_values_apart_from_their_concatenation() -> None:
    assert len({digest("ab"), digest("a", "b"), digest(["a", "b"]), digest("b", "a")}) == 4
    assert digest(1, 2) != digest(12)


def test_a_digest_stays_what_it_was_because_stores_are_found_by_it() -> None:
    text = '{"a":[1,2.5,null],"b":"\\u00e9"}'
    expected = hashlib.sha256(text.encode()).hexdigest()[:24]
    assert digest({"b": "é", "a": (1, 2.5, None)}) == expected


# Targets -----------------------------------------------------------------------------------------

TARGETS = st.builds(
    Target,
    device=WORDS,
    runtime=WORDS,
    unit=st.sampled_from(["", *UNITS]),
    precision=st.sampled_from(["", *PRECISIONS]),
    options=st.dictionaries(WORDS, st.from_regex(r"[a-z0-9.=-]{1,6}", fullmatch=True), max_size=3),
)


@given(TARGETS)
def test_a_target_reads_as_it_was_written(target: Target) -> None:
    assert Target.parse(str(target), UNITS, PRECISIONS) == target


@given(TARGETS, st.randoms(use_true_random=False))
def test_the_order_of_words_and_spaces_around_them_change_no_target(
    target: Target, generator: Any
) -> None:
    place, _, rest = str(target).partition(":")
    words = rest.split(",") if rest else []
    generator.shuffle(words)
    text = f" {place}" + (":" + " , ".join(words) if words else "")
    assert str(Target.parse(text, UNITS, PRECISIONS)) == str(target)


def test_a_target_without_a_device_is_the_host() -> None:
    assert Target.parse("ort:gpu", UNITS, PRECISIONS) == Target("host", "ort", "gpu")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not device/runtime"),
        ("host/", "is not device/runtime"),
        ("/ort", "is not device/runtime"),
        ("host/ort:cpu,,fp32", "empty part"),
        ("host/ort:cpu,", "empty part"),
        ("host/ort:cpu,gpu", "'gpu' .* is given twice"),
        ("host/ort:cpu,cpu", "'cpu' .* is given twice"),
        ("host/ort:fp32,fp16", "'fp16' .* is given twice"),
        ("host/ort:threads=1,threads=2", "option 'threads' is given twice"),
        ("host/ort:threads=1,threads=1", "option 'threads' is given twice"),
        ("host/ort:tpu", r"'tpu' is neither a unit \(cpu, gpu\) nor a precision \(fp32, fp16\)"),
        ("host/ort:threads", "'threads' is neither"),
        ("host/ort:threads=", "'threads=' is not name=value"),
        ("host/ort:=4", "'=4' is not name=value"),
    ],
)
def test_a_malformed_target_is_refused_in_its_own_words(text: str, said: str) -> None:
    with pytest.raises(BadTarget, match=said) as caught:
        Target.parse(text, UNITS, PRECISIONS)
    assert repr(text) in str(caught.value)


def test_what_a_target_leaves_out_gets_the_runtimes_defaults() -> None:
    whole = devices.target("host/onnxruntime:threads=2")
    assert (whole.unit, whole.precision) == ("cpu", "fp32")
    assert whole.options["threads"] == "2"
    assert whole.options["graph"] == "all"


def test_a_whole_target_written_out_is_the_same_target() -> None:
    whole = devices.target(devices.DEFAULT_TARGET)
    assert devices.target(str(whole)) == whole


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("phone/onnxruntime", UnknownName, "unknown device 'phone'; known: host"),
        ("hots/onnxruntime", UnknownName, "unknown device 'hots'; did you mean host?"),
        ("host/onnxruntme", UnknownName, r"unknown runtime 'onnxruntme'; did .* onnxruntime\?"),
        ("host/zzz", UnknownName, "unknown runtime 'zzz'; known: .*onnxruntime"),
        ("host/onnxruntime:thread=1", BadTarget, r"unknown option 'thread'; did .* threads\?"),
        ("host/onnxruntime:zzz=1", BadTarget, "unknown option 'zzz'; known: .*graph, .*threads"),
        ("host/onnxruntime:tpu", BadTarget, r"'tpu' is neither a unit \(cpu, "),
        ("host/onnxruntime:threads=0", BadTarget, "threads=0 is not a number from 1 to 1024"),
        ("host/onnxruntime:threads=-1", BadTarget, "threads=-1 is not a number from 1 to 1024"),
        ("host/onnxruntime:threads=1025", BadTarget, "threads=1025 is not a number from 1 to 1024"),
        ("host/onnxruntime:threads=two", BadTarget, "threads=two is not a number from 1 to 1024"),
        ("host/onnxruntime:threads=1.5", BadTarget, "threads=1.5 is not a number"),
        ("host/onnxruntime:graph=most", BadTarget, "graph=most is not one of .*basic.*all"),
        ("host/onnxruntime:spinning=2", BadTarget, "spinning=2 is not one of 0, 1"),
    ],
)
def test_an_unknown_word_of_a_target_is_answered_with_what_there_is(
    text: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        devices.target(text)


@pytest.mark.parametrize("threads", ["²", "9" * 5000])
def test_a_thread_number_that_int_does_not_read_is_a_bad_target(threads: str) -> None:
    with pytest.raises(BadTarget):
        devices.target(f"host/onnxruntime:threads={threads}")
