from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest
import torch

from benchmarks.spaces.mobilenet import NAMED, SPACE
from benchmarks.timm_library import timm
from profiler.errors import BadArchitecture, UnknownName
from profiler.export_job import randomize
from tests.rebuilding import block_shapes_are_right, build, copy_in_order, difference

V2 = NAMED["mobilenetv2_100"]


def test_the_space_is_sound() -> None:
    SPACE.inspect()


@pytest.mark.parametrize("name", NAMED)
def test_a_released_network_rebuilt_from_its_rows_is_timms(name: str) -> None:
    assert difference(SPACE, name) < 1e-5


def test_mobilenetv2_reads_the_rows_of_its_published_blocks() -> None:
    assert SPACE.rows(SPACE.parse("mobilenetv2_100")) == (
        "stem/112/relu6/32",
        "separable/112/relu6/32-16",
        "ir/56/k3-s2-se0-relu6/16-24-6",
        "residual/56/k3-se0-relu6/24-6",
        "ir/28/k3-s2-se0-relu6/24-32-6",
        *["residual/28/k3-se0-relu6/32-6"] * 2,
        "ir/14/k3-s2-se0-relu6/32-64-6",
        *["residual/14/k3-se0-relu6/64-6"] * 3,
        "ir/14/k3-s1-se0-relu6/64-96-6",
        *["residual/14/k3-se0-relu6/96-6"] * 2,
        "ir/7/k3-s2-se0-relu6/96-160-6",
        *["residual/7/k3-se0-relu6/160-6"] * 2,
        "ir/7/k3-s1-se0-relu6/160-320-6",
        "head_conv/7/relu6/320-1280",
        "classifier/7/1280",
    )


def test_each_block_has_a_kernel_and_an_expansion_of_its_own_and_its_stages_activation() -> None:
    text = (
        V2.replace("/0-0-0-0-0-0/0-0-0-0-0-0/", "/0-0-0-1-0-0/0-0-0-1-0-1/")
        .replace("/3-3/3-3-3/3-3-3-3/3-3-3/", "/3-3/3-3-3/3-3-3-3/5-7-3/")
        .replace("/6-6-6-6/6-6-6/", "/6-6-6-6/3-4-6/")
    )
    rows = SPACE.rows(SPACE.parse(text))
    assert rows[11:14] == (
        "ir/14/k5-s1-se1-hardswish/64-96-3",
        "residual/14/k7-se1-hardswish/96-4",
        "residual/14/k3-se1-hardswish/96-6",
    )
    assert rows[0] == "stem/112/relu6/32"
    assert rows[-2] == "head_conv/7/hardswish/320-1280"


def test_the_space_has_the_rows_that_its_envelope_asks_for() -> None:
    widths = [len(SPACE.fields[f"widths{n}"]) for n in range(1, 7)]
    pairs = zip([len(SPACE.fields["separable"]), *widths], widths, strict=False)
    choices = 3 * 3 * 2 * 2
    assert Counter(k.partition("/")[0] for k in SPACE.keys) == {
        "stem": 5 * 2,
        "separable": 5 * 3 * 2,
        "ir": sum(a * b for a, b in pairs) * choices,
        "residual": sum(widths) * choices,
        "head_conv": 8 * 8 * 2,
        "classifier": 8,
    }


def test_inverted_residuals_that_keep_their_shape_are_rows_of_their_own() -> None:
    for key in SPACE.keys:
        family = key.partition("/")[0]
        if family in ("ir", "residual"):
            assert SPACE.block(key).repeats == (family == "residual"), key


def test_every_row_that_a_random_network_reads_is_a_row_of_the_space() -> None:
    every = set(SPACE.keys)
    for architecture in SPACE.draw(random.Random(3), 200):
        values = SPACE.values(architecture)
        rows = SPACE.rows(architecture)
        assert set(rows) <= every
        assert SPACE.parse(SPACE.text(architecture)) == architecture
        families = Counter(r.partition("/")[0] for r in rows)
        assert families["ir"] == 6
        assert families["residual"] == sum(values[f"depths{n}"] for n in range(1, 7)) - 6


