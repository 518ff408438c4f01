from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from benchmarks.spaces.efficientformer import SPACE as space
from profiler import plugins, spaces
from profiler.errors import BadArchitecture
from profiler.tables import demo
from profiler.tables import plan as planning
from profiler.tables.estimate import Term, solve
from profiler.tables.interpolation import Interpolation
from profiler.tables.networks import sequence_name
from tests import rebuilding


def test_the_released_networks_are_in_the_space_with_their_published_blocks() -> None:
    l1 = Counter(space.rows(space.parse("l1")))
    assert l1 == Counter(
        {
            "stem/48": 1,
            "mb4d/56/48": 3,
            "embedding/28/48-96": 1,
            "mb4d/28/96": 2,
            "embedding/14/96-224": 1,
            "mb4d/14/224": 6,
            "embedding/7/224-448": 1,
            "mb4d/7/448": 3,
            "flat/7/448": 1,
            "mb3d/49/448": 1,
            "head/448": 1,
        }
    )
    l7 = Counter(space.rows(space.parse("efficientformer_l7")))
    assert l7["mb3d/49/768"] == 8
    assert "mb4d/7/768" not in l7
    assert [k for k in space.rows(space.parse("l7")) if "flat" in k] == ["flat/7/768"]


def test_mb3d_may_reach_into_the_third_stage_and_tokens_are_folded_back() -> None:
    rows = space.rows(space.parse("48-96-224-448/1-1-3-2/4"))
    assert rows[4:] == (
        "embedding/14/96-224",
        "mb4d/14/224",
        "flat/14/224",
        "mb3d/196/224",
        "mb3d/196/224",
        "embedding_from_tokens/7/224-448",
        "flat/7/448",
        "mb3d/49/448",
        "mb3d/49/448",
        "head/448",
    )


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("l2", "not an architecture"),
        ("40-96-224-448/3-2-6-4/1", "widths1=40"),
        ("48-96-224-1024/3-2-6-4/1", "widths4=1024"),
        ("48-96-224-448/0-2-6-4/1", "depths1=0"),
        ("48-96-224-448/3-2-6-4/0", "mb3d=0"),
        ("48-96-224-448/1-1-1-1/3", "mb3d is 3"),
    ],
)
def test_an_architecture_outside_the_space_is_refused_and_its_field_named(
    text: str, word: str
) -> None:
    with pytest.raises(BadArchitecture, match=word):
        space.rows(space.parse(text))


def test_every_row_that_a_random_network_reads_is_a_row_of_the_space() -> None:
    every = set(space.keys)
    drawn = space.draw(random.Random(3), 300)
    assert len(set(drawn)) == 300
    for architecture in drawn:
        assert set(space.rows(architecture)) <= every
        assert space.parse(space.text(architecture)) == architecture


def test_the_space_has_the_rows_that_its_envelope_asks_for() -> None:
    counts = Counter(k.partition("/")[0] for k in space.keys)
    assert counts["mb4d"] == 79
    assert counts["mb3d"] == 62
    assert counts["stem"] == 6
    assert counts["head"] == 41
    assert counts["embedding"] == 1158


def test_draws_depend_on_the_seed_alone() -> None:
    assert space.draw(random.Random(1), 5) == space.draw(random.Random(1), 5)
    assert space.draw(random.Random(1), 5) != space.draw(random.Random(2), 5)


@pytest.mark.parametrize("every", [1, 4])
def test_a_plan_determines_or_spans_every_row(every: int) -> None:
    chains, rows = planning.chains(space, planning.chosen(space, every))
    known = Interpolation(planted(chains))
    assert set(rows) <= set(space.keys)
    assert not [k for k in space.keys if known.at(k) is None]


def test_the_demonstrations_table_measures_l1_and_predicts_all_narrower_networks() -> None:
    narrow = demo.around(space)
    rows = [*planning.chosen(narrow), *space.rows(space.parse("l1"))]
    known = planted(planning.chains(space, rows)[0])
    between = Interpolation(known)
    assert not [k for k in space.rows(space.parse("l1")) if k not in known]
    for architecture in narrow.draw(random.Random(0), 100):
        assert not [k for k in space.rows(architecture) if between.at(k) is None]


def planted(chains: list[planning.Chain]) -> dict[str, float]:
    """Entries that the chains determine, from latencies made of known ones."""
    generator = random.Random(7)
    names = {k for c in chains for k in c.counted} | {c.scaffold for c in chains}
    truth = {name: generator.uniform(1e4, 1e6) for name in sorted(names)}
    latency = {
        sequence_name(c.blocks): truth[c.scaffold] + sum(truth[k] for k in c.counted)
        for c in chains
    }
    terms = [Term(sequence_name(c.blocks), c.scaffold, c.counted) for c in chains]
    found = solve(latency, terms)
    assert found == pytest.approx(truth, rel=1e-6)
    return {k: found[k] for c in chains for k in c.counted}


@pytest.mark.parametrize("name", plugins.names("benchmarks.spaces"))
def test_what_a_space_reads_is_determined_by_chains_of_blocks_that_fit(name: str) -> None:
    """On a few networks: every row comes out of the chains, and each block fits the next."""
    other = spaces.load(name)
    drawn = other.draw(random.Random(5), 3)
    rows = {k for a in drawn for k in other.rows(a)}
    chains, _ = planning.chains(other, sorted(rows), planning.SLOPE)
    assert rows <= set(planted(chains))
    assert len({c.blocks for c in chains}) == len(chains)
    for chain in chains:
        blocks = [planning.block(other, k) for k in chain.blocks]
        for one, next_one in itertools.pairwise(blocks):
            assert one.gives == next_one.takes, chain.blocks


def test_every_space_is_sound_and_its_rows_are_all_that_it_draws() -> None:
    for name in plugins.names("benchmarks.spaces"):
        other = spaces.load(name)
        other.inspect()
        every = set(other.keys)
        for architecture in other.draw(random.Random(9), 50):
            assert set(other.rows(architecture)) <= every


@pytest.mark.parametrize("name", ["l1", "l3", "l7"])
def test_the_released_networks_are_rebuilt_from_their_rows(name: str) -> None:
    assert rebuilding.difference(space, name) < 1e-4


def test_a_released_network_is_timms_however_it_is_written() -> None:
    for text in ("l1", "L1", "efficientformer_l1", "48-96-224-448/3-2-6-4/1"):
        found = space.network(text)
        assert found is not None
        assert found.parameters["name"] == "efficientformer_l1"
    assert space.network("48-96-224-448/3-2-6-4/2") is None
