"""Interpolation is exact where something was measured, bounded between, and silent beyond."""

import math
from itertools import pairwise, product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from profiler.tables.interpolation import _upstairs, between, interpolate, margin, split

WIDTHS = st.integers(1, 2000)
TIMES = st.floats(1, 1e9)
LINES = st.dictionaries(st.tuples(WIDTHS), TIMES, min_size=1, max_size=8)
AXIS = st.lists(WIDTHS, min_size=2, max_size=4, unique=True).map(sorted)
GRIDS = st.tuples(AXIS, AXIS).flatmap(
    lambda axes: st.fixed_dictionaries(dict.fromkeys(product(*axes), TIMES))
)


def neighbours(value: int, axis: set[int]) -> set[int]:
    """The known coordinates nearest to a value on each side; none where it has none."""
    below, above = [v for v in axis if v <= value], [v for v in axis if v >= value]
    return {max(below), min(above)} if below and above else set()


def assert_bounded(found: float | None, corners: list[float]) -> None:
    assert found is not None
    assert min(corners) * (1 - 1e-9) <= found <= max(corners) * (1 + 1e-9)


def test_a_key_is_split_into_family_and_numbers() -> None:
    assert split("mb4d/56/48") == ("mb4d/56", (48,))
    assert split("embedding/28/48-96") == ("embedding/28", (48, 96))
    assert split("mb4d/wide") == ("mb4d", None)


# One number --------------------------------------------------------------------------------------


@given(LINES)
def test_a_known_width_keeps_its_own_latency(points: dict[tuple[int, ...], float]) -> None:
    assert all(between(place, points) == value for place, value in points.items())


@given(LINES, WIDTHS)
def test_a_width_lies_between_its_neighbours_or_nowhere(
    points: dict[tuple[int, ...], float], width: int
) -> None:
    around = neighbours(width, {p[0] for p in points})
    found = between((width,), points)
    if around:
        assert_bounded(found, [points[(v,)] for v in around])
    else:
        assert found is None


@given(st.lists(WIDTHS, min_size=2, max_size=6, unique=True), WIDTHS, TIMES, st.floats(-3, 3))
def test_a_power_of_the_width_is_reproduced(
    axis: list[int], width: int, factor: float, power: float
) -> None:
    assume(min(axis) <= width <= max(axis))
    found = between((width,), {(v,): factor * v**power for v in axis})
    assert found == pytest.approx(factor * width**power)


def test_halfway_in_the_logarithm_is_the_geometric_mean() -> None:
    assert between((32,), {(16,): 100.0, (64,): 400.0}) == pytest.approx(200)


def test_only_the_nearest_neighbours_count() -> None:
    points = {(8,): 1e9, (16,): 100.0, (64,): 400.0, (128,): 1.0}
    assert between((32,), points) == pytest.approx(200)


@pytest.mark.parametrize("width", [1, 15, 65, 10**6])
def test_nothing_is_extrapolated_on_a_line(width: int) -> None:
    assert between((width,), {(16,): 100.0, (64,): 400.0}) is None


def test_without_any_point_there_is_nothing() -> None:
    assert between((16,), {}) is None
    assert between((16, 32), {}) is None
    assert interpolate("mb4d/56/48", {}) is None


# Two numbers -------------------------------------------------------------------------------------


@given(GRIDS)
def test_a_known_pair_keeps_its_own_latency(points: dict[tuple[int, ...], float]) -> None:
    assert all(between(place, points) == value for place, value in points.items())


@given(GRIDS, WIDTHS, WIDTHS)
def test_a_pair_lies_between_the_corners_of_its_cell_or_nowhere(
    points: dict[tuple[int, ...], float], first: int, second: int
) -> None:
    across = neighbours(first, {p[0] for p in points})
    along = neighbours(second, {p[1] for p in points})
    found = between((first, second), points)
    if across and along:
        assert_bounded(found, [points[p] for p in product(across, along)])
    else:
        assert found is None


@given(AXIS, AXIS, WIDTHS, WIDTHS, st.floats(-2, 2), st.floats(-2, 2))
def test_a_product_of_powers_is_reproduced(
    across: list[int], along: list[int], first: int, second: int, power: float, other: float
) -> None:
    assume(across[0] <= first <= across[-1] and along[0] <= second <= along[-1])
    points = {(a, b): 5 * a**power * b**other for a, b in product(across, along)}
    assert between((first, second), points) == pytest.approx(5 * first**power * second**other)


