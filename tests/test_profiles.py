"""Profilers' outputs, as they were recorded: parsed, joined with their sources, and when broken."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters import _inductor_kernels, _litert_file, _sources
from profiler.encoding import from_json
from profiler.errors import BadProfile
from profiler.lineage import DEPTHWISE, Compiled, claims_in_order, trace
from profiler.runtimes import (
    _coreml_profile,
    _executorch_profile,
    _litert_profile,
    _onnxruntime_profile,
    _openvino_profile,
    _tensorrt_profile,
    _torch_profile,
)
from profiler.types import Executed, Source
from tests.breakdown_nets import GOLDEN


def golden(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    found["sources"] = [from_json(Source, s) for s in found["sources"]]
    return found


def graph_of(nodes: list[dict[str, Any]]) -> Any:
    return SimpleNamespace(graph=SimpleNamespace(node=[SimpleNamespace(**n) for n in nodes]))


def of_onnxruntime(text: str = "") -> list[Executed]:
    kept = golden("onnxruntime")
    events = _onnxruntime_profile.events_of(text or kept["trace"])
    compiled = _onnxruntime_profile.compiled_of(graph_of(kept["nodes"]), kept["sources"])
    times = _onnxruntime_profile.kernels_ns(events, skip=1)
    return _onnxruntime_profile.executed(times, compiled, kept["sources"])


def of_openvino() -> list[Executed]:
    kept = golden("openvino")
    graph = _openvino_profile.compiled_of(kept["nodes"])
    traced = trace(graph, kept["sources"])
    before, after = ({n: (k, t) for n, (k, t) in r.items()} for r in kept["readings"])
    times = _openvino_profile.since(before, 1, after, 3)
    return [
        Executed(c.name, c.operator, times[c.name], traced[c.name].sources, traced[c.name].beside)
        for c in graph
        if c.name in times
    ]


def of_executorch() -> list[Executed]:
    kept = golden("executorch")
    runs = [[SimpleNamespace(profile_event=SimpleNamespace(**e)) for e in r] for r in kept["runs"]]
    return list(_executorch_profile.times_of(runs, kept["sources"], warmup=1).executed)


def of_litert() -> list[Executed]:
    kept = golden("litert")
    return _litert_profile.executed([[tuple(e) for e in r] for r in kept["runs"]], kept["sources"])


PARSED = {
    "onnxruntime": of_onnxruntime,
    "openvino": of_openvino,
    "executorch": of_executorch,
    "litert": of_litert,
}


def modules_of(name: str, executed: Executed) -> set[str]:
    by_name = {s.name: s for s in golden(name)["sources"]}
    return {m for s in executed.sources for m in by_name[s].modules}


@pytest.mark.parametrize("name", PARSED)
def test_every_matrix_product_of_the_network_is_found_in_its_module(name: str) -> None:
    found = [(e, modules_of(name, e)) for e in PARSED[name]()]
    products = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    for module in ["stem.0", *(f"blocks.{i}.{p}" for i in (0, 1) for p in products)]:
        here = [e for e, modules in found if module in modules]
        kinds = " ".join(e.operator.lower() for e in here)
        assert any(word in kinds for word in ("conv", "gemm", "matmul", "fully")), module


@pytest.mark.parametrize("name", PARSED)
def test_little_has_neither_a_source_nor_neighbours(name: str) -> None:
    found = PARSED[name]()
    assert len(found) > 20
    unknown = [e.name for e in found if not e.sources and not e.beside]
    assert len(unknown) <= 1, unknown
    assert sum(e.time_ns for e in found) > 0


def test_a_fused_operator_lists_what_was_fused() -> None:
    by_name = {e.name: e for e in of_onnxruntime()}
    kinds = {s.name: s.operator for s in golden("onnxruntime")["sources"]}
    assert [kinds[s] for s in by_name["relu_nchwc"].sources] == ["Conv", "Relu"]
    scaled = by_name["node_matmul/MatmulTransposeFusion//MatMulScaleFusion/"]
    assert sorted(kinds[s] for s in scaled.sources) == ["MatMul", "Mul", "Transpose"]


def test_a_layout_change_that_was_inserted_has_neighbours_only() -> None:
    inserted = [e for e in of_onnxruntime() if e.operator == "ReorderOutput"]
    assert len(inserted) == 1
    assert inserted[0].sources == ()
    assert inserted[0].beside


def test_an_opened_convolution_keeps_the_module_of_its_weights() -> None:
    stem = next(s for s in golden("onnxruntime")["sources"] if s.operator == "Conv")
    assert stem.modules == ("stem.0", "stem.1")
    assert [c.rpartition(".")[2] for c in stem.classes] == ["Transformer", "Sequential"]


def test_the_profilers_own_part_is_taken_off_each_operator() -> None:
    times = {("a", "Conv"): [9_000.0] * 4, ("b", "Reshape"): [1_000.0] * 4}
    found = _onnxruntime_profile.executed(times, [], [], event_ns=1_500)
    assert [e.time_ns for e in found] == [7_500, 0]


# Tolerance --------------------------------------------------------------------------------------


def test_a_trace_that_was_cut_off_keeps_its_whole_inferences() -> None:
    text = golden("onnxruntime")["trace"]
    events = _onnxruntime_profile.events_of(text[: len(text) - 500])
    whole = _onnxruntime_profile.kernels_ns(_onnxruntime_profile.events_of(text), skip=1)
    cut = _onnxruntime_profile.kernels_ns(events, skip=1)
    assert list(cut) == list(whole)
    assert {len(samples) for samples in whole.values()} == {2}
    assert {len(samples) for samples in cut.values()} == {1}
    with pytest.raises(BadProfile, match="no events"):
        _onnxruntime_profile.events_of("[")
    with pytest.raises(BadProfile, match="no whole inference"):
        _onnxruntime_profile.kernels_ns(events, skip=99)


def test_keys_that_nobody_knows_are_passed_over() -> None:
    events = json.loads(golden("onnxruntime")["trace"])
    changed = [{**e, "novel": {"a": [1]}, "tts": 5} for e in events]
    changed += [{"name": "strange_kernel_time"}, {"cat": "Node"}, {"cat": "Node", "name": None}, 7]
    assert of_onnxruntime(json.dumps(changed)) == of_onnxruntime()


@given(st.text(max_size=60))
def test_nonsense_is_no_profile(text: str) -> None:
    with pytest.raises(BadProfile):
        _onnxruntime_profile.kernels_ns(_onnxruntime_profile.events_of(text), skip=0)


@given(
    cold=st.integers(0, 5_000),
    warm=st.lists(st.integers(0, 400), min_size=20, max_size=60),
    before=st.integers(1, 10),
)
def test_the_cold_run_is_taken_out_of_openvinos_means(
    cold: int, warm: list[int], before: int
) -> None:
    """Counters are means cut off to microseconds: the rest is right to the reading's coarseness."""
    times = [cold, *warm]
    readings = [{"a": ("Conv", 1e3 * (sum(times[:n]) // n))} for n in (before, len(times))]
    found = _openvino_profile.since(readings[0], before, readings[1], len(times))["a"]
    count = len(times) - before
    true_ns = 1e3 * sum(times[before:]) / count
    assert abs(found - true_ns) <= 1e3 * (len(times) + before) / 2 / count + 1e-6


def test_counters_without_operators_are_no_profile() -> None:
    with pytest.raises(BadProfile, match="no operator"):
        _openvino_profile.since({}, 1, {}, 3)


def test_inferences_with_different_operators_are_no_profile() -> None:
    runs = [[tuple(e) for e in r] for r in golden("litert")["runs"]]
    with pytest.raises(BadProfile, match="the same operators"):
        _litert_profile.executed([runs[0], runs[1][:-3]], [])
    with pytest.raises(BadProfile, match="no whole inference"):
        _executorch_profile.times_of([[]], [], warmup=0)
    with pytest.raises(BadProfile, match="same kernels"):
        _torch_profile.kernels_of([("a", 1.0), ("b", 1.0), ("a", 1.0)], [], [], 2, [0, 1])


def test_litert_events_of_another_layout_are_refused() -> None:
    event = _litert_profile.EVENT
    good = event.pack(7, 8, 0, 100, 25, *[0] * 6, 3, 0, 0, 0)
    assert _litert_profile.read(good * 2, 2) == [(7, 8, 25)] * 2
    with pytest.raises(BadProfile, match="does not know"):
        _litert_profile.read(good[:8] + struct.pack("<i", 77) + good[12:], 1)
    with pytest.raises(BadProfile, match="cut off"):
        _litert_profile.read(good, 2)


# What is known of the others --------------------------------------------------------------------


def test_kernels_of_torchs_compiler_have_the_operators_that_it_noted() -> None:
    notes = {
        "postToPre": {"mm": ["linear"], "mul": ["gelu"], "erf": ["gelu"], "add": ["add"]},
        "cppCodeToPost": {
            "cpp_fused_add_2:3": ["add", "mul", "mm"],
            "library_mm:1": ["mm"],
            "cpp_fused_gelu_1:2": ["mul", "erf", "mm"],
        },
    }
    kernels = _inductor_kernels.in_order(notes)
    assert kernels == [
        ("library_mm", ["linear"]),
        ("cpp_fused_gelu_1", ["gelu"]),
        ("cpp_fused_add_2", ["add"]),
    ]
    sources = [
        Source("linear", "aten.linear.default", ("x",), ("linear",), ("fc",)),
        Source("gelu", "aten.gelu.default", ("linear",), ("gelu",), ("act",)),
        Source("add", "aten.add.Tensor", ("gelu", "x"), ("add",), ("(network)",)),
    ]
    timed = [
        ("library_mm", 30.0),
        ("graph_0_cpp_fused_gelu_1", 10.0),
        ("graph_0_cpp_fused_add_2", 5.0),
    ]
    found = _torch_profile.kernels_of([*timed, *timed], kernels, sources, 2, [0, 1])
    assert [(e.sources, e.time_ns) for e in found] == [
        (("linear",), 30.0),
        (("gelu",), 10.0),
        (("add",), 5.0),
    ]


@pytest.mark.parametrize(
    ("layer", "nodes"),
    [
        ("node_a + node_b", ("node_a", "node_b")),
        ("node_a || node_b", ("node_a", "node_b")),
        ("PWN(PWN(node_a), node_b)", ("node_a", "node_b")),
        ("{node_a}", ("node_a",)),
        ("", ()),
    ],
)
def test_layers_of_tensorrt_list_their_nodes(layer: str, nodes: tuple[str, ...]) -> None:
    assert _tensorrt_profile.names_in(layer) == nodes


def test_layers_of_tensorrt_become_rows() -> None:
    sources = [Source("a", "Conv", ("x",), ("t",), ("stem",)), Source("b", "Relu", ("t",), ("u",))]
    layers = [
        _tensorrt_profile.Layer("a + b", "kgen", (), 250),
        _tensorrt_profile.Layer("Reformatting CopyNode", "Reformat", (), 50),
    ]
    times = _tensorrt_profile.times_of(layers, sources, 400)
    assert [(e.sources, e.time_ns) for e in times.executed] == [(("a", "b"), 250), ((), 50)]
    assert times.between_ns == 100


def test_a_plan_of_core_ml_is_shares_of_the_latency_and_says_so() -> None:
    def operator(kind: str, name: str) -> Any:
        return SimpleNamespace(operator_name=kind, outputs=[SimpleNamespace(name=name)], inputs={})

    weighed = [
        (operator("ios17.conv", "conv2d_cast_fp16"), 0.3),
        (operator("ios17.relu", "z"), 0.1),
    ]
    sources = [Source("conv2d", "aten.conv2d.default", ("x",), ("conv2d",), ("stem",))]
    times = _coreml_profile.times_of(weighed, sources, 1_000)
    assert [round(e.time_ns) for e in times.executed] == [750, 250]
    assert {e.attribution for e in times.executed} == {"plan-estimate"}
    assert times.executed[0].sources == ("conv2d",)
    with pytest.raises(BadProfile, match="weight"):
        _coreml_profile.times_of([], [], 1_000)


# The join ---------------------------------------------------------------------------------------


def chain(*kinds: str) -> list[Source]:
    return [
        Source(f"n{i}", kind, (f"t{i}",), (f"t{i + 1}",), (f"m.{i}",))
        for i, kind in enumerate(kinds)
    ]


def test_names_are_found_by_tensor_by_suffix_and_by_reach() -> None:
    sources = chain("Conv", "Relu", "LayerNormalization", "MatMul", "Add")
    compiled = [
        Compiled("t2_nchwc", "Conv", ("t2_nchwc",)),
        Compiled("MVN_7", "MVN", ("MVN_7",), ("t2_nchwc",)),
        Compiled("n4/Fused", "Gemm", ("n4/Fused",), ("MVN_7",)),
    ]
    found = trace(compiled, sources)
    assert found["t2_nchwc"].sources == ("n0", "n1")
    assert found["MVN_7"].sources == ("n2",)
    assert found["n4/Fused"].sources == ("n3", "n4")


def test_one_operator_that_became_two_belongs_to_both() -> None:
    sources = chain("Conv", "HardSwish", "MatMul")
    compiled = [
        Compiled("n0", "Conv", ("n0",)),
        Compiled("h", "HardSigmoid", (), ("n0",)),
        Compiled("p", "Mul", ("t2",), ("n0", "h")),
        Compiled("n2", "MatMul", ("n2",), ("p",)),
    ]
    found = trace(compiled, sources)
    assert found["h"].sources == found["p"].sources == ("n1",)


def test_what_was_computed_beforehand_is_no_member() -> None:
    folded = Source("shape", "Shape", (), ("s",), ("m",))
    sources = [folded, Source("r", "Reshape", ("x", "s"), ("y",), ("m",))]
    assert trace([Compiled("r", "Reshape", ("r",))], sources)["r"].sources == ("r",)


@given(
    st.lists(st.sampled_from(("Conv", "Relu", "MatMul", "Reshape", "Add")), max_size=12), st.data()
)
def test_nothing_is_lost_or_made_up(kinds: list[str], data: st.DataObject) -> None:
    """Whatever a compiler drops, every source operator ends in at most its neighbours' rows."""
    sources = chain(*kinds)
    kept = [s for s in sources if data.draw(st.booleans())]
    compiled = [
        Compiled(s.name, s.operator, (s.name,), (kept[i - 1].name,) if i else ())
        for i, s in enumerate(kept)
    ]
    found = trace(compiled, sources)
    members = [m for traced in found.values() for m in traced.sources]
    assert len(members) == len(set(members))
    last = max((sources.index(s) for s in kept), default=-1)
    assert sorted(members, key=lambda n: int(n[1:])) == [s.name for s in sources[: last + 1]]


@given(st.lists(st.sampled_from(("Convolution", "Add", "Softmax", "Transpose")), max_size=15))
def test_kernels_in_the_networks_order_are_matched_all(kinds: list[str]) -> None:
    sources = chain(*kinds)
    assert claims_in_order(kinds, sources) == [(s.name,) for s in sources]


def test_a_normalisation_behind_a_linear_layer_is_a_depthwise_convolution_to_xnnpack() -> None:
    """As in LeViT; one behind a convolution was folded into it, as in MobileNetV2."""
    linear = [
        Source("linear", "aten.linear.default"),
        Source("view", "aten.view_copy.default"),
        Source("norm", "aten._native_batch_norm_legit_no_training.default"),
        Source("back", "aten.view_copy.default"),
        Source("next", "aten.linear.default"),
    ]
    kernels = [
        "Fully Connected", "Static Reshape", "Transpose", DEPTHWISE, "Static Reshape",
        "Fully Connected",
    ]  # fmt: skip
    found = claims_in_order(kernels, linear)
    assert found == [("linear",), ("view",), (), ("norm",), ("back",), ("next",)]
    norm = "aten._native_batch_norm_legit_no_training.default"
    folded = [
        Source("wide", "aten.convolution.default"),
        Source("wide_norm", norm),
        Source("deep", "aten.convolution.default"),
        Source("deep_norm", norm),
        Source("narrow", "aten.convolution.default"),
    ]
    kernels = ["Convolution", DEPTHWISE, "Convolution"]
    assert claims_in_order(kernels, folded) == [("wide",), ("deep",), ("narrow",)]


@pytest.mark.parametrize(
    ("tensor", "modules"),
    [
        ("a.b.Net/a.b.Stage_stages.0/torch.nn.Conv2d_conv1;#3", ("stages.0.conv1",)),
        ("a.b.Net/c.Norm_bn;;a.b.Net/c.Conv2d_conv;2#1", ("conv", "bn")),
        ("a.b.Net;#1", ("(network)",)),
        ("serving_default_args_0#0", ()),
        ("", ()),
    ],
)
def test_modules_are_read_from_litert_tensors(tensor: str, modules: tuple[str, ...]) -> None:
    assert _litert_file.modules_of(tensor)[0] == modules


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("/Relu", ""),
        ("Conv_0", ""),
        ("/a/b/Add", "a.b"),
    ],
)
def test_the_older_exporters_names_are_paths(name: str, path: str) -> None:
    assert _sources._from_name(name) == path
