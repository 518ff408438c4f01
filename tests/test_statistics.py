"""Intervals cover what they claim, verdicts are right, correlations follow their definitions."""

import itertools
import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import statistics
from profiler.statistics import compare, covers, errors, half_width, interval, kendall, spearman

TRIALS = 500
SMALL = st.lists(st.integers(0, 4), min_size=2, max_size=9)
PAIRS = SMALL.flatmap(
    lambda left: st.tuples(
        st.just(left), st.lists(st.integers(0, 4), min_size=len(left), max_size=len(left))
    )
)


def skewed(generator: random.Random) -> float:
    """Log-normal: its median is 1."""
    return generator.lognormvariate(0, 0.5)


def bimodal(generator: random.Random) -> float:
    """Half the values near 0.9, half near 1.1, symmetric: its median is 1."""
    return 1 + generator.choice([-1, 1]) * (0.1 + generator.gauss(0, 0.05))


@pytest.mark.parametrize("draw", [skewed, bimodal])
@pytest.mark.parametrize("count", [6, 10, 20])
def test_the_interval_covers_the_true_median_at_least_nine_times_in_ten(
    draw: Callable[[random.Random], float], count: int
) -> None:
    generator = random.Random(f"{draw.__name__}-{count}")
    hits = 0
    for _ in range(TRIALS):
        low, high = interval([draw(generator) for _ in range(count)])
        hits += low <= 1 <= high
    assert hits >= 0.9 * TRIALS


