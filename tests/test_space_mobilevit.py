from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch

from benchmarks.blocks import anchors
from benchmarks.spaces.mobilevit import NAMED, SPACE
from profiler.errors import BadArchitecture, UnknownName
from tests.rebuilding import block_shapes_are_right, build, difference, with_batch

XXS = NAMED["xxs"]


def test_the_space_is_sound() -> None:
    SPACE.inspect()


@pytest.mark.parametrize("name", NAMED)
def test_a_released_network_rebuilt_from_its_rows_is_timms(name: str) -> None:
    assert difference(SPACE, name) < 1e-5


def test_xxs_reads_the_rows_of_its_published_blocks() -> None:
    assert SPACE.rows(SPACE.parse("xxs")) == (
        "stem/128/16",
        "residual/128/16-2",
        "ir/64/s2/16-24-2",
        *["residual/64/24-2"] * 2,
        "ir/32/s2/24-48-2",
        "unfold/32/48-64",
        *["transformer/256/48-64"] * 2,
        "fold/32/48-64",
        "ir/16/s2/48-64-2",
        "unfold/16/64-80",
        *["transformer/64/64-80"] * 4,
        "fold/16/64-80",
        "ir/8/s2/64-80-2",
        "unfold/8/80-96",
        *["transformer/16/80-96"] * 3,
        "fold/8/80-96",
        "head_conv/8/80",
        "classifier/8/320",
    )


def test_the_first_block_has_a_shortcut_where_it_keeps_the_stems_width() -> None:
    wide = SPACE.rows(SPACE.parse(XXS.replace("16-24-48", "24-24-48", 1)))
    assert wide[1:3] == ("ir/128/s1/16-24-2", "ir/64/s2/24-24-2")


def test_the_space_has_the_rows_that_its_envelope_asks_for() -> None:
    blocks = 4 * 6 + 5 * 9 + 6 * 10
    assert Counter(k.partition("/")[0] for k in SPACE.keys) == {
        "stem": 1,
        "ir": (2 + 3 * 6 + 6 * 4 + 4 * 5 + 5 * 6) * 3,
        "residual": (3 + 6 + 4 + 5 + 6) * 3,
        "unfold": blocks,
        "transformer": blocks,
        "fold": blocks,
        "head_conv": 6,
        "classifier": 6,
    }


def test_every_row_that_a_random_network_reads_is_a_row_of_the_space() -> None:
    every = set(SPACE.keys)
    for architecture in SPACE.draw(random.Random(3), 200):
        values = SPACE.values(architecture)
        rows = SPACE.rows(architecture)
        assert set(rows) <= every
        assert SPACE.parse(SPACE.text(architecture)) == architecture
        families = Counter(r.partition("/")[0] for r in rows)
        assert families["ir"] + families["residual"] == sum(
            values[f"depths{n}"] for n in range(1, 6)
        )
        assert families["transformer"] == sum(values[f"layers{n}"] for n in range(1, 4))
        assert families["unfold"] == families["fold"] == 3


def test_a_part_is_tried_with_few_values() -> None:
    sizes = [math.prod(len(SPACE.fields[f]) for f in part.fields) for part in SPACE.parts]
    assert sum(sizes) < 10_000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("l", "not an architecture"),
        (XXS.replace("16-24", "20-24", 1), "widths1=20"),
        (XXS.replace("-80/64", "-84/64"), "widths5=84"),
        (XXS.replace("/64-80-96/", "/64-88-96/"), "dims2=88"),
        (XXS.replace("/64-80-96/", "/64-80/"), "dims has 2 of 3"),
        (XXS.replace("/1-3-1-1-1/", "/1-3-1-1-0/"), "depths5=0"),
        (XXS.replace("/2-4-3/", "/2-4-9/"), "layers3=9"),
        (XXS.removesuffix("/2") + "/6", "expansion=6"),
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
        "ir/64/16-24-2",
        "ir/64/s3/16-24-2",
        "residual/60/24-2",
        "transformer/255/48-64",
        "unfold/32/48",
        "classifier/8/0",
        "mb4d/28/48",
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
        "stem/128/16",
        "ir/128/s1/16-24-3",
        "ir/16/s2/48-80-2",
        "residual/32/64-3",
        "unfold/16/64-112",
        "transformer/64/64-112",
        "fold/16/64-112",
        "head_conv/8/112",
        "classifier/8/448",
    ],
)
def test_a_block_takes_and_gives_what_the_space_says(key: str) -> None:
    block_shapes_are_right(SPACE, key)


def test_a_transformer_changes_the_tokens_and_lets_the_map_pass() -> None:
    model = build(SPACE.block("transformer/16/80-96").workload)
    image, tokens = model.inputs
    with torch.inference_mode():
        passed, changed = model.module(image, tokens)
    assert torch.equal(passed, image)
    assert not torch.allclose(changed, tokens, atol=0.01)


def test_an_anchor_gives_the_map_and_the_tokens_that_a_transformer_takes() -> None:
    takes = SPACE.block("transformer/16/80-96").takes
    model = anchors.anchor(takes)
    with torch.inference_mode():
        given = model.module(*model.inputs)
    assert [tuple(x.shape) for x in given] == [with_batch(s) for s in takes]


def test_a_released_network_is_timms_however_it_is_written() -> None:
    for text in ("xxs", "MobileViT_XXS", XXS):
        found = SPACE.network(text)
        assert found is not None
        assert found.parameters["name"] == "mobilevit_xxs"
    assert SPACE.network(XXS.replace("/2-4-3/", "/2-4-2/")) is None
