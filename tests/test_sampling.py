"""Warm-up, visits and schedules, by a clock that moves only when something runs."""

import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.sampling import (
    EMPTIES,
    EVEN,
    TURN,
    Extent,
    Turns,
    calibrate,
    circles,
    schedule,
    visit,
    warm_up,
)
from profiler.types import Protocol

MS = 1_000_000


class Machine:
    """A workload whose runs take the given times, and the clock that sees them pass."""

    def __init__(self, durations: Iterable[int]) -> None:
        self.durations: Iterator[int] = iter(durations)
        self.now = 5
        self.log: list[str] = []

    def elapsed(self, call: Callable[[], object], batch: int) -> int:
        """The time of so many runs; the log shows when the clock was read."""
        self.log.append("clock")
        before = self.now
        for _ in range(batch):
            call()
        self.log.append("clock")
        return self.now - before

    def call(self) -> None:
        self.log.append("call")
        self.now += next(self.durations)

    @property
    def runs(self) -> int:
        return self.log.count("call")


def cooling(start: float, factor: float) -> Iterator[int]:
    """Runs that approach 1 ms from above."""
    return (round(MS * (1 + start * factor**i)) for i in itertools.count())


def quarters_differ(durations: list[int]) -> float:
    """How far the last quarter's median lies from the third's, as a share of it."""
    quarter = len(durations) // 4
    third = statistics.median(durations[2 * quarter : 3 * quarter])
    return abs(statistics.median(durations[3 * quarter :]) - third) / third


# Calibration -------------------------------------------------------------------------------------


def test_a_warm_up_ends_as_soon_as_the_latency_is_steady() -> None:
    protocol = Protocol(warmup_floor_ns=0, warmup_limit_ns=10_000 * MS)
    machine = Machine(cooling(10, 0.95))
    found = calibrate(machine.call, protocol, machine.elapsed)
    taken = list(itertools.islice(cooling(10, 0.95), found.warmup))
    assert found.warmup == machine.runs
    assert quarters_differ(taken) <= 0.02
    assert quarters_differ(taken[:-4]) > 0.02


def test_a_steady_workload_is_run_until_the_floor_has_passed() -> None:
    protocol = Protocol(warmup_floor_ns=100 * MS, warmup_limit_ns=2000 * MS)
    machine = Machine(itertools.repeat(MS))
    assert calibrate(machine.call, protocol, machine.elapsed).warmup == 100
    assert machine.runs == 100


@pytest.mark.parametrize("runs", [1, 2, 3, 7, 8, 50])
def test_a_warm_up_has_at_least_the_runs_that_the_protocol_asks_for(runs: int) -> None:
    protocol = Protocol(warmup_runs=runs, warmup_floor_ns=0)
    machine = Machine(itertools.repeat(MS))
    assert calibrate(machine.call, protocol, machine.elapsed).warmup == runs


def test_a_workload_that_never_gets_steady_ends_at_the_limit() -> None:
    protocol = Protocol(warmup_floor_ns=10 * MS, warmup_limit_ns=100 * MS)
    durations = [round(MS * 1.1**i) for i in range(200)]
    machine = Machine(durations)
    found = calibrate(machine.call, protocol, machine.elapsed)
    assert sum(durations[: found.warmup - 1]) < 100 * MS <= sum(durations[: found.warmup])
    assert found.warmup == machine.runs


def test_a_single_run_beyond_the_limit_is_the_whole_warm_up() -> None:
    protocol = Protocol(warmup_limit_ns=10 * MS)
    machine = Machine(itertools.repeat(11 * MS))
    found = calibrate(machine.call, protocol, machine.elapsed)
    assert (found.warmup, found.batch) == (1, 1)


def test_the_limit_stands_above_the_floor_and_the_number_of_runs() -> None:
    protocol = Protocol(warmup_runs=1000, warmup_floor_ns=1000 * MS, warmup_limit_ns=9 * MS)
    machine = Machine(itertools.repeat(MS))
    assert calibrate(machine.call, protocol, machine.elapsed).warmup == 9


@given(st.integers(1, 3 * MS), st.integers(0, 3 * MS))
def test_a_block_lasts_at_least_the_floor_and_is_not_longer_than_it_must(
    latency: int, floor: int
) -> None:
    protocol = Protocol(warmup_floor_ns=0, sample_floor_ns=floor)
    machine = Machine(itertools.repeat(latency))
    batch = calibrate(machine.call, protocol, machine.elapsed).batch
    assert batch * latency >= floor
    assert batch == 1 or (batch - 1) * latency < floor


