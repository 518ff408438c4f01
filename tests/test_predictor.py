"""Predictions of many architectures are those of one after the other, to the interval."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.spaces.efficientformer import SPACE as V1
from benchmarks.spaces.efficientformerv2 import SPACE as V2
from profiler.errors import BadArchitecture, MissingEntry, TableError, UsageError
from profiler.spaces import Block, Part, Space, Value
from profiler.tables import columns, positions
from profiler.tables.predictor import Predictor
from profiler.tables.search import mes
from profiler.tables.table import SOURCES, Closure, Entry, LatencyTable, Size
from profiler.types import Workload

COUNT = 40


def no_block(key: str) -> Block:
    return Block(Workload("none:none"), ((1,),), ((1,),))


def table(space: Space, seed: int, keep: float = 1.0, **facts: Any) -> LatencyTable:
    """Entries of random latency, interval, source and size for a share of the rows."""
    generator = random.Random(seed)
    entries = {}
    for key in space.keys:
        ns = generator.randrange(1, 10**7)
        below, above = generator.randrange(ns // 3 + 1), generator.randrange(ns // 3 + 1)
        source = generator.choice(SOURCES)
        size = Size(*(generator.randrange(10**9) for _ in range(4)))
        if generator.random() < keep:
            entries[key] = Entry(key, ns, ns - below, ns + above, source, 3, (), size)
    whole: dict[str, Any] = {"overhead_ns": 5000, "scale": 1.03, **facts}
    return LatencyTable(space.name, "host/x", {}, "1", "now", entries=entries, **whole)


def closure(rms_percent: float) -> Closure:
    return Closure(0, 16, 1.0, 2.0, 3.0, 0.5, rms_percent, 0.99, 0.95, 0.4)


def agrees(predictor: Predictor, architectures: Sequence[Any], fill: bool = False) -> None:
    """The predictor and the table say the same of each architecture."""
    found = predictor.predict(architectures)
    assert found.unit == "ns"
    assert (found.target, found.batch) == (predictor.table.target, predictor.table.batch)
    for n, architecture in enumerate(architectures):
        rows = predictor.space.rows(architecture)
        one = predictor.table.predict("", rows, fill=fill)
        # Sums in another order may round to the next nanosecond.
        assert abs(found.latency_ns[n] - one.latency_ns) <= 1
        assert abs(found.low_ns[n] - one.low_ns) <= 1
        assert abs(found.high_ns[n] - one.high_ns) <= 1
        for source in SOURCES:
            share = found.coverage[source][n] if source in found.coverage else 0.0
            assert share == pytest.approx(one.coverage.get(source, 0.0), abs=2e-6)
        assert found.validated == one.validated


@functools.cache
def whole(name: str) -> Predictor:
    """A predictor whose table has every row."""
    space = {V1.name: V1, V2.name: V2}[name]
    return Predictor(table(space, 1), space)


# The same as one after the other -----------------------------------------------------------------


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Fields of even, uneven and broken values; parts that share rows, or have none."""
    names = draw(st.sampled_from([("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d")]))
    numbers = st.sampled_from([0, 1, 2, 3, 5, 8, 16, 32, 0.1, 0.3, 1.5, 2.5])
    groups = {n: (draw(st.lists(numbers, min_size=1, max_size=4, unique=True)),) for n in names}
    parts = []
    for number in range(draw(st.integers(1, 6))):
        fields = tuple(draw(st.lists(st.sampled_from(names), max_size=3, unique=True)))
        family = draw(st.sampled_from(["x", "y", f"own{number}"]))
        most = draw(st.integers(0, 4))

        def rows(*values: Value, family: str = family, most: int = most) -> list[str]:
            generator = random.Random(repr(values) + family)
            return [f"{family}/{generator.randrange(1, 6)}" for _ in range(most)]

        parts.append(Part(fields, rows))
    parts.append(Part((), lambda: ["always/1"]))
    return Space("drawn", groups, parts, no_block)


@given(spaces(), st.integers(0, 99), st.sampled_from([0, 5000]), st.sampled_from([None, 2.0]))
@settings(max_examples=60)
def test_predictions_are_those_of_the_table(
    space: Space, seed: int, overhead_ns: int, rms: float | None
) -> None:
    own = {"x": 1.1, "y": 0.7}
    known = closure(rms) if rms else None
    held = table(space, seed, overhead_ns=overhead_ns, closure=known, family_scales=own)
    agrees(Predictor(held, space), every(space))


def every(space: Space) -> list[Any]:
    generator = random.Random(0)
    return [tuple(generator.choice(v) for v in space.fields.values()) for _ in range(COUNT)]


@pytest.mark.parametrize("space", [V1, V2], ids=lambda s: s.name)
def test_predictions_of_the_papers_spaces_are_those_of_the_table(space: Space) -> None:
    agrees(
        whole(space.name), [*space.draw(random.Random(2), COUNT), *map(space.parse, space.named)]
    )


