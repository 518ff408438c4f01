from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from benchmarks.spaces.efficientformerv2 import NAMED, SPACE
from profiler.errors import BadArchitecture, UnknownName
from tests.rebuilding import block_shapes_are_right, difference, rebuild

S0 = "32-48-96-176/2-2-6-4/2-2/4-4/4-4/4-3-3-3-4-4/4-3-3-4"


def test_the_space_is_sound() -> None:
    SPACE.inspect()


@pytest.mark.parametrize("name", NAMED)
def test_a_released_network_rebuilt_from_its_rows_is_timms(name: str) -> None:
    assert difference(SPACE, name) < 1e-5


def test_s0_reads_the_rows_of_its_published_blocks() -> None:
    assert SPACE.rows(SPACE.parse("s0")) == (
        "stem/32",
        "ffn/56/32-4",
        "ffn/56/32-4",
        "embedding/28/32-48",
        "ffn/28/48-4",
        "ffn/28/48-4",
        "embedding/14/48-96",
        "ffn/14/96-4",
        "ffn/14/96-3",
        "ffn/14/96-3",
        "ffn/14/96-3",
        "attention/14/96",
        "ffn/14/96-4",
        "attention/14/96",
        "ffn/14/96-4",
        "attention_downsample/7/96-176",
        "ffn/7/176-4",
        "ffn/7/176-3",
        "attention/7/176",
        "ffn/7/176-3",
        "attention/7/176",
        "ffn/7/176-4",
        "head/176",
    )


def test_the_space_has_the_rows_that_its_envelope_asks_for() -> None:
    assert Counter(k.partition("/")[0] for k in SPACE.keys) == {
        "stem": 5,
        "ffn": (5 + 9 + 19 + 35) * 7,
        "attention": 19 + 35,
        "embedding": 5 * 9 + 9 * 19,
        "attention_downsample": 19 * 35,
        "head": 35,
    }


def test_every_row_that_a_random_network_reads_is_a_row_of_the_space() -> None:
    every = set(SPACE.keys)
    for architecture in SPACE.draw(random.Random(3), 200):
        values = SPACE.values(architecture)
        rows = SPACE.rows(architecture)
        assert set(rows) <= every
        assert SPACE.parse(SPACE.text(architecture)) == architecture
        families = Counter(r.partition("/")[0] for r in rows)
        assert families["ffn"] == sum(values[f"depths{n}"] for n in range(1, 5))
        assert families["attention"] == values["attention1"] + values["attention2"]


def test_a_part_is_tried_with_few_values() -> None:
    sizes = [math.prod(len(SPACE.fields[f]) for f in part.fields) for part in SPACE.parts]
    assert sum(sizes) < 100_000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("s3", "not an architecture"),
        (S0.replace("32-48", "36-48"), "widths1=36"),
        (S0.replace("-176/", "-408/"), "widths4=408"),
        (S0.replace("2-2-6-4/", "1-2-6-4/"), "expansions1 has 2 of 1"),
        (S0.replace("2-2-6-4/2-2/4-4/", "1-2-6-4/2-2/4/"), "depths1=1"),
        (S0.replace("/2-2/4", "/2-7/4"), "attention2=7"),
        (S0.replace("/2-2/4", "/2-5/4"), "attention2 is 5, depths4 has only 4"),
        (S0.replace("/4-3-3-3-4-4", "/4-3-3-3-4-4.5"), "expansions3_6=4.5"),
        (S0.replace("/4-3-3-3-4-4", "/4-3-3-3-4"), "expansions3 has 5 of 6"),
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
        "ffn/28/48-4.0",
        "ffn/29/48-4",
        "attention/28/48",
        "stem/0",
        "stem/٣٢",
        "mb4d/7/8",
        "head",
        "",
    ],
)
def test_a_key_of_another_form_has_no_block(key: str) -> None:
    with pytest.raises(UnknownName):
        SPACE.block(key)


@pytest.mark.parametrize(
    "key",
    [
        "stem/16",
        "embedding/28/16-32",
        "embedding/14/40-64",
        "ffn/56/24-1.5",
        "attention/14/72",
        "attention/7/136",
        "attention_downsample/7/72-136",
        "head/136",
    ],
)
def test_a_block_takes_and_gives_what_the_space_says(key: str) -> None:
    block_shapes_are_right(SPACE, key)


def test_an_expansion_between_whole_numbers_has_its_hidden_channels() -> None:
    text = S0.replace("/4-3-3-3-4-4", "/1-1.5-2-2.5-3.5-4")
    modules = rebuild(SPACE, SPACE.parse(text)).rows
    hidden = [m.mlp.fc1.conv.out_channels for m in modules if hasattr(m, "mlp")]
    assert hidden[4:10] == [96, 144, 192, 240, 336, 384]


def test_attention_is_found_among_a_feed_forward_and_itself() -> None:
    assert SPACE.unit("attention/14/96") == ("attention/14/96", "ffn/14/96-4")
    assert SPACE.unit("ffn/14/96-3") == ("ffn/14/96-3",)


def test_a_released_network_is_timms_however_it_is_written() -> None:
    for text in ("s0", "S0", "efficientformerv2_s0", S0):
        found = SPACE.network(text)
        assert found is not None
        assert found.parameters["name"] == "efficientformerv2_s0"
    assert SPACE.network(S0.replace("/2-2/", "/2-1/")) is None
