"""How large the networks are within which a chain is timed, and how often it is."""

from __future__ import annotations

import pytest

from profiler import spaces
from profiler.tables import circles
from profiler.tables import plan as planning
from profiler.tables.networks import BRIEF, PROTOCOL, for_many
from profiler.tables.plan import Chain

SIZES = {"narrow/16": 1 << 20, "wide/64": 1 << 24, "head": 1 << 18}
NETWORKS = [("narrow/16", "head"), ("wide/64", "wide/64", "head"), ("wide/64", "narrow/16", "head")]


def chain(*counted: str, inside: bool = True) -> Chain:
    return Chain(("anchor/1", *counted), "anchor/1>x", counted, inside)


def test_a_row_of_large_networks_is_timed_within_a_larger_circle() -> None:
    chains = {"narrow": chain("narrow/16"), "wide": chain("wide/64", "wide/64")}
    found = circles.within(chains, NETWORKS, SIZES)
    # Narrow rows occur in a network of 1.25 MiB and one of 17.25; wide ones in 17.25 and 32.25.
    assert found["narrow"] == circles.rounded((1.25 + 17.25) / 2 * 2**20) == 2**23
    assert found["wide"] == circles.rounded((17.25 + 32.25) / 2 * 2**20) == round(2**24.5)


def test_a_chain_at_a_networks_input_is_not_timed_in_a_circle() -> None:
    chains = {"stem": chain("narrow/16", inside=False), "body": chain("narrow/16")}
    assert set(circles.within(chains, NETWORKS, SIZES)) == {"body"}


def test_a_row_that_no_drawn_network_has_goes_by_the_middle_of_all() -> None:
    found = circles.within({"rare": chain("rare/8")}, NETWORKS, SIZES)
    rows = circles.within({k: chain(k) for k in SIZES}, NETWORKS, SIZES)
    assert found["rare"] == sorted(rows.values())[1]


def test_sizes_between_known_rows_are_interpolated() -> None:
    sizes = {"row/16": 1 << 20, "row/64": 1 << 24}
    found = circles.within({"c": chain("row/32")}, [("row/32",)], sizes)
    assert 1 << 21 <= found["c"] <= 1 << 23


def test_without_sizes_a_network_is_taken_to_be_one_of_50_megabytes() -> None:
    found = circles.within({"c": chain("row")}, [("row",)], {})
    assert found == {"c": circles.rounded(circles.NETWORK_BYTES)}


@pytest.mark.parametrize("size", [1, 1000, 49_000_000, 10**10])
def test_rounding_is_by_less_than_a_fifth_and_repeats(size: int) -> None:
    got = circles.rounded(size)
    assert abs(got / size - 1) < 0.2
    assert circles.rounded(got) == got
    assert circles.rounded(0) == 1


def test_of_many_chains_each_is_visited_less_often_in_six_rounds() -> None:
    fewer = for_many(PROTOCOL)
    assert (fewer.min_rounds, fewer.max_rounds) == (6, 6)
    assert 0 < fewer.circles < PROTOCOL.circles
    assert 0 < fewer.passes < PROTOCOL.passes
    brief = for_many(BRIEF)
    assert (brief.passes, brief.circles) == (BRIEF.passes, fewer.circles)


def test_a_chain_between_the_shortest_and_the_longest_is_told_from_them() -> None:
    space = spaces.load("efficientformer")
    for counts, between in ((planning.STRAIGHTNESS, {2}), (planning.SHORT, {2}), ((1, 4), set())):
        chains, _ = planning.chains(space, ["mb4d/14/96"], counts)
        found = {len(c.counted) for c in chains if c.between}
        assert found == between
        assert all(set(c.counted) == {"mb4d/14/96"} for c in chains if c.between)