def test_a_row_of_several_parts_is_uncertain_once_for_all_its_occurrences() -> None:
    rows = {f"x{n}": (range(1, 3),) for n in range(3)}
    parts = [Part((f"x{n}",), lambda v: [f"row/{v}"]) for n in range(3)]
    space = Space("shared", rows, parts, no_block)
    both = [Entry("row/1", 100, 90, 110, "measured"), Entry("row/2", 100, 60, 140, "measured")]
    entries = {e.key: e for e in both}
    held = LatencyTable("shared", "host/x", {}, "1", "now", 0, 1.0, entries)
    found = Predictor(held, space).predict(numpy.array([[1, 1, 1], [1, 2, 1]]))
    assert (found.high_ns - found.latency_ns).tolist() == [30, round(math.hypot(20, 40))]


def test_more_rows_than_one_word_can_count_are_counted_in_several() -> None:
    values = range(1, 41)
    fields = {f"x{n}": (values,) for n in range(9)}
    parts = [Part((f"x{n}",), lambda v: [f"row/{v}", f"row/{v // 2 + 1}"]) for n in range(9)]
    space = Space("wide", fields, parts, no_block)
    predictor = Predictor(table(space, 3), space)
    assert len(predictor._spread._together[0].words) > 1
    agrees(predictor, every(space))


def test_the_size_of_groups_and_of_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held = table(V1, 5)
    drawn = V1.draw(random.Random(0), 50)
    before = Predictor(held, V1).predict(drawn)
    monkeypatch.setattr(columns, "MOST_COMBINATIONS", 1)
    monkeypatch.setattr("profiler.tables.predictor.CHUNK", 7)
    after = Predictor(held, V1).predict(drawn)
    for name in ("latency_ns", "low_ns", "high_ns"):
        assert abs(getattr(before, name) - getattr(after, name)).max() <= 1


# What is given -----------------------------------------------------------------------------------


def test_arrays_of_any_type_texts_and_architectures_are_taken() -> None:
    predictor = whole(V2.name)
    drawn = V2.draw(random.Random(0), 5)
    wanted = predictor.predict(drawn).latency_ns.tolist()
    assert predictor.predict(list(map(V2.text, drawn))).latency_ns.tolist() == wanted
    for kind in ("float64", "float32", "float16"):
        assert predictor.predict(numpy.array(drawn, kind)).latency_ns.tolist() == wanted
    integers = numpy.array(V1.draw(random.Random(0), 5), numpy.int16)
    first, second = (whole(V1.name).predict(a).latency_ns for a in (integers, integers * 1.0))
    assert (first == second).all()
    assert len(predictor.predict([]).latency_ns) == 0
    assert len(predictor.predict(numpy.empty((0, len(V2.fields)))).latency_ns) == 0


def test_values_that_do_not_count_change_nothing() -> None:
    predictor = whole(V2.name)
    array = numpy.array([V2.parse("s0")] * 2, float)
    beyond = list(V2.fields).index("expansions1_5")
    array[1, beyond] = 4
    assert array[0, beyond] != 4
    found = predictor.predict(array)
    assert found.latency_ns[0] == found.latency_ns[1]


@pytest.mark.parametrize("wrong", [33, -16, 1e300, math.nan, math.inf])
def test_a_value_outside_the_space_is_named_with_its_field_and_row(wrong: float) -> None:
    predictor = whole(V1.name)
    array = numpy.array(V1.draw(random.Random(0), 5000), float)
    array[4500, 2] = wrong
    with pytest.raises(BadArchitecture, match=r"row 4500: widths3="):
        predictor.predict(array)
    with pytest.raises(BadArchitecture, match=r"row 4500: widths3="):
        predictor.sizes(array)


def test_values_that_do_not_fit_together_are_named_with_their_row() -> None:
    predictor = whole(V1.name)
    array = numpy.array([V1.parse("l1")] * 3)
    array[1, [6, 7, 8]] = 1, 1, 3
    with pytest.raises(BadArchitecture, match=r"row 1: .*mb3d is 3"):
        predictor.predict(array)


def test_spaces_with_too_much_to_fit_together_are_checked_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(positions, "MOST_TRIED", 50)
    predictor = Predictor(table(V1, 1), V1)
    array = numpy.array([V1.parse("l1")] * 3)
    assert len(predictor.predict(array).latency_ns) == 3
    array[1, [6, 7, 8]] = 1, 1, 3
    with pytest.raises(BadArchitecture, match=r"row 1: .*mb3d is 3"):
        predictor.predict(array)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (numpy.zeros((3, 4)), r"\(number, 9\)"),
        (numpy.zeros(9), r"\(number, 9\)"),
        (numpy.array([["x"] * 9]), "are numbers"),
        (["l1", "l2"], "row 1: 'l2'"),
        ([V1.parse("l1"), (1, 2)], "row 1 has 2 values, not 9"),
    ],
)
def test_what_is_no_list_of_architectures_is_refused(given: Any, said: str) -> None:
    with pytest.raises(BadArchitecture, match=said):
        whole(V1.name).predict(given)