def test_the_batch_follows_the_warm_latency_and_not_the_cold_one() -> None:
    protocol = Protocol(warmup_runs=40, warmup_floor_ns=0, sample_floor_ns=MS)
    machine = Machine([500_000] * 20 + [100_000] * 100)
    assert calibrate(machine.call, protocol, machine.elapsed).batch == 10


def test_one_slow_run_among_the_last_does_not_change_the_batch() -> None:
    protocol = Protocol(warmup_runs=40, warmup_floor_ns=0, sample_floor_ns=MS)
    machine = Machine([100_000] * 38 + [50 * MS] + [100_000] * 100)
    assert calibrate(machine.call, protocol, machine.elapsed).batch == 10


def test_warming_up_runs_as_often_as_it_is_told() -> None:
    machine = Machine(itertools.repeat(1))
    warm_up(machine.call, 13)
    assert machine.log == ["call"] * 13


# Visits ------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(1, 20))
def test_a_visit_takes_its_samples_each_over_one_batch(count: int, batch: int) -> None:
    protocol = Protocol(visit_samples=count, visit_limit_ns=10**15)
    machine = Machine(itertools.repeat(7000))
    assert visit(machine.call, batch, protocol, machine.elapsed) == [7000] * count
    assert machine.runs == 1 + count * batch


def test_a_sample_is_the_mean_of_its_batch() -> None:
    protocol = Protocol(visit_samples=2)
    machine = Machine([99, 10, 20, 30, 1, 1, 3])
    assert visit(machine.call, 3, protocol, machine.elapsed) == [20, 2]


def test_the_first_run_of_a_visit_is_not_timed() -> None:
    machine = Machine([1000 * MS, *[MS] * 20])
    samples = visit(machine.call, 1, Protocol(visit_samples=5), machine.elapsed)
    assert samples == [MS] * 5
    assert machine.log[:2] == ["call", "clock"]


def test_a_visit_ends_when_its_time_is_spent() -> None:
    protocol = Protocol(visit_samples=20, visit_limit_ns=35 * MS)
    machine = Machine(itertools.repeat(10 * MS))
    assert len(visit(machine.call, 1, protocol, machine.elapsed)) == 4
    machine = Machine(itertools.repeat(5 * MS))
    assert len(visit(machine.call, 2, protocol, machine.elapsed)) == 4


def test_a_visit_takes_two_samples_even_of_a_workload_beyond_its_time() -> None:
    protocol = Protocol(visit_samples=20, visit_limit_ns=MS)
    machine = Machine(itertools.repeat(500 * MS))
    assert visit(machine.call, 1, protocol, machine.elapsed) == [500 * MS] * 2


def test_a_sample_is_never_nothing() -> None:
    machine = Machine(itertools.repeat(0))
    samples = visit(machine.call, 4, Protocol(visit_samples=3), machine.elapsed)
    assert samples == [1, 1, 1]


# Schedules ---------------------------------------------------------------------------------------


NAMES = st.text("abc", min_size=1, max_size=4)
EXTENTS = st.dictionaries(
    NAMES, st.builds(Extent, st.integers(0, 90), st.sampled_from([0, 20, 300])), max_size=25
)


@given(EXTENTS, st.integers(0, 1000))
def test_every_circle_is_as_large_as_the_network_of_those_that_it_times(
    extents: dict[str, Extent], seed: int
) -> None:
    found = circles(extents, random.Random(seed))
    circling = {k: e for k, e in extents.items() if e.circle_bytes}
    assert Counter(k for c in found for k in c.keys) == Counter(dict.fromkeys(circling, 1))
    for circle in found:
        members = [*circle.keys, *circle.beside]
        assert circle.circle
        assert len(set(members)) == len(members)
        assert set(members) <= set(circling)
        (wanted,) = {extents[k].circle_bytes for k in circle.keys}
        held = sum(extents[k].own_bytes for k in members)
        largest = max(e.own_bytes for e in circling.values())
        assert held >= (1 - EVEN) * wanted - largest / 2 or len(members) == len(circling)
        assert held <= (1 + EVEN) * wanted + largest or len(members) == 1