@pytest.mark.parametrize("place", [(4, 32), (256, 32), (32, 4), (32, 256), (4, 256)])
def test_nothing_is_extrapolated_beside_a_grid(place: tuple[int, int]) -> None:
    points = {(a, b): float(a * b) for a, b in product((8, 64, 128), (8, 64, 128))}
    assert between((32, 32), points) == pytest.approx(1024)
    assert between(place, points) is None


def test_a_missing_corner_is_bridged_by_a_larger_box() -> None:
    points = {(a, b): float(a**2 * b) for a, b in product((8, 32, 128), (8, 32, 128))}
    del points[(32, 32)]
    assert between((16, 16), points) == pytest.approx(16**3)


def test_single_points_within_a_grid_do_not_hide_it() -> None:
    """A table measures the rows of released networks besides a grid: widths of their own each."""
    points = {(a, b): float(a**2 * b) for a, b in product((8, 128), (8, 128))}
    points |= {(8 + n, 8 + n): float((8 + n) ** 3) for n in range(1, 100, 7)}
    assert between((64, 32), points) == pytest.approx(64**2 * 32)
    assert between((57, 8 + 1), points) == pytest.approx(57**2 * 9)
    assert between((129, 32), points) is None


def test_the_smallest_whole_box_is_taken() -> None:
    """The outer corners are far off the law that the inner ones follow."""
    points = dict.fromkeys(product((2, 512), (2, 512)), 1e6)
    points |= {(a, b): float(a * b) for a, b in product((8, 32), (8, 32))}
    assert between((16, 16), points) == pytest.approx(256)
    del points[(8, 8)]
    assert between((16, 16), points) == pytest.approx(1e6)


@pytest.mark.parametrize("missing", list(product((8, 32), (8, 32))))
def test_a_box_that_lacks_a_corner_gives_nothing(missing: tuple[int, int]) -> None:
    points = {p: 1.0 for p in product((8, 32), (8, 32)) if p != missing}
    assert between((16, 16), points) is None


def test_a_knot_that_failed_is_bridged_by_those_around_it() -> None:
    points = {(a, b): float(a**2 * b) for a, b in product((8, 32, 128), (8, 32, 128))}
    del points[(32, 32)]
    assert between((32, 32), points) == pytest.approx(32**3)


def test_a_point_far_off_does_not_hide_a_box() -> None:
    points = {(a, b): float(a * b) for a, b in product((8, 32), (8, 32))}
    assert between((16, 16), {**points, (16, 1000): 1.0}) == pytest.approx(256)


# Families ----------------------------------------------------------------------------------------


def test_families_do_not_mix() -> None:
    known = {"mb4d/14/32": 1.0, "mb4d/14/128": 4.0, "mb4d/7/48": 1e9, "mb4d/7/96": 1e9}
    assert interpolate("mb4d/14/64", known) == pytest.approx(2)
    assert interpolate("mb4d/28/64", known) is None
    assert interpolate("mb3d/14/64", known) is None
    assert interpolate("mb4d/7/64", known) == pytest.approx(1e9)


def test_a_family_is_not_a_part_of_a_longer_one() -> None:
    known = {"flat/7/32": 1.0, "flat/7/128": 4.0, "stem/32": 100.0, "stem/128": 400.0}
    assert interpolate("flat/8", known) is None
    assert interpolate("stem/64", {**known, "stem/7/40": 1.0}) == pytest.approx(200)
    assert interpolate("tem/64", known) is None


def test_pairs_are_interpolated_by_key() -> None:
    known = {f"embedding/28/{a}-{b}": float(a * b) for a, b in product((16, 64), (32, 128))}
    assert interpolate("embedding/28/32-64", known) == pytest.approx(2048)
    assert interpolate("embedding/14/32-64", known) is None


@pytest.mark.parametrize("key", ["", "nothing", "mb4d/56/wide", "mb4d/56/", "mb4d/56/-48"])
def test_a_key_without_numbers_has_no_neighbours(key: str) -> None:
    assert interpolate(key, {"mb4d/56/32": 1.0, "mb4d/56/64": 2.0}) is None


@pytest.mark.parametrize("other", ["conv/wide", "conv/3x3/s2"])
def test_a_known_key_without_numbers_does_no_harm(other: str) -> None:
    known = {"conv/16": 100.0, "conv/64": 400.0, other: 7.0}
    assert interpolate("conv/32", known) == pytest.approx(200)


