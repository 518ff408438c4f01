"""Estimation finds planted latencies again, whatever the processes' speeds and the order."""

import math
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.statistics import median
from profiler.tables.estimate import Term, determine, determined, entries, polish, solve

LEVELS = st.lists(st.floats(1e4, 1e8), min_size=1, max_size=8)
SPEEDS = st.lists(st.floats(0.8, 1.25), min_size=1, max_size=9)
TRUE_NS = {
    "overhead": 20_000.0,
    "front/a": 90_000.0,
    "front/b": 150_000.0,
    "a": 40_000.0,
    "b": 75_000.0,
    "a-b": 12_000.0,
    "stem": 300_000.0,
}
# Slopes of a and b, a difference that shares a slope's scaffold, one behind the overhead.
TERMS = [
    Term("nothing", "overhead", ()),
    Term("front a", "front/a", ("a",)),
    Term("front 4*a", "front/a", ("a",) * 4),
    Term("front b", "front/b", ("b",)),
    Term("front 4*b", "front/b", ("b",) * 4),
    Term("front a a-b b", "front/a", ("a", "a-b", "b")),
    Term("stem a", "overhead", ("stem", "a")),
]


def latencies(terms: Sequence[Term], true_ns: Mapping[str, float] = TRUE_NS) -> dict[str, float]:
    return {t.chain: true_ns[t.scaffold] + sum(true_ns[k] for k in t.counted) for t in terms}


