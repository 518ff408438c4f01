from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from benchmarks.models import mobile_former as networks
from benchmarks.spaces.mobile_former import NAMED, SPACE
from profiler.errors import BadArchitecture, UnknownName
from tests.rebuilding import block_shapes_are_right, difference

SMALL = NAMED["52m"]
LARGE = NAMED["151m"]


def test_the_space_is_sound() -> None:
    SPACE.inspect()


def test_every_variant_of_the_network_is_named() -> None:
    assert [f"mobile_former_{name}" for name in NAMED] == networks.names()


@pytest.mark.parametrize("name", NAMED)
def test_a_released_network_rebuilt_from_its_rows_is_the_real_one(name: str) -> None:
    assert difference(SPACE, name) < 1e-5


def test_the_smallest_network_reads_the_rows_of_its_published_blocks() -> None:
    assert SPACE.rows(SPACE.parse("26m")) == (
        "stem/8-3-128",
        "lite_down/g4/8-12-3-3-128",
        "to_former/56/12-3-128",
        "former/56/12-3-128",
        "mobile/56/g4/12-3-3-128",
        "to_mobile/56/12-3-128",
        "to_former/56/12-3-128",
        "former/56/12-3-128",
        "mobile_down/28/g4/12-24-3-128",
        "to_mobile/28/24-3-128",
        "to_former/28/24-3-128",
        "former/28/24-3-128",
        "mobile/28/g4/24-3-3-128",
        "to_mobile/28/24-3-128",
        "to_former/28/24-3-128",
        "former/28/24-3-128",
        "mobile_down/14/g4/24-48-3-128",
        "to_mobile/14/48-3-128",
        "to_former/14/48-3-128",
        "former/14/48-3-128",
        "mobile/14/g4/48-4-3-128",
        "to_mobile/14/48-3-128",
        "to_former/14/48-3-128",
        "former/14/48-3-128",
        "mobile_change/14/g4/48-64-6-3-128",
        "to_mobile/14/64-3-128",
        "to_former/14/64-3-128",
        "former/14/64-3-128",
        "mobile_down/7/g4/64-96-3-128",
        "to_mobile/7/96-3-128",
        "to_former/7/96-3-128",
        "former/7/96-3-128",
        "mobile/7/g4/96-6-3-128",
        "to_mobile/7/96-3-128",
        "to_former/7/96-3-128",
        "pool/g4/96-3-128",
        "classifier/96-1024-3-128",
    )


def test_the_largest_begins_with_a_lite_block_that_keeps_its_shape() -> None:
    rows = SPACE.rows(SPACE.parse("508m"))
    assert rows[:6] == (
        "stem/24-6-192",
        "lite/g1/24-2-6-192",
        "to_former/112/24-6-192",
        "former/112/24-6-192",
        "mobile_down/56/g1/24-40-6-192",
        "to_mobile/56/40-6-192",
    )
    assert SPACE.block(rows[1]).repeats


def test_every_row_that_a_random_network_reads_is_a_row_of_the_space() -> None:
    every = set(SPACE.keys)
    for architecture in SPACE.draw(random.Random(3), 200):
        values = SPACE.values(architecture)
        rows = SPACE.rows(architecture)
        assert set(rows) <= every
        assert SPACE.parse(SPACE.text(architecture)) == architecture
        families = Counter(r.partition("/")[0] for r in rows)
        downs = 3 if values["lite_stride"] == 2 else 4
        blocks = downs + sum(values[f"depths{n}"] for n in range(1, 6))
        assert families["mobile_down"] == downs
        assert families["mobile"] + families["mobile_change"] == blocks - downs
        assert families["former"] == families["to_mobile"] == blocks
        assert families["to_former"] == blocks + 1


def test_a_fourth_width_that_is_the_third_begins_with_a_block_that_repeats() -> None:
    rows = SPACE.rows(SPACE.parse(SMALL.replace("48-64", "64-64")))
    assert "mobile/14/g1/64-6-3-128" in rows
    assert not any(k.startswith("mobile_change") for k in SPACE.keys if "/64-64-" in k)