@given(st.lists(st.integers(1, 6), min_size=1, max_size=100), st.integers(0, 100))
def test_circles_of_many_need_no_others(sizes: list[int], seed: int) -> None:
    """Only what is too few for a circle is filled up."""
    extents = {str(n): Extent(size, 50) for n, size in enumerate(sizes)}
    extents |= {f"other {n}": Extent(5, 300) for n in range(80)}
    found = [c for c in circles(extents, random.Random(seed)) if c.keys[0].isdigit()]
    assert len(found) <= math.ceil(sum(sizes) / 50)
    if sum(sizes) > 4 * 50:
        assert not any(c.beside for c in found)


@given(EXTENTS, st.integers(0, 40), st.integers(0, 1000))
def test_a_circle_is_filled_until_it_empties_the_cache_or_is_as_large_as_the_network(
    extents: dict[str, Extent], cache_bytes: int, seed: int
) -> None:
    for circle in circles(extents, random.Random(seed), cache_bytes):
        (network,) = {extents[k].circle_bytes for k in circle.keys}
        wanted = min(network, EMPTIES * cache_bytes)
        timed = sum(extents[k].own_bytes for k in circle.keys)
        if timed >= (1 - EVEN) * wanted:
            assert not circle.beside
        else:
            held = timed + sum(extents[k].own_bytes for k in circle.beside)
            assert held <= wanted + max(extents[k].own_bytes for k in circle.beside or circle.keys)


@given(EXTENTS, st.integers(1, 40), st.booleans(), st.integers(0, 100))
def test_what_empties_the_cache_by_itself_has_no_untimed_run(
    extents: dict[str, Extent], cache_bytes: int, table: bool, seed: int
) -> None:
    protocol = Protocol(passes=2, circles=2 if table else 0)
    for place in schedule(extents, protocol, random.Random(seed), cache_bytes):
        held = sum(extents[k].own_bytes for k in (*place.keys, *place.beside))
        assert place.untimed == (not table or held < EMPTIES * cache_bytes)
    for place in schedule(extents, protocol, random.Random(seed)):
        assert place.untimed, "of a cache that nobody knows"


@given(EXTENTS, st.integers(0, 9), st.integers(0, 9), st.integers(0, 100))
def test_everything_is_visited_as_often_as_the_protocol_says(
    extents: dict[str, Extent], passes: int, often: int, seed: int
) -> None:
    protocol = Protocol(passes=passes, circles=often)
    order = schedule(extents, protocol, random.Random(seed))
    visits = Counter(k for place in order for k in place.keys)
    wanted = {k: often if e.circle_bytes else passes for k, e in extents.items()}
    assert visits == +Counter(wanted)
    assert all(p.circle == bool(extents[k].circle_bytes) for p in order for k in p.keys)
    assert all(p.circle or (len(p.keys) == 1 and not p.beside) for p in order)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 100))
def test_visits_are_spread_over_all_passes(count: int, few: int, seed: int) -> None:
    """Between two circles the single visits come about equally often."""
    extents = {str(n): Extent(1) for n in range(count)} | {"rare": Extent(1, 1)}
    protocol = Protocol(passes=6 * few, circles=few)
    order = schedule(extents, protocol, random.Random(seed))
    places = [i for i, place in enumerate(order) if place.circle]
    gaps = [b - a for a, b in itertools.pairwise(places)]
    assert all(4 * count <= gap <= 8 * count + 1 for gap in gaps)


CIRCLING = {str(n): Extent(1) for n in range(20)} | {k: Extent(1, 2) for k in "abcdef"}


def test_a_seed_decides_the_order() -> None:
    orders = [schedule(CIRCLING, Protocol(circles=3), random.Random(seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_every_pass_is_shuffled_anew() -> None:
    order = schedule(CIRCLING, Protocol(circles=15), random.Random(1))
    first, second = order[:23], order[23:46]
    assert first != second
    assert {k for place in first for k in place.keys} == set(CIRCLING)
    assert {p for p in first if p.circle} != {p for p in second if p.circle}


@given(st.integers(1, 60))
def test_turns_with_a_profiler_are_as_many_as_asked_and_plain_runs_stand_between(
    count: int,
) -> None:
    machine = Machine(itertools.repeat(3 * MS))
    turns = Turns(machine.call, count, machine.elapsed)
    seen = []
    for number in turns:
        seen.append(number)
        assert len(turns.plain_ns) > number, "plain runs came first"
        machine.log.append("profiled")
    assert seen == list(range(count))
    assert len(turns) == count
    assert turns.plain_ns == [3 * MS] * (TURN * -(-count // TURN))
    longest = max(len(list(g)) for k, g in itertools.groupby(machine.log) if k == "profiled")
    assert longest <= TURN