def test_interpolation_is_monotonic_along_a_line() -> None:
    points = {(16,): 100.0, (48,): 150.0, (96,): 900.0}
    found = [between((w,), points) for w in range(16, 97)]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(found))
    assert math.isclose(found[-1] or 0, 900)


def test_the_margin_is_what_leaving_entries_out_shows() -> None:
    smooth = {f"a/{w}": float(w) for w in (8, 16, 32, 64, 128)}
    assert margin("a/48", smooth) == pytest.approx(0, abs=1e-9)
    bumped = {**smooth, "a/32": 40.0}
    assert 0.1 < margin("a/48", bumped) <= 0.25
    assert margin("b/3", bumped) == margin("a/48", bumped), "a family without entries of its own"
    assert margin("a/48", {"a/16": 1.0, "a/64": 2.0}) == math.inf


# Stairs ------------------------------------------------------------------------------------------


def stair(width: float, step: int = 16) -> float:
    return float(math.ceil(round(width / step, 9)) * step)


MANY = range(32, 193, 8)


def test_a_few_rows_of_others_tell_nothing() -> None:
    known = {f"mb4d/14/{w}": stair(w) for w in (32, 40, 64, 72, 104, 112, 128)}
    known |= {f"mb4d/7/{w}": stair(w) for w in (32, 64, 128)}
    assert interpolate("mb4d/14/56", known) == pytest.approx(64)
    assert interpolate("mb4d/7/56", known) == pytest.approx(56)


def test_a_family_with_few_rows_has_the_stairs_of_its_kind() -> None:
    """A vector unit does not ask how large a map is; another kind of block may not be padded."""
    known = {f"mb4d/14/{w}": stair(w) for w in MANY}
    known |= {f"mb4d/7/{w}": 2 * stair(w) for w in (32, 64, 128)}
    known |= {f"mb3d/{m}/{w}": float(w) for m in (7, 14) for w in (32, 40, 72, 128)}
    assert interpolate("mb4d/14/56", known) == pytest.approx(64)
    assert interpolate("mb4d/7/56", known) == pytest.approx(128)
    assert interpolate("mb3d/7/56", known) == pytest.approx(56)


def test_a_kind_with_few_rows_has_the_stairs_that_most_others_have() -> None:
    known = {f"mb4d/14/{w}": stair(w) for w in MANY}
    known |= {f"embedding/7/{a}-{b}": float(a * b) for a, b in product((32, 64), (48, 96))}
    assert interpolate("embedding/7/40-56", known) == pytest.approx(48 * 64)


def test_a_family_that_shows_none_does_not_get_those_of_its_kind() -> None:
    known = {f"mb4d/14/{w}": stair(w) for w in MANY}
    known |= {f"mb4d/7/{w}": float(w) for w in (32, 40, 56, 64, 72, 104, 128)}
    assert interpolate("mb4d/7/88", known) == pytest.approx(88)


def test_channels_inside_a_block_that_expands_its_width_climb_in_stairs_too() -> None:
    def cost(width: float, expansion: float) -> float:
        return stair(width) * stair(width * expansion)

    grid = list(product((16, 32, 64), (1, 2, 4)))
    off = [(24, 1.5), (40, 2.5), (56, 3.5), (24, 3)]
    known = {f"ffn/14/{w}-{e}": cost(w, e) for w, e in (*grid, *off)}
    for width, expansion in ((24, 2.5), (40, 1.5), (56, 1.5), (56, 2)):
        found = interpolate(f"ffn/14/{width}-{expansion}", known)
        assert found == pytest.approx(cost(width, expansion), rel=0.02), (width, expansion)


@given(st.integers(8, 200), st.sampled_from([1, 1.5, 2, 2.5, 3, 3.5, 4]), st.sampled_from([16, 32]))
def test_the_next_stair_of_an_expansion_is_within_the_expansions(
    width: int, expansion: float, step: int
) -> None:
    """Or else nothing would be known of it."""
    wide, expanded = _upstairs((width, expansion), step)
    assert wide == stair(width, step)
    assert wide * expanded == pytest.approx(stair(width * expansion, step))
    assert 1 <= expanded <= 4
    assert _upstairs((wide, expanded), step) == pytest.approx((wide, expanded))