def test_a_part_is_tried_with_few_values() -> None:
    sizes = [math.prod(len(SPACE.fields[f]) for f in part.fields) for part in SPACE.parts]
    assert sum(sizes) < 50_000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("mobilenetv2_035", "not an architecture"),
        (V2.replace("32/16/", "30/16/"), "stem=30"),
        (V2.replace("/16/24", "/12/24"), "separable=12"),
        (V2.replace("-96-160-", "-88-160-"), "widths4=88"),
        (V2.replace("/1280/", "/1281/"), "head=1281"),
        (V2.replace("/2-3-4-3-3-1/", "/2-3-4-3-3-0/"), "kernels6 has 1 of 0"),
        (V2.replace("/0-0-0-0-0-0/", "/0-0-0-2-0-0/", 1), "se4=2"),
        (V2.replace("0-0/3-3/", "3-0/3-3/"), "hs5=3"),
        (V2.replace("/3-3-3-3/", "/3-9-3-3/"), "kernels3_2=9"),
        (V2.replace("/6-6-6-6/", "/6-6-6-6-6/"), "expansions3"),
        (V2.replace("/6-6-6-6/", "/6-6-6-2.5/"), "expansions3_4=2.5"),
    ],
)
def test_an_architecture_outside_the_space_is_refused_and_its_field_named(
    text: str, word: str
) -> None:
    with pytest.raises(BadArchitecture, match=word):
        SPACE.parse(text)


@pytest.mark.parametrize(
    "key",
    [
        "ir/56/k3-s2-se0-relu6/16-24",
        "ir/56/k4-s2-se0-relu6/16-24-6",
        "ir/56/k3-s2-se0-relu/16-24-6",
        "ir/55/k3-s2-se0-relu6/16-24-6",
        "residual/28/k3-s1-se0-relu6/32-6",
        "classifier/7/0",
        "ffn/28/48-4",
        "stem",
        "",
    ],
)
def test_a_key_of_another_form_has_no_block(key: str) -> None:
    with pytest.raises(UnknownName):
        SPACE.block(key)


@pytest.mark.parametrize(
    "key",
    [
        "stem/112/hardswish/24",
        "separable/112/relu6/24-24",
        "ir/28/k5-s2-se1-hardswish/24-48-4",
        "ir/14/k7-s1-se0-relu6/72-104-3",
        "residual/7/k7-se1-relu6/128-3",
        "head_conv/7/hardswish/256-1024",
        "classifier/7/1152",
    ],
)
def test_a_block_takes_and_gives_what_the_space_says(key: str) -> None:
    block_shapes_are_right(SPACE, key)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("residual/14/k3-se1-hardswish/112-6", (4, 1)),
        ("ir/7/k5-s2-se1-hardswish/112-160-6", (5, 0)),
    ],
)
def test_squeeze_and_excitation_and_hard_swish_are_mobilenetv3s(
    key: str, place: tuple[int, int]
) -> None:
    real: Any = timm().create_model("mobilenetv3_large_100", pretrained=False).eval()
    theirs = real.blocks[place[0]][place[1]]
    model = build(SPACE.block(key).workload)
    assert str(model.module) == str(theirs)
    randomize(theirs)
    copy_in_order(theirs, model.module)
    with torch.inference_mode():
        expected, found = theirs(*model.inputs), model.module(*model.inputs)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_a_released_network_is_timms_however_it_is_written() -> None:
    for text in ("mobilenetv2_100", "MobileNetV2_100", V2):
        found = SPACE.network(text)
        assert found is not None
        assert found.parameters["name"] == "mobilenetv2_100"
    assert SPACE.network(V2.replace("/1280/", "/1792/")) is None


def test_the_separable_block_has_no_shortcut_even_where_it_could() -> None:
    for key in ("separable/112/relu6/24-24", "separable/112/relu6/32-24"):
        assert not build(SPACE.block(key).workload).module.has_skip
    assert build(SPACE.block("residual/56/k3-se0-relu6/24-6").workload).module.has_skip