def observe(
    levels: Mapping[str, float], speeds: Sequence[float], noise: float = 0.0, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Every chain in every process: its level, the process's speed, and some noise."""
    generator = random.Random(seed)
    return {
        chain: {f"p{i}": v * s * math.exp(generator.gauss(0, noise)) for i, s in enumerate(speeds)}
        for chain, v in levels.items()
    }


def slowed(
    observed: Mapping[str, Mapping[str, float]], speeds: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    return {c: {p: v * speeds[p] for p, v in rounds.items()} for c, rounds in observed.items()}


def typical(speeds: Sequence[float]) -> float:
    """The speed that counts as 1: the median in logarithms."""
    return math.exp(median([math.log(s) for s in speeds]))


# Polishing ---------------------------------------------------------------------------------------


@given(LEVELS, SPEEDS)
def test_levels_and_speeds_are_found_again(levels: list[float], speeds: list[float]) -> None:
    planted = {f"c{i}": v for i, v in enumerate(levels)}
    found = polish(observe(planted, speeds))
    usual = typical(speeds)
    for chain, level in planted.items():
        assert found.latency_ns[chain] == pytest.approx(level * usual, rel=1e-6)
        assert found.scatter[chain] < 1e-6
    for number, speed in enumerate(speeds):
        assert found.speed[f"p{number}"] == pytest.approx(speed / usual, rel=1e-6)


def test_chains_that_some_processes_lack_are_found_again() -> None:
    generator = random.Random(7)
    levels = {f"c{i}": generator.uniform(1e5, 1e7) for i in range(20)}
    speeds = [generator.uniform(0.9, 1.1) for _ in range(11)]
    observed = observe(levels, speeds)
    for rounds in observed.values():
        for process in generator.sample(sorted(rounds), 2):
            del rounds[process]
    found = polish(observed)
    ratios = [found.latency_ns[c] / v for c, v in levels.items()]
    assert max(ratios) / min(ratios) == pytest.approx(1, abs=1e-6)
    assert median(ratios) == pytest.approx(typical(speeds), rel=1e-6)


def test_two_percent_of_outlying_processes_move_nothing() -> None:
    generator = random.Random(3)
    levels = {f"c{i}": generator.uniform(1e5, 1e7) for i in range(12)}
    observed = observe(levels, [1.0] * 50, noise=0.002)
    clean = polish(observed)
    for rounds in observed.values():
        rounds["p13"] *= generator.uniform(2, 10)
    found = polish(observed)
    for chain in levels:
        assert found.latency_ns[chain] == pytest.approx(clean.latency_ns[chain], rel=2e-4)
        assert found.scatter[chain] < 0.004
    assert found.speed["p13"] > 2


def test_two_percent_of_outlying_rounds_move_nothing() -> None:
    generator = random.Random(4)
    levels = {f"c{i}": generator.uniform(1e5, 1e7) for i in range(20)}
    speeds = [generator.uniform(0.9, 1.1) for _ in range(11)]
    observed = observe(levels, speeds)
    spoiled = generator.sample(sorted(levels), 4)
    for chain, process in zip(spoiled, ("p1", "p4", "p7", "p9"), strict=True):
        observed[chain][process] *= 5
    found = polish(observed)
    for chain, level in levels.items():
        assert found.latency_ns[chain] == pytest.approx(level * typical(speeds), rel=1e-6)


def test_the_scatter_is_the_spread_of_a_chains_own_rounds() -> None:
    levels = {f"c{i}": 1e6 for i in range(30)}
    observed = observe(levels, [1.0] * 60, noise=0.0005)
    generator = random.Random(5)
    observed["noisy"] = {f"p{i}": 1e6 * math.exp(generator.gauss(0, 0.03)) for i in range(60)}
    found = polish(observed)
    assert 0.02 < found.scatter["noisy"] < 0.04
    assert found.scatter["c0"] < 0.001


# Solving -----------------------------------------------------------------------------------------


def test_entries_and_scaffolds_are_found_again() -> None:
    assert solve(latencies(TERMS), TERMS) == pytest.approx(TRUE_NS, rel=1e-9)


@given(st.lists(st.floats(1e2, 1e7), min_size=len(TRUE_NS), max_size=len(TRUE_NS)))
def test_entries_of_any_size_are_found_again(values: list[float]) -> None:
    planted = dict(zip(TRUE_NS, values, strict=True))
    found = solve(latencies(TERMS, planted), TERMS)
    worst = max(latencies(TERMS, planted).values())
    assert found == pytest.approx(planted, rel=1e-6, abs=1e-9 * worst)


def test_a_slope_is_a_third_of_what_three_more_blocks_take() -> None:
    terms = [Term("one", "front", ("x",)), Term("four", "front", ("x",) * 4)]
    found = solve({"one": 150.0, "four": 270.0}, terms)
    assert found == pytest.approx({"x": 40.0, "front": 110.0})


def test_a_difference_is_what_a_block_takes_beyond_the_chain_without_it() -> None:
    terms = [Term("bare", "anchor", ()), Term("more", "anchor", ("flat",))]
    assert solve({"bare": 100.0, "more": 107.0}, terms) == pytest.approx(
        {"anchor": 100.0, "flat": 7.0}
    )


@given(st.permutations(TERMS), st.randoms(use_true_random=False))
def test_neither_the_order_of_chains_nor_of_blocks_matters(
    terms: list[Term], generator: random.Random
) -> None:
    mixed = []
    for term in terms:
        counted = list(term.counted)
        generator.shuffle(counted)
        mixed.append(Term(term.chain, term.scaffold, tuple(counted)))
    noisy = {c: v * generator.uniform(0.99, 1.01) for c, v in sorted(latencies(TERMS).items())}
    more = [*mixed, Term("front 2*a", "front/a", ("a",) * 2)]
    noisy["front 2*a"] = 171_000.0
    straight = [*TERMS, more[-1]]
    assert solve(noisy, more) == pytest.approx(solve(noisy, straight), rel=1e-6)


def test_short_and_long_chains_are_believed_alike_in_percent() -> None:
    """Chains that contradict each other meet in the middle of their shares, not of their ns."""
    terms = [Term("low", "x", ()), Term("high", "x", ())]
    found = solve({"low": 100.0, "high": 200.0}, terms)["x"]
    assert (1 - found / 200) / (found / 100 - 1) == pytest.approx(2)


@pytest.mark.parametrize(
    ("terms", "loose", "sure"),
    [
        ([Term("a", "front", ("x",))], ["front", "x"], []),
        ([Term("a", "front", ("x", "y")), Term("b", "front", ())], ["x", "y"], ["front"]),
        (
            [Term("n", "overhead", ()), Term("a", "front", ("x",)), Term("b", "front", ("x",))],
            ["front", "x"],
            ["overhead"],
        ),
    ],
)
def test_what_the_chains_do_not_determine_is_named(
    terms: list[Term], loose: list[str], sure: list[str]
) -> None:
    with pytest.raises(ValueError, match="do not determine") as caught:
        solve({t.chain: 100.0 for t in terms}, terms)
    named = str(caught.value).partition("determine ")[2].split(", ")
    assert named == loose
    assert not set(named) & set(sure)


# What remains when chains fail -------------------------------------------------------------------


def test_a_chain_between_others_is_not_needed_until_one_of_them_is_missing() -> None:
    middle = Term("front 2*a", "front/a", ("a",) * 2)
    assert determine(TERMS, [*TERMS, middle])
    lacking = [t for t in TERMS if t.chain not in {"front a", "front a a-b b"}]
    assert not determine(lacking, [*lacking, middle])
    assert not determine(TERMS, [*TERMS, Term("front c", "front/a", ("c",))])


def test_when_nothing_failed_everything_stays() -> None:
    assert determined(TERMS) == TERMS


def test_a_chain_whose_scaffold_stands_alone_is_dropped() -> None:
    alone = Term("lone", "front/c", ("c",))
    assert determined([*TERMS[:3], alone, *TERMS[3:]]) == TERMS


def test_a_scaffold_measured_by_itself_needs_no_second_chain() -> None:
    bare = Term("nothing", "overhead", ())
    assert determined([bare]) == [bare]


def test_a_failed_slope_takes_its_other_half_along() -> None:
    rest = [t for t in TERMS if t.chain not in ("front 4*b", "front a a-b b")]
    assert [t.chain for t in determined(rest)] == ["nothing", "front a", "front 4*a", "stem a"]


@pytest.mark.parametrize(
    "failed",
    [
        "nothing",
        "stem a",
        "front a a-b b",
        "front a",
        "front 4*a",
        "front b",
        "front 4*b",
    ],
)
def test_what_remains_can_be_solved_whichever_chain_failed(failed: str) -> None:
    rest = determined([t for t in TERMS if t.chain != failed])
    found = solve(latencies(rest), rest)
    assert found == pytest.approx({k: TRUE_NS[k] for k in found})


# Intervals ---------------------------------------------------------------------------------------


def jitter(count: int, seed: int = 1) -> list[float]:
    generator = random.Random(seed)
    return [generator.uniform(0.95, 1.05) for _ in range(count)]


def test_an_interval_contains_its_centre_and_the_planted_value_lies_near() -> None:
    found = entries(observe(latencies(TERMS), [1.0] * 12, noise=0.005, seed=2), TERMS, seed=0)
    assert set(found) == set(TRUE_NS)
    for name, value in found.items():
        assert value.low_ns <= value.ns <= value.high_ns
        assert value.low_ns < value.high_ns
        slack = 3 * (value.high_ns - value.low_ns)
        assert abs(value.ns - TRUE_NS[name]) < slack


def test_a_seed_decides_the_intervals_but_not_the_centres() -> None:
    observed = observe(latencies(TERMS), jitter(10), noise=0.01)
    first, again, other = (entries(observed, TERMS, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert {k: v.ns for k, v in first.items()} == {k: v.ns for k, v in other.items()}


def test_speeds_alone_make_no_interval() -> None:
    found = entries(observe(latencies(TERMS), [*[1.0] * 9, 0.9, 1.2]), TERMS, seed=0)
    for name, value in found.items():
        assert value.ns == pytest.approx(TRUE_NS[name], rel=1e-6)
        assert value.high_ns - value.low_ns < 1e-3 * value.ns


def test_more_noise_makes_wider_intervals() -> None:
    quiet, loud = (
        entries(observe(latencies(TERMS), [1.0] * 12, noise=n), TERMS, seed=0)
        for n in (0.001, 0.01)
    )
    widths = [
        (v.high_ns - v.low_ns) / (quiet[k].high_ns - quiet[k].low_ns) for k, v in loud.items()
    ]
    assert min(widths) > 3


@settings(max_examples=10)
@given(st.sets(st.integers(0, 10), min_size=1, max_size=5))
def test_a_drift_of_some_processes_does_not_move_the_entries(drifted: set[int]) -> None:
    observed = observe(latencies(TERMS), [1.0] * 11, noise=0.0002, seed=9)
    before = entries(observed, TERMS, seed=0)
    speeds = {f"p{i}": 1.05 if i in drifted else 1.0 for i in range(11)}
    after = entries(slowed(observed, speeds), TERMS, seed=0)
    for name, value in before.items():
        assert after[name].ns == pytest.approx(value.ns, rel=0.005)


def test_a_chain_that_drifted_processes_took_is_not_taken_for_a_slow_one() -> None:
    """Every chain lacks some processes; one of them was mostly taken by the drifted."""
    levels = latencies(TERMS) | {f"other {i}": 1e5 for i in range(8)}
    observed = observe(levels, [1.0] * 12, noise=0.0002, seed=4)
    generator = random.Random(6)
    for chain, rounds in observed.items():
        lost = ["p4", "p5", "p6", "p7", "p8"] if chain == "front 4*a" else None
        for process in lost or generator.sample(sorted(rounds), 3):
            del rounds[process]
    speeds = {f"p{i}": 1.05 if i < 4 else 1.0 for i in range(12)}
    chains = {t.chain for t in TERMS}
    polished = polish(slowed(observed, speeds))
    found = solve({c: v for c, v in polished.latency_ns.items() if c in chains}, TERMS)
    assert found == pytest.approx(TRUE_NS, rel=0.005)


def test_the_typical_process_has_the_speed_one() -> None:
    generator = random.Random(8)
    observed = observe({f"c{i}": 1e6 for i in range(5)}, jitter(9), noise=0.02)
    for rounds in observed.values():
        for process in generator.sample(sorted(rounds), 4):
            del rounds[process]
    assert typical(list(polish(observed).speed.values())) == pytest.approx(1, rel=1e-9)
