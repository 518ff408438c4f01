"""Changes of layout and of precision are told apart within the entries that hold them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from profiler.commands.tables import boundary_line
from profiler.encoding import to_json
from profiler.profiling import Profile
from profiler.tables import boundaries, table
from profiler.tables.table import Boundary, LatencyTable
from profiler.types import Executed, OperatorTimes, Source
from reports import table_page
from tests.synthetic_tables import entry
from tests.synthetic_tables import table as made

ROWS = ["stem/8", "block/8", "block/8", "flat/8"]


def source(name: str, operator: str, module: str = "") -> Source:
    return Source(name, operator, modules=(module,) if module else ())


SOURCES = (
    source("b0/QuantizeLinear_0", "QuantizeLinear"),
    source("b0/Conv_1", "Conv"),
    source("b1/Conv_0", "Conv"),
    source("b1/Transpose_1", "Transpose"),
    source("b2/Conv_0", "Conv"),
    source("b2/Transpose_1", "Transpose"),
    source("b3/Reshape_0", "Reshape"),
)
EXECUTED = (
    Executed("q", "QuantizeLinear", 10.0, ("b0/QuantizeLinear_0",)),
    Executed("in", "ReorderInput", 20.0, (), ("b0/QuantizeLinear_0", "b0/Conv_1")),
    Executed("c0", "Conv", 100.0, ("b0/Conv_1",)),
    Executed("c1", "Conv", 100.0, ("b1/Conv_0",)),
    Executed("t1", "Transpose", 50.0, ("b1/Transpose_1",)),
    Executed("again", "ReorderInput", 4.0, (), ("b1/Transpose_1", "b2/Conv_0")),
    Executed("c2", "Conv", 100.0, ("b2/Conv_0",)),
    Executed("t2", "Transpose", 50.0, ("b2/Transpose_1",)),
    Executed("out", "ReorderOutput", 6.0, (), ("b2/Transpose_1", "b3/Reshape_0")),
    Executed("r", "Reshape", 10.0, ("b3/Reshape_0",)),
    Executed("lost", "ReorderOutput", 50.0),
    Executed("free", "Transpose", 0.0, (), ("b2/Transpose_1", "b3/Reshape_0")),
)


def profile(plain_ns: int, sources: tuple[Source, ...] = SOURCES) -> Profile:
    times = OperatorTimes(EXECUTED, plain_ns, 0.0)
    return Profile(times, sources, plain_ns, plain_ns, 12)


def test_what_was_inserted_belongs_to_the_row_that_it_is_there_for() -> None:
    found = boundaries.of({"one": profile(1000)}, {"one": ROWS}, {"one": 2000.0})
    assert found == (
        Boundary("stem/8", "QuantizeLinear", "conversion", 1.0, 20),
        Boundary("stem/8", "ReorderInput", "reshape and layout", 1.0, 40),
        # In one of two occurrences of the row.
        Boundary("block/8", "ReorderInput", "reshape and layout", 0.5, 4),
        Boundary("flat/8", "ReorderOutput", "reshape and layout", 1.0, 12),
    )


def test_times_of_more_than_the_latency_are_scaled_down_to_it() -> None:
    (first, *_) = boundaries.of({"one": profile(250)}, {"one": ROWS}, {"one": 500.0})
    assert first.ns == 10


def test_several_networks_are_averaged() -> None:
    found = boundaries.of(
        {"one": profile(1000), "two": profile(1000)},
        {"one": ROWS, "two": ROWS},
        {"one": 1000.0, "two": 3000.0},
    )
    assert [b.ns for b in found] == [20, 40, 4, 12]


def test_a_network_without_a_latency_has_no_part() -> None:
    both = {"one": profile(1000), "failed": profile(1000)}
    rows = {"one": ROWS, "failed": ROWS}
    alone = boundaries.of({"one": profile(1000)}, rows, {"one": 1000.0})
    assert boundaries.of(both, rows, {"one": 1000.0}) == alone != ()
    assert boundaries.of(both, rows, {}) == ()


def test_blocks_that_were_chained_in_torch_are_known_by_their_modules() -> None:
    chained = tuple(
        dataclasses.replace(s, name=f"n{i}", modules=(f"blocks.{s.name[1]}.conv",))
        for i, s in enumerate(SOURCES)
    )
    known = {s.name: f"n{i}" for i, s in enumerate(SOURCES)}
    executed = tuple(
        dataclasses.replace(
            e, sources=tuple(known[n] for n in e.sources), beside=tuple(known[n] for n in e.beside)
        )
        for e in EXECUTED
    )
    taken = Profile(OperatorTimes(executed, 1000, 0.0), chained, 1000, 1000, 12)
    found = boundaries.of({"one": taken}, {"one": ROWS}, {"one": 1000.0})
    assert [b.row for b in found] == ["stem/8", "stem/8", "block/8", "flat/8"]


PLAIN = made([entry(key, ns, 10) for key, ns in {"stem/8": 800, "flat/8": 400}.items()])
INSERTED = Boundary("flat/8", "ReorderOutput", "reshape and layout", 0.5, 100)
BOUNDED = dataclasses.replace(
    PLAIN, boundaries=(INSERTED, Boundary("gone/1", "Cast", "conversion", 1.0, 7))
)


def test_they_are_kept_in_the_file_and_change_no_prediction(tmp_path: Path) -> None:
    table.save(BOUNDED, tmp_path / "t.json")
    assert table.load(tmp_path / "t.json") == BOUNDED
    rows = ["stem/8", "flat/8"]
    assert BOUNDED.predict("n", rows) == PLAIN.predict("n", rows)
    assert "boundaries" not in table.render(PLAIN)


@pytest.mark.parametrize("shown", [BOUNDED, PLAIN])
def test_they_are_shown(shown: LatencyTable) -> None:
    page = table_page.render(shown, (), "t.json")
    assert ("<h2>Boundaries</h2>" in page) == bool(shown.boundaries)
    if shown.boundaries:
        said = boundary_line([to_json(b) for b in shown.boundaries])
        assert said == (
            "boundaries within entries: ReorderOutput, Cast; at the most 100 ns "
            "(ReorderOutput in flat/8)"
        )
        assert 'data-v="25">25.0</td>' in page, "a quarter of the entry"
        assert "gone/1" in page