def test_the_table_of_another_space_and_an_unknown_policy_are_refused() -> None:
    with pytest.raises(TableError, match="efficientformer, not efficientformerv2"):
        Predictor(table(V1, 1), V2)
    with pytest.raises(UsageError, match="'guess' is not one of raise, interpolate"):
        Predictor(table(V1, 1), V1, policy="guess")


# Gaps --------------------------------------------------------------------------------------------


def gappy() -> LatencyTable:
    """All rows but three, of which one has no larger neighbour."""
    whole = table(V1, 7)
    gone = {f"head/{w}" for w in (160, 176, 768)}
    entries = {k: e for k, e in whole.entries.items() if k not in gone}
    return LatencyTable(V1.name, "host/x", {}, "1", "now", 0, 1.0, entries)


def with_width(width: int, count: int = 3) -> numpy.ndarray[Any, Any]:
    array = numpy.array([V1.parse("l1")] * count)
    array[-1, 3] = width
    return array


def test_a_missing_row_is_named_with_its_nearest_once_an_architecture_needs_it() -> None:
    predictor = Predictor(gappy(), V1)
    assert len(predictor.predict(with_width(144)).latency_ns) == 3
    with pytest.raises(MissingEntry, match=r"row 2: .*'head/160'; nearest: head/144"):
        predictor.predict(with_width(160))


def test_gaps_are_filled_on_demand_and_never_beyond_what_is_known() -> None:
    held = gappy()
    predictor = Predictor(held, V1, policy="interpolate")
    drawn = V1.narrowed({"widths4": [144, 160, 176]}).draw(random.Random(3), COUNT)
    agrees(predictor, drawn, fill=True)
    assert predictor.predict(with_width(160)).coverage["interpolated"][2] > 0
    with pytest.raises(MissingEntry, match=r"row 2: .*'head/768'"):
        predictor.predict(with_width(768))


# Sizes and the score -----------------------------------------------------------------------------


@given(spaces(), st.integers(0, 99))
@settings(max_examples=30)
def test_sizes_are_sums_over_the_rows_and_the_peak_is_the_largest(space: Space, seed: int) -> None:
    held = table(space, seed)
    architectures = every(space)
    found = Predictor(held, space).sizes(architectures)
    for n, architecture in enumerate(architectures):
        rows = [held.entries[k].size for k in space.rows(architecture)]
        sizes = [s for s in rows if s is not None]
        assert found.parameters[n] == sum(s.parameters for s in sizes)
        assert found.macs[n] == sum(s.macs for s in sizes)
        assert found.activation_bytes[n] == sum(s.activation_bytes for s in sizes)
        assert found.peak_bytes[n] == max(s.peak_bytes for s in sizes)


def test_an_entry_without_a_size_is_named_once_an_architecture_needs_it() -> None:
    held = table(V1, 1)
    bare = Entry("head/160", 100, 90, 110, "measured")
    entries = {**held.entries, bare.key: bare}
    predictor = Predictor(LatencyTable(V1.name, "h", {}, "1", "now", 0, 1.0, entries), V1)
    assert len(predictor.sizes(with_width(144)).macs) == 3
    with pytest.raises(TableError, match="row 2: the table has no size for 'head/160'"):
        predictor.sizes(with_width(160))


def test_the_score_follows_its_formula() -> None:
    assert mes(3e6, 1e6) == pytest.approx(100)
    assert mes(12e6, 1e6) == pytest.approx(50)
    assert mes(3e6, 4e6) == pytest.approx(25)
    s0, s1 = mes([3.6e6, 6.2e6], [0.9e6, 1.1e6])
    assert s0 == pytest.approx(100 * (3 / 3.6) ** 0.5 / 0.9)
    assert s1 == pytest.approx(100 * (3 / 6.2) ** 0.5 / 1.1)
    assert mes(2.0, 3.0, 1.0, 1.0, 2.0, 3.0, 1.0) == pytest.approx(1 / 108)


def test_units_change_no_order_of_networks() -> None:
    generator = numpy.random.default_rng(0)
    size, latency = generator.uniform(1e6, 3e7, 50), generator.uniform(1e5, 1e7, 50)
    known = mes(size, latency).argsort()
    assert (mes(size, latency, size_unit=1.0, latency_unit_ns=7.0).argsort() == known).all()


@pytest.mark.parametrize("wrong", [(0, 1), (1, 0), ([1, -1], 1), (1, math.nan), (1, 1, 0)])
def test_a_size_or_latency_of_nothing_has_no_score(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match="above zero"):
        mes(*wrong)