def test_a_part_is_tried_with_few_values() -> None:
    sizes = [math.prod(len(SPACE.fields[f]) for f in part.fields) for part in SPACE.parts]
    assert sum(sizes) < 50_000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("27m", "not an architecture"),
        (SMALL.replace("3/128/", "5/128/"), "tokens=5"),
        (SMALL.replace("3/128/", "3/130/"), "dimension=130"),
        (SMALL.replace("/128/8/", "/128/9/"), "stem=9"),
        (SMALL.replace("/3/2/1/", "/5/2/1/"), "lite_expansion=5"),
        (SMALL.replace("/3/2/1/", "/3/3/1/"), "lite_stride=3"),
        (SMALL.replace("/3/2/1/", "/3/2/2/"), "groups=2"),
        (SMALL.replace("48-64", "50-64"), "widths3=50"),
        (SMALL.replace("1-1-1-1-1/3/3/4/", "1-1-0-1-1/3/3//"), "depths3=0"),
        (SMALL.replace("1-1-1-1-1", "0-1-1-1-1"), "expansions1 has 1 of 0"),
        (LARGE.replace("6-6/1280", "6/1280"), "expansions5 has 1 of 2"),
        (LARGE.replace("6-6/1280", "6-5/1280"), "expansions5_2=5"),
        (SMALL.replace("1024", "1000"), "features=1000"),
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
        "former/56/12",
        "former/57/12-3-128",
        "mobile/14/48-4-3-128",
        "mobile/14/g3/48-4-3-128",
        "mobile/14/g1/48-1.5-3-128",
        "lite/112/g1/8-2-3-128",
        "stem/0-3-128",
        "stem/٣٢-3-128",
        "pool/g1/96-3-128/",
        "head/96",
        "",
    ],
)
def test_a_key_of_another_form_has_no_block(key: str) -> None:
    with pytest.raises(UnknownName):
        SPACE.block(key)


@pytest.mark.parametrize(
    "key",
    [
        "stem/20-4-192",
        "lite/g4/20-3-4-192",
        "lite_down/g1/12-28-2-6-128",
        "to_former/112/20-4-192",
        "former/28/56-6-128",
        "mobile/28/g4/56-4-6-128",
        "mobile_change/14/g4/80-104-3-6-128",
        "mobile_down/7/g1/104-112-6-128",
        "to_mobile/14/104-3-192",
        "pool/g4/112-3-192",
        "classifier/112-1088-3-192",
    ],
)
def test_a_block_takes_and_gives_what_the_space_says(key: str) -> None:
    assert key in SPACE.keys
    block_shapes_are_right(SPACE, key)


@pytest.mark.parametrize("side", [56, 28, 14, 7])
def test_the_rows_of_a_block_have_the_whole_block_as_their_unit(side: int) -> None:
    place = f"{side}/24-3-128"
    whole = SPACE.unit(f"to_former/{place}")
    families = ["to_former", "former", "mobile", "to_mobile"]
    assert [k.partition("/")[0] for k in whole] == families
    assert all(SPACE.unit(k) == whole for k in whole)
    other = f"mobile/{side}/g4/24-6-3-128"
    assert SPACE.unit(other) == (*whole[:2], other, whole[3])


def test_what_depends_on_learned_tokens_alone_is_measured_from_the_image_on() -> None:
    assert SPACE.unit("to_former/112/24-3-128") == ()
    assert SPACE.unit("former/112/24-3-128") == ()
    assert SPACE.unit("lite/g1/24-2-3-128") == ("lite/g1/24-2-3-128",)


def test_what_a_unit_stands_on_are_rows_of_the_space() -> None:
    every = set(SPACE.keys)
    assert {k for key in SPACE.keys if SPACE.block(key).repeats for k in SPACE.unit(key)} <= every


def test_a_released_network_is_ours_however_it_is_written() -> None:
    for text in ("52m", "52M", "mobile_former_52m", SMALL):
        found = SPACE.network(text)
        assert found is not None
        assert found.parameters["name"] == "mobile_former_52m"
    assert SPACE.network(SMALL.replace("/1024", "/1280")) is None
