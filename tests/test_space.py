from __future__ import annotations

import random
from collections import Counter

import pytest

from benchmarks.spaces import efficientformer as space
from profiler.errors import BadArchitecture
from profiler.tables.estimate import Term, solve
from profiler.tables.interpolation import interpolate
from profiler.tables.networks import sequence_name


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
        ("40-96-224-448/3-2-6-4/1", "width 40 of stage 1"),
        ("48-96-224-1024/3-2-6-4/1", "width 1024 of stage 4"),
        ("48-96-224-448/0-2-6-4/1", "depth 0 of stage 1"),
        ("48-96-224-448/3-2-6-4/0", "0 MB3D"),
        ("48-96-224-448/1-1-1-1/3", "3 MB3D"),
    ],
)
def test_an_architecture_outside_the_space_is_refused_and_its_field_named(
    text: str, word: str
) -> None:
    with pytest.raises(BadArchitecture, match=word):
        space.rows(space.parse(text))


def test_every_row_that_a_random_network_reads_is_a_row_of_the_space() -> None:
    every = set(space.keys())
    drawn = space.draw(random.Random(3), 300)
    assert len(set(drawn)) == 300
    for architecture in drawn:
        assert set(space.rows(architecture)) <= every
        assert space.parse(str(architecture)) == architecture


def test_the_space_has_the_rows_that_its_envelope_asks_for() -> None:
    counts = Counter(k.partition("/")[0] for k in list(space.keys()))
    assert counts["mb4d"] == 79
    assert counts["mb3d"] == 62
    assert counts["stem"] == 6
    assert counts["head"] == 41
    assert counts["embedding"] == 1158


def test_draws_depend_on_the_seed_alone() -> None:
    assert space.draw(random.Random(1), 5) == space.draw(random.Random(1), 5)
    assert space.draw(random.Random(1), 5) != space.draw(random.Random(2), 5)


@pytest.mark.parametrize("grid", [space.full_grid(), space.full_grid(4)], ids=["all", "every 4th"])
def test_a_full_grid_determines_or_spans_every_row(grid: space.Grid) -> None:
    chains = space.chains(grid)
    known = planted(chains)
    missing = [k for k in list(space.keys()) if k not in known and interpolate(k, known) is None]
    assert not missing


def test_the_reduced_grid_predicts_l1_and_all_narrower_networks() -> None:
    largest = space.parse("l1")
    known = planted(space.chains(space.reduced_grid(largest)))
    for key in space.rows(largest):
        assert key in known, f"{key} of L1 is not measured"
    for architecture in space.draw(random.Random(0), 100, largest):
        for key in space.rows(architecture):
            assert interpolate(key, known) is not None, key


def planted(chains: list[space.Chain]) -> dict[str, float]:
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


def test_no_two_chains_are_the_same() -> None:
    names = [sequence_name(c.blocks) for c in space.chains(space.full_grid())]
    assert len(names) == len(set(names))


def test_every_block_of_every_chain_has_a_workload() -> None:
    for chain in space.chains(space.full_grid()):
        for key in chain.blocks:
            assert space.workload(key).builder.startswith("benchmarks.blocks.efficientformer:")


def test_a_released_network_is_timms_however_it_is_written() -> None:
    for text in ("l1", "L1", "efficientformer_l1", "48-96-224-448/3-2-6-4/1"):
        found = space.network(text)
        assert found is not None
        assert found.parameters["name"] == "efficientformer_l1"
    assert space.network("48-96-224-448/3-2-6-4/2") is None