def test_the_interval_leaves_out_as_many_values_as_it_can() -> None:
    """Binomial tables: ranks 2 and 9 of 10, 6 and 15 of 20, the whole range of 6 to 8."""
    assert interval(range(1, 11)) == (2, 9)
    assert interval(range(1, 21)) == (6, 15)
    assert [interval(range(1, n + 1)) for n in (6, 7, 8, 9)] == [(1, 6), (1, 7), (1, 8), (2, 8)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_fewer_than_six_values_cover_nothing_and_give_their_whole_range(count: int) -> None:
    generator = random.Random(count)
    values = [generator.random() for _ in range(count)]
    assert not covers(count)
    assert interval(values) == (min(values), max(values))
    assert half_width(values) == math.inf


def test_six_values_are_enough_and_none_are_not() -> None:
    assert covers(6)
    assert not covers(0)
    assert covers(5, confidence=0.9)
    with pytest.raises(ValueError, match="no values"):
        interval([])


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_an_interval_holds_the_median_whatever_the_order(
    values: list[float], generator: random.Random
) -> None:
    low, high = interval(values)
    assert low <= statistics.median(values) <= high
    assert low in values
    assert high in values
    generator.shuffle(values)
    assert interval(values) == (low, high)


@given(st.lists(st.floats(1, 1e6), min_size=6, max_size=30))
def test_more_confidence_never_narrows_an_interval(values: list[float]) -> None:
    low, high = interval(values, 0.5)
    wide_low, wide_high = interval(values, 0.95)
    assert wide_low <= low <= high <= wide_high


def test_an_interval_of_thousands_of_values_is_narrow() -> None:
    low, high = interval(range(2000))
    assert 900 < low < 1000 < high < 1100


def test_the_half_width_is_a_share_of_the_median() -> None:
    assert half_width([100, 101, 102, 103, 104, 106]) == pytest.approx(3 / 102.5)


def test_a_quantile_lies_on_the_line_between_its_neighbours() -> None:
    values = [40.0, 10.0, 20.0]
    assert [statistics.quantile(values, s) for s in (0, 0.25, 0.5, 0.75, 1)] == [10, 15, 20, 30, 40]
    with pytest.raises(ValueError, match="no values"):
        statistics.quantile([], 0.5)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_the_quiet_half_is_the_smaller_one_in_its_order(values: list[int]) -> None:
    kept = statistics.quiet(values)
    assert kept == sorted(kept)
    assert len(kept) == (len(values) + 1) // 2
    assert sorted(values[i] for i in kept) == sorted(values)[: len(kept)]


# Comparisons -------------------------------------------------------------------------------------


def rounds(
    generator: random.Random, drift: Sequence[float], level: float, noise: float
) -> dict[str, float]:
    """Round medians by process: a level, the process's drift, and noise of its own."""
    return {f"p{i}": level * d * (1 + generator.gauss(0, noise)) for i, d in enumerate(drift)}


def drifts(generator: random.Random, count: int) -> list[float]:
    return [generator.uniform(0.85, 1.15) for _ in range(count)]


def verdicts(generator: random.Random, change: float, count: int, noise: float) -> list[str]:
    """Verdicts of a hundred comparisons of a candidate that takes `change` as long."""
    found = []
    for _ in range(100):
        drift = drifts(generator, count)
        baseline = rounds(generator, drift, 1000.0, noise)
        found.append(compare(baseline, rounds(generator, drift, 1000.0 * change, noise)).verdict)
    return found


@pytest.mark.parametrize(("count", "noise"), [(6, 0.01), (12, 0.01), (12, 0.03), (20, 0.05)])
def test_a_workload_beside_itself_is_hardly_ever_called_faster_or_slower(
    count: int, noise: float
) -> None:
    found = verdicts(random.Random(count), 1.0, count, noise)
    assert found.count("FASTER") + found.count("SLOWER") <= 5


@pytest.mark.parametrize(("change", "verdict"), [(1.03, "SLOWER"), (0.97, "FASTER")])
def test_three_percent_are_found_through_one_percent_of_noise(change: float, verdict: str) -> None:
    found = verdicts(random.Random(3), change, 12, 0.01)
    assert found.count(verdict) >= 90


def test_faster_one_way_round_is_slower_the_other() -> None:
    generator = random.Random(5)
    drift = drifts(generator, 12)
    slow = rounds(generator, drift, 1100.0, 0.01)
    fast = rounds(generator, drift, 1000.0, 0.01)
    there, back = compare(slow, fast), compare(fast, slow)
    assert (there.verdict, back.verdict) == ("FASTER", "SLOWER")
    assert there.ratio * back.ratio == pytest.approx(1)
    assert (there.low * back.high, there.high * back.low) == pytest.approx((1, 1))


@given(st.lists(st.floats(0.01, 100), min_size=6, max_size=15), st.floats(0.5, 2))
def test_what_a_process_does_to_both_cancels(drift: list[float], change: float) -> None:
    baseline = {f"p{i}": d for i, d in enumerate(drift)}
    candidate = {f"p{i}": d * change for i, d in reversed(list(enumerate(drift)))}
    found = compare(baseline, candidate)
    assert (found.low, found.ratio, found.high) == pytest.approx((change,) * 3)


def test_rounds_that_only_one_of_both_has_do_not_count() -> None:
    baseline = {f"p{i}": 100.0 for i in range(8)} | {f"b{i}": 1.0 for i in range(20)}
    candidate = {f"p{i}": 100.0 for i in range(8)} | {f"c{i}": 999.0 for i in range(20)}
    found = compare(baseline, candidate)
    assert (found.pairs, found.verdict, found.ratio) == (8, "SAME", 1.0)


@pytest.mark.parametrize("shared", [0, 1, 5])
def test_fewer_than_six_shared_rounds_are_unusable(shared: int) -> None:
    baseline = {f"p{i}": 100.0 for i in range(shared)} | {f"b{i}": 100.0 for i in range(6)}
    found = compare(baseline, {f"p{i}": 200.0 for i in range(shared)})
    assert (found.verdict, found.pairs) == ("UNUSABLE", shared)
    assert math.isnan(found.ratio)
    assert f"{shared} shared rounds" in found.reason


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.0, 1.001, 0.999, 1.002, 1.0, 0.998], "SAME"),
        ([1.02, 1.021, 1.019, 1.022, 1.02, 1.018], "SLOWER"),
        ([0.98, 0.981, 0.979, 0.982, 0.98, 0.978], "FASTER"),
        ([1.005, 1.02, 1.0, 1.03, 1.01, 1.015], "AMBIGUOUS"),
        ([0.995, 0.98, 1.0, 0.97, 0.99, 0.985], "AMBIGUOUS"),
        ([0.8, 1.2, 0.9, 1.1, 1.0, 1.0], "AMBIGUOUS"),
    ],
)
def test_a_verdict_says_where_the_interval_lies(ratios: list[float], verdict: str) -> None:
    baseline = {f"p{i}": 1000.0 for i in range(6)}
    found = compare(baseline, {f"p{i}": 1000.0 * r for i, r in enumerate(ratios)})
    assert found.verdict == verdict
    assert (found.low, found.high) == pytest.approx((min(ratios), max(ratios)))
    assert bool(found.reason) == (verdict == "AMBIGUOUS")


