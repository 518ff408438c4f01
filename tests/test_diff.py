"""Two tables are compared entry by entry, and several of the same become one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import cli
from profiler.errors import TableError, UsageError
from profiler.tables import table as tables
from profiler.tables.diff import diff
from profiler.tables.merge import merge
from profiler.tables.table import Closure, Entry, LatencyTable, Network, Size
from tests.synthetic_tables import entry, table, values

CLOSURE = Closure(0, 16, 1.0, 2.0, 3.0, 0.5, 1.2, 0.99, 0.95, 0.4)
FAMILIES = st.sampled_from(["a", "b/7"])
ENTRIES = st.dictionaries(
    st.builds("{}/{}".format, FAMILIES, st.integers(1, 40)),
    st.tuples(st.integers(1, 10**9), st.integers(0, 10**6), st.integers(0, 20)),
    max_size=8,
)
SCALES = st.floats(0.25, 4)


def made(figures: dict[str, tuple[int, int, int]], **facts: Any) -> LatencyTable:
    return table([entry(k, ns, by, rounds=n) for k, (ns, by, n) in figures.items()], **facts)


def costs(cost: float, count: int = 20, spread: float = 0.01) -> list[Entry]:
    found = [round(cost * 1000 * n) for n in range(1, count + 1)]
    return [entry(f"a/{n}", ns, round(spread * ns)) for n, ns in enumerate(found, 1)]


# Differences -------------------------------------------------------------------------------------


@given(ENTRIES, SCALES)
def test_a_table_does_not_differ_from_itself(
    figures: dict[str, tuple[int, int, int]], scale: float
) -> None:
    found = diff(made(figures, scale=scale), made(figures, scale=scale))
    assert found.median_ratio == (1.0 if figures else None)
    assert (found.moved_share, found.moved_beside_share, found.outside_share) == (0, 0, 0)
    assert (found.only_old, found.only_new, found.changed) == ((), (), {})
    assert all(m.ratio == 1.0 and not m.outside for m in found.moves)


@given(ENTRIES, ENTRIES, SCALES)
def test_the_other_way_round_every_ratio_is_inverted(
    one: dict[str, tuple[int, int, int]], two: dict[str, tuple[int, int, int]], scale: float
) -> None:
    there, back = (
        diff(made(one, scale=scale), made(two)),
        diff(made(two), made(one, scale=scale)),
    )
    assert there.common == len(set(one) & set(two))
    assert set(there.only_old) == set(one) - set(two) == set(back.only_new)
    ratios = {m.key: m.ratio for m in back.moves}
    for move in there.moves:
        assert move.ratio == pytest.approx(1 / ratios[move.key], rel=1e-9)
    assert there.outside_share == back.outside_share
    sizes = [max(m.ratio, 1 / m.ratio) for m in there.moves]
    assert sizes == sorted(sizes, reverse=True)


def test_a_common_factor_is_told_from_entries_that_moved() -> None:
    slower = [dataclasses.replace(e, ns=round(1.2 * e.ns)) for e in costs(1.0)]
    slower = [dataclasses.replace(e, low_ns=e.ns - 1, high_ns=e.ns + 1) for e in slower]
    odd = entry("a/3", 9000, 10)
    found = diff(table(costs(1.0)), table([*slower, odd, entry("b/1", 5)]))
    assert found.median_ratio == pytest.approx(1.2)
    assert found.moved_share == 1.0
    assert found.moved_beside_share == pytest.approx(1 / 20)
    assert found.outside_share == 1.0
    assert found.moves[0].key == "a/3"
    assert (found.moves[0].old_ns, found.moves[0].new_ns) == (3000, 9000)
    assert found.only_new == ("b/1",)


def test_scales_take_part() -> None:
    halved = [dataclasses.replace(e, ns=e.ns // 2) for e in costs(2.0)]
    found = diff(table(costs(2.0)), table(halved, scale=2.0))
    assert found.median_ratio == 1.0
    assert found.changed == {"scale": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("old", "new", "outside"),
    [((100, 10), (105, 10), False), ((100, 10), (130, 5), True), ((100, 50), (130, 5), False)],
)
def test_an_entry_is_outside_when_each_value_is_outside_the_others_interval(
    old: tuple[int, int], new: tuple[int, int], outside: bool
) -> None:
    found = diff(table([entry("a/1", *old)]), table([entry("a/1", *new)]))
    assert found.moves[0].outside is outside
    assert found.outside_share == float(outside)


def test_what_changed_in_the_head_is_named_by_its_path() -> None:
    old = table(costs(1.0), closure=CLOSURE, provenance={"protocol": {"passes": 5}, "seed": 0})
    new = dataclasses.replace(
        old,
        target="host/openvino",
        device={**old.device, "fingerprint": "g"},
        runtime_version="2.0",
        closure=None,
        provenance={"protocol": {"passes": 6}, "seed": 0, "note": "again"},
    )
    found = diff(old, new).changed
    assert found["target"] == (old.target, "host/openvino")
    assert found["device.fingerprint"] == ("f", "g")
    assert found["runtime_version"] == ("1.0", "2.0")
    assert found["provenance.protocol.passes"] == (5, 6)
    assert found["provenance.note"] == (None, "again")
    assert found["closure.mape_percent"] == (1.0, None)
    assert not any(name.startswith(("provenance.seed", "entries", "space")) for name in found)


# Merging -----------------------------------------------------------------------------------------


def test_all_entries_are_in_the_merged_table_and_the_closure_is_not() -> None:
    one = table([entry("a/1", 10), entry("a/2", 20)], closure=CLOSURE)
    two = table([entry("b/1", 30)], closure=CLOSURE)
    found = merge([one, two])
    assert values(found.entries) == {"a/1": 10, "a/2": 20, "b/1": 30}
    assert found.closure is None
    assert found.closure_networks == ()
    assert "closures were dropped" in found.provenance["closure"]
    assert [m["entries_taken"] for m in found.provenance["merged"]] == [2, 1]
    assert found.provenance["merged"][0]["closure"]["mape_percent"] == 1.0
    assert not found.predict("net", ["a/1", "b/1"]).validated


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (entry("a/1", 100, 5, rounds=6), entry("a/1", 110, 20, rounds=8)),
        (entry("a/1", 100, 6, rounds=8), entry("a/1", 110, 5, rounds=8)),
        (entry("a/1", 100, 1, "imported", 500), entry("a/1", 110, 20, rounds=6)),
        (entry("a/1", 100, 0, "interpolated", 0), entry("a/1", 110, 20, "imported", 0)),
    ],
)
def test_the_better_known_entry_is_taken_whatever_the_order(worse: Entry, better: Entry) -> None:
    for order in ([worse, better], [better, worse]):
        assert merge([table([e]) for e in order]).entries["a/1"] == better


def test_the_first_of_equals_is_taken() -> None:
    found = merge([table([entry("a/1", 100, 5)]), table([entry("a/1", 100, 5)], overhead_ns=1)])
    assert [m["entries_taken"] for m in found.provenance["merged"]] == [1, 0]
    assert found.overhead_ns == 3000


def test_interpolated_entries_lie_between_the_merged_ones() -> None:
    guess = Entry("a/4", 1, 1, 1, "interpolated", 0, size=Size(1, 2, 3, 4))
    one = table([entry("a/2", 2000, 5), guess])
    two = table([entry("a/8", 8000, 5), dataclasses.replace(guess, ns=10**6, high_ns=10**6)])
    found = merge([one, two]).entries["a/4"]
    assert found.source == "interpolated"
    assert found.ns == pytest.approx(4000, abs=1)
    assert found.size == guess.size
    alone = merge([table([entry("b/2", 2000, 5), guess]), table([entry("b/3", 5)])])
    assert alone.entries["a/4"] == guess


@given(ENTRIES, ENTRIES, SCALES, SCALES)
def test_what_networks_read_is_what_one_of_the_tables_said(
    one: dict[str, tuple[int, int, int]],
    two: dict[str, tuple[int, int, int]],
    left: float,
    right: float,
) -> None:
    both = [made(one, scale=left), made(two, scale=right, family_scales={"a": 0.5})]
    found = merge(both)
    assert set(found.entries) == set(one) | set(two)
    for key, held in found.entries.items():
        said = [t.entries[key].ns * t.scale_of(key) for t in both if key in t.entries]
        assert any(abs(held.ns * found.scale_of(key) - ns) <= 1 for ns in said)
        assert held.low_ns <= held.ns <= held.high_ns


def test_equal_scales_are_kept() -> None:
    scales = {"scale": 1.5, "family_scales": {"a": 2.0}}
    found = merge([table([entry("a/1", 10)], **scales), table([entry("a/2", 20)], **scales)])
    assert (found.scale, found.family_scales) == (1.5, {"a": 2.0})
    assert values(found.entries) == {"a/1": 10, "a/2": 20}


def test_references_of_all_are_kept() -> None:
    lines = [Network(n, 10, 11, 0.1) for n in ("x", "y", "x")]
    one, two = table(costs(1.0), references=(lines[0],)), table([], references=(*lines[1:],))
    assert merge([one, two]).references == (lines[0], lines[1])


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"space": "other"}, 'space ("mobilenet" and "other")'),
        ({"target": "host/openvino"}, "target"),
        ({"device": {"name": "host", "description": "d", "fingerprint": "g"}}, "device"),
        ({"runtime_version": "2.0"}, 'runtime_version ("1.0" and "2.0")'),
        ({"batch": 8}, "batch (1 and 8)"),
    ],
)
def test_tables_of_different_things_are_not_merged(facts: dict[str, Any], named: str) -> None:
    one = table(costs(1.0))
    with pytest.raises(TableError) as caught:
        merge([one, one, dataclasses.replace(one, **facts)])
    assert named in str(caught.value)


def test_one_table_is_not_merged() -> None:
    with pytest.raises(UsageError):
        merge([table(costs(1.0))])


# The commands ------------------------------------------------------------------------------------


def test_the_commands_say_what_differs_and_what_was_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, out = (tmp_path / f"{n}.json" for n in ("one", "two", "out"))
    tables.save(table(costs(1.0), closure=CLOSURE), one)
    tables.save(table([entry("a/1", 2000, 5, rounds=9), entry("b\x1b[2J/1", 5)]), two)
    assert cli.main(["table", "diff", str(one), str(two), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["median_ratio"], record["moves"][0]["key"]) == (2.0, "a/1")
    assert cli.main(["table", "diff", str(one), str(two)]) == 0
    out_text = capsys.readouterr().out
    assert "1 entries in both: median ratio 2.000; 100.0% moved by more than 10 %" in out_text
    assert "closure.mape_percent: 1.0 -> nothing" in out_text
    assert "outside both intervals" in out_text
    assert "\x1b" not in out_text
    assert cli.main(["table", "merge", str(one), str(two), "-o", str(out)]) == 0
    assert "unvalidated: closures were dropped" in capsys.readouterr().out
    assert tables.load(out).entries["a/1"].ns == 2000
    tables.save(table([], target="host/openvino"), two)
    out.unlink()
    assert cli.main(["table", "merge", str(one), str(two), "-o", str(out)]) == 2
    assert "target" in capsys.readouterr().err
    assert not out.exists()