def test_a_wider_margin_makes_a_small_difference_the_same() -> None:
    baseline = {f"p{i}": 1000.0 for i in range(6)}
    candidate = {f"p{i}": 1030.0 for i in range(6)}
    assert compare(baseline, candidate).verdict == "SLOWER"
    assert compare(baseline, candidate, margin=0.05).verdict == "SAME"


# Correlations ------------------------------------------------------------------------------------


def pearson(left: Sequence[float], right: Sequence[float]) -> float:
    mean_left, mean_right = sum(left) / len(left), sum(right) / len(right)
    products = sum((a - mean_left) * (b - mean_right) for a, b in zip(left, right, strict=True))
    squares = sum((a - mean_left) ** 2 for a in left) * sum((b - mean_right) ** 2 for b in right)
    return products / math.sqrt(squares)


def by_counting(values: Sequence[float]) -> list[float]:
    """Ranks by definition: how many are smaller, and the middle of those that are equal."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


@given(SMALL)
def test_ranks_count_the_smaller_and_share_among_the_equal(values: list[int]) -> None:
    assert statistics.ranks(values) == by_counting(values)


@given(PAIRS)
def test_spearman_is_pearson_of_ranks(pair: tuple[list[int], list[int]]) -> None:
    left, right = pair
    if len(set(left)) < 2 or len(set(right)) < 2:
        assert math.isnan(spearman(left, right))
    else:
        expected = pearson(by_counting(left), by_counting(right))
        assert spearman(left, right) == pytest.approx(expected)


@given(PAIRS)
def test_kendall_is_tau_b(pair: tuple[list[int], list[int]]) -> None:
    left, right = pair
    steps = [
        ((a > c) - (a < c), (b > d) - (b < d))
        for (a, b), (c, d) in itertools.combinations(zip(left, right, strict=True), 2)
    ]
    same = sum(a == b != 0 for a, b in steps)
    other = sum(a == -b != 0 for a, b in steps)
    only_left = sum(a != 0 and b == 0 for a, b in steps)
    only_right = sum(b != 0 and a == 0 for a, b in steps)
    scale = math.sqrt((same + other + only_left) * (same + other + only_right))
    if scale:
        assert kendall(left, right) == pytest.approx((same - other) / scale)
    else:
        assert math.isnan(kendall(left, right))


@pytest.mark.parametrize("correlation", [spearman, kendall])
def test_a_correlation_is_one_in_order_and_undefined_without_any(
    correlation: Callable[[Sequence[float], Sequence[float]], float],
) -> None:
    assert correlation([1, 2, 3], [10, 20, 400]) == pytest.approx(1)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(correlation([1, 1, 1], [1, 2, 3]))
    assert math.isnan(correlation([1, 2, 3], [7, 7, 7]))
    assert math.isnan(correlation([1], [1]))
    assert math.isnan(correlation([], []))
    with pytest.raises(ValueError, match="different length"):
        correlation([1, 2], [1])


# Errors ------------------------------------------------------------------------------------------


def test_errors_of_a_worked_example() -> None:
    """Errors of +10, -5, 0 and -20 %; the two largest predictions tie."""
    found = errors([110, 190, 400, 400], [100, 200, 400, 500])
    assert found.networks == 4
    assert found.mape_percent == pytest.approx(8.75)
    assert found.bias_percent == pytest.approx(-3.75)
    assert found.max_percent == pytest.approx(20)
    assert found.p95_percent == pytest.approx(18.5)
    assert found.spearman == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert found.kendall == pytest.approx(5 / math.sqrt(5 * 6))


def test_errors_of_one_network_have_no_correlation() -> None:
    found = errors([90], [100])
    assert (found.mape_percent, found.bias_percent) == pytest.approx((10, -10))
    assert (found.spearman, found.kendall) == (None, None)


def test_errors_need_networks_in_pairs() -> None:
    with pytest.raises(ValueError, match="no networks"):
        errors([], [])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        errors([1, 2], [1])
