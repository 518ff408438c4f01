"""A table that somebody edited is told from one that was measured, line by line."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler import cli
from profiler.errors import TableError
from profiler.tables import table as tables
from profiler.tables.lint import copied_between, lint, lint_text
from profiler.tables.suspicions import ERROR, WARNING, Finding
from profiler.tables.table import Closure, Entry, LatencyTable
from tests.synthetic_tables import table

WIDTHS = range(16, 400, 16)
CLOSURE = Closure(0, 16, 1.0, 2.0, 3.0, 0.5, 1.2, 0.99, 0.95, 0.4)


def measured(key: str, ns: float, generator: random.Random, noise: float = 0.004) -> Entry:
    """An entry as measuring makes it: noisy, its interval wider than its noise."""
    value = ns * generator.gauss(1, noise)
    below, above = (2 * noise * generator.uniform(1, 1.5) * ns for _ in range(2))
    return Entry(key, round(value), round(value - below), round(value + above), "measured", 8)


def honest(seed: int = 0, power: float = 1.6) -> LatencyTable:
    """A table whose odd multiples of 16 are slower than their neighbours, as on many engines."""
    generator = random.Random(seed)
    rows = []
    for family, unit in (("mb4d/28", 400.0), ("mb3d/196", 900.0), ("ffn/14", 77.0)):
        for width in WIDTHS:
            cliff = 1.3 if width % 32 else 1.0
            rows.append(measured(f"{family}/{width}", cliff * unit * width**power, generator))
    for before in WIDTHS[::4]:
        for after in WIDTHS[::4]:
            key = f"embedding/14/{before}-{after}"
            rows += [measured(key, 3.0 * before * after, generator)]
    return table(rows, closure=CLOSURE)


def changed(whole: LatencyTable, *entries: Entry) -> LatencyTable:
    return dataclasses.replace(whole, entries={**whole.entries, **{e.key: e for e in entries}})


def found(whole: LatencyTable) -> list[Finding]:
    return lint_text(tables.render(whole))


def line_of(text: str, key: str) -> int:
    (line,) = [n for n, x in enumerate(text.split("\n"), 1) if f'"key": {json.dumps(key)}' in x]
    return line


def edited(change: Callable[[dict[str, Any]], Any], **facts: Any) -> str:
    """A table's text whose second entry was changed by hand; each entry on a line of its own."""
    record = json.loads(tables.render(honest()))
    record.update(facts)
    rows = record.pop("entries")
    rows[1] = change(dict(rows[1]))
    head = json.dumps(record)[1:-1]
    body = ",\n".join(json.dumps(r) for r in rows)
    return f'{{{head},\n"entries": [\n{body}\n]}}\n'


# Honest tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_wrong_with_an_honest_table(seed: int) -> None:
    assert found(honest(seed)) == []


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_noise_tells_a_straight_law_from_a_filled_line(power: float) -> None:
    assert found(honest(1, power)) == []


def test_interpolated_entries_may_be_straight_and_alike() -> None:
    rows = [Entry(f"a/{w}", 1000 * w, 900 * w, 1100 * w, "interpolated") for w in WIDTHS]
    rows += [Entry(f"b/{w}", 5000, 4000, 6000, "interpolated") for w in WIDTHS]
    assert found(table(rows, closure=CLOSURE)) == []


def test_entries_that_are_lost_in_their_noise_tell_nothing() -> None:
    rows = [Entry(f"flat/7/{w}", 1, 0, 500, "measured", 8) for w in WIDTHS]
    assert found(table(rows, closure=CLOSURE)) == []


# What table.load refuses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "rule", "said"),
    [
        ({"ns": math.nan}, "nan", "ns is nan"),
        ({"high_ns": math.inf}, "nan", "high_ns is inf"),
        ({"ns": -5}, "negative", "ns is -5"),
        ({"low_ns": -1}, "negative", "low_ns is -1"),
        ({"ns": 0}, "zero", "ns is 0"),
        ({"ns": "7"}, "no-number", "ns is missing or no number"),
        ({"ns": 10**30, "high_ns": 10**30}, "too-large", "far too large"),
        ({"high_ns": 1}, "interval", "interval does not hold its value"),
        ({"source": "guessed"}, "source", "'guessed' is not one of"),
        ({"key": 5}, "no-key", "no key"),
    ],
)
def test_a_line_that_no_table_may_have_is_named(
    tmp_path: Path, change: Mapping[str, Any], rule: str, said: str
) -> None:
    text = edited(lambda entry: {**entry, **change})
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(TableError):
        tables.load(tmp_path / "t.json")
    problems = [f for f in lint(tmp_path / "t.json") if f.rule == rule]
    assert problems
    assert {f.line for f in problems} == {4}
    assert {f.severity for f in problems} == {ERROR}
    assert said in problems[0].message


def test_every_bad_line_is_named_not_only_the_first() -> None:
    record = json.loads(tables.render(honest()))
    keys = [e["key"] for e in record["entries"][::3]]
    for entry in record["entries"][::3]:
        entry["ns"] = -entry["ns"]
    text = json.dumps({**record, "entries": []})[:-2] + ",\n".join(
        json.dumps(e) for e in record["entries"]
    )
    named = [f.key for f in lint_text(text + "]}") if f.rule == "negative"]
    assert sorted(named) == sorted(keys)


def test_a_key_that_is_there_twice_is_named_with_both_lines() -> None:
    text = edited(lambda entry: {**entry, "key": "embedding/14/16-16"})
    (problem,) = [f for f in lint_text(text) if f.rule == "duplicated"]
    assert (problem.line, problem.severity) == (4, ERROR)
    assert problem.message == "is there twice, first on line 3"


@given(st.floats(0.02, 0.98))
@settings(max_examples=30, deadline=None)
def test_of_a_truncated_file_the_whole_lines_are_judged(share: float) -> None:
    whole = changed(honest(), Entry("mb4d/28/16", 5, 5, 5, "guessed", 8))
    text = tables.render(whole)
    cut = text[: int(share * len(text))]
    problems = lint_text(cut)
    assert problems[0].rule == "truncated"
    at = line_of(text, "mb4d/28/16")
    if cut.count("\n") >= at:
        assert [(f.line, f.key) for f in problems if f.rule == "source"] == [(at, "mb4d/28/16")]
    last = cut.rpartition("\n")[2].strip()
    if last.startswith('{"key"') and not last.endswith(("}", "},")):
        assert problems[-1].line == cut.count("\n") + 1


def test_a_file_that_was_laid_out_anew_is_judged_by_its_keys() -> None:
    record = json.loads(tables.render(honest()))
    record["entries"][7]["ns"] = -1
    key = record["entries"][7]["key"]
    text = json.dumps(record, indent=2)
    (problem,) = lint_text(text)
    assert (problem.line, problem.key) == (line_of(text, problem.key) - 1, key)
    (problem,) = lint_text(json.dumps(record))
    assert (problem.line, problem.key) == (0, key)


@pytest.mark.parametrize(
    ("facts", "rule", "severity"),
    [
        ({"closure": None}, "unvalidated", WARNING),
        ({"scale": -1.0}, "head", ERROR),
        ({"overhead_ns": -1}, "head", ERROR),
        ({"scale": "1"}, "head", ERROR),
        ({"surplus": 1}, "head", ERROR),
        ({"schema": "opclock-table/9"}, "schema", ERROR),
        ({"closure": {**dataclasses.asdict(CLOSURE), "rms_percent": math.nan}}, "head", ERROR),
    ],
)
def test_a_head_that_is_not_right_is_named(
    facts: Mapping[str, Any], rule: str, severity: str
) -> None:
    problems = lint_text(edited(dict, **facts))
    assert [(f.rule, f.severity, f.line) for f in problems] == [(rule, severity, 0)]


@given(st.text(max_size=200) | st.binary(max_size=80))
def test_any_file_is_linted(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
    assert any(f.severity == ERROR for f in lint(path))


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=3), st.lists))
@settings(max_examples=40, deadline=None)
def test_entries_of_any_kind_are_named(value: Any) -> None:
    problems = lint_text(edited(lambda entry: {**entry, "ns": value, "low_ns": None}))
    assert any(f.severity == ERROR and f.line == 4 for f in problems)
    assert any(f.line == 4 for f in lint_text(edited(lambda _: value)))


# What was made up --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_a_copied_line_is_named_beside_its_original(seed: int) -> None:
    generator = random.Random(seed)
    whole = honest(seed)
    first, second = generator.sample(sorted(whole.entries), 2)
    copy = dataclasses.replace(whole.entries[first], key=second)
    problems = [f for f in found(changed(whole, copy)) if f.rule == "copied"]
    assert {f.key for f in problems} == {first, second}
    text = tables.render(changed(whole, copy))
    assert {f.line for f in problems} == {line_of(text, k) for k in (first, second)}


def test_a_value_copied_to_several_keys_is_named_whatever_the_intervals() -> None:
    whole = honest()
    ns = whole.entries["mb4d/28/64"].ns
    keys = ["mb4d/28/80", "mb3d/196/96", "ffn/14/304"]
    copies = [Entry(k, ns, ns - 7 * n, ns + 9 * n, "measured", 8) for n, k in enumerate(keys, 5)]
    problems = [f for f in found(changed(whole, *copies)) if f.rule == "copied"]
    assert {f.key for f in problems} == {"mb4d/28/64", *keys}


def test_equal_values_of_a_coarse_clock_are_no_copies() -> None:
    rows = [Entry(f"a/{w}", w // 8 * 1000, w * 100, w * 150, "imported") for w in range(64, 256, 8)]
    rows += [dataclasses.replace(r, key=r.key.replace("a", "b")) for r in rows]
    assert "copied" not in {f.rule for f in found(table(rows, closure=CLOSURE))}


def test_equal_values_whose_intervals_follow_from_them_are_no_copies() -> None:
    values = [1000 + (37 * n * n) % 97 for n in range(60)]
    rows = [
        Entry(f"a{n}/16", ns, round(0.99 * ns), round(1.01 * ns), "measured", 8)
        for n, ns in enumerate(values)
    ]
    assert len(set(values)) < len(values)
    assert found(table(rows, closure=CLOSURE)) == []


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("count", [4, 6])
def test_entries_filled_along_a_line_are_named(logarithmic: bool, count: int) -> None:
    whole = honest()
    keys = [f"mb4d/28/{w}" for w in WIDTHS[3 : 3 + count]]
    ends = [whole.entries[k].ns for k in (keys[0], keys[-1])]
    filled = []
    for key in keys[1:-1]:
        places = [float(k.rpartition("/")[2]) for k in (keys[0], key, keys[-1])]
        low, at, high = map(math.log, places) if logarithmic else places
        share = (at - low) / (high - low)
        value = (
            ends[0] ** (1 - share) * ends[1] ** share
            if logarithmic
            else (1 - share) * ends[0] + share * ends[1]
        )
        filled.append(Entry(key, round(value), int(0.99 * value), int(1.01 * value), "measured", 8))
    problems = [f for f in found(changed(whole, *filled)) if f.rule == "linear"]
    assert {f.key for f in problems} == {e.key for e in filled}
    assert {f.severity for f in problems} == {ERROR}
    assert keys[0] in problems[0].message


def test_entries_filled_along_one_of_two_widths_are_named() -> None:
    whole = honest()
    keys = [f"embedding/14/80-{w}" for w in WIDTHS[::4]]
    first = whole.entries[keys[0]].ns
    filled = [
        Entry(k, first + 50_000 * n, first + 49_000 * n, first + 51_000 * n, "measured", 8)
        for n, k in enumerate(keys)
        if n
    ]
    problems = found(changed(whole, *filled))
    assert {f.key for f in problems if f.rule == "linear"} == set(keys[1:-1])


def test_imported_entries_on_a_line_are_a_reason_for_care_only() -> None:
    rows = [Entry(f"a/{w}", 1000 * w + 7, 990 * w, 1010 * w + 9, "imported") for w in WIDTHS]
    problems = found(table(rows, closure=CLOSURE))
    assert {(f.rule, f.severity) for f in problems} == {("linear", WARNING)}
    assert len(problems) == len(rows) - 2


@pytest.mark.parametrize("seed", range(10))
def test_shuffled_entries_are_named(seed: int) -> None:
    whole = honest(seed)
    keys = [f"mb3d/196/{w}" for w in WIDTHS]
    mixed = keys.copy()
    random.Random(seed).shuffle(mixed)
    rows = [dataclasses.replace(whole.entries[m], key=k) for k, m in zip(keys, mixed, strict=True)]
    problems = [f for f in found(changed(whole, *rows)) if f.rule == "shuffled"]
    assert len(problems) >= len(keys) // 2
    assert {f.key for f in problems} <= set(keys)
    assert ERROR in {f.severity for f in problems}


def test_two_exchanged_entries_are_found_and_both_are_named() -> None:
    whole = honest()
    one, two = "mb4d/28/96", "mb4d/28/192"
    rows = (
        dataclasses.replace(whole.entries[one], key=two),
        dataclasses.replace(whole.entries[two], key=one),
    )
    problems = [f for f in found(changed(whole, *rows)) if f.severity == ERROR]
    assert {f.key for f in problems} == {one, two}


def test_a_stair_of_aligned_widths_is_no_disorder() -> None:
    generator = random.Random(0)
    rows = [
        measured(f"a/{w}", 1000 * w * (1.6 if w % 32 else 1.0), generator)
        for w in range(256, 400, 16)
    ]
    assert any(a.ns > b.ns for a, b in itertools.pairwise(rows))
    assert found(table(rows, closure=CLOSURE)) == []


def test_the_same_fall_without_a_stair_is_a_disorder() -> None:
    generator = random.Random(0)
    rows = [
        measured(f"a/{w}", 1000 * w * (1.6 if w % 20 else 1.0), generator)
        for w in range(250, 400, 10)
    ]
    assert {f.rule for f in found(table(rows, closure=CLOSURE))} == {"shuffled"}


def test_a_fall_within_the_intervals_is_none() -> None:
    rows = [
        Entry("a/16", 1000, 800, 1200, "measured", 8),
        Entry("a/40", 900, 700, 1150, "measured", 8),
        Entry("a/48", 880, 700, 1150, "measured", 8),
    ]
    assert found(table(rows, closure=CLOSURE)) == []
    worse = dataclasses.replace(rows[2], high_ns=900, low_ns=860)
    sharper = dataclasses.replace(rows[0], low_ns=950, high_ns=1050)
    assert {f.rule for f in found(table([sharper, rows[1], worse], closure=CLOSURE))} == {
        "shuffled"
    }


def test_a_clock_that_is_too_coarse_is_named() -> None:
    generator = random.Random(0)
    step = 10_000
    rows = [
        Entry(f"a/{w}", ns := step * generator.randint(2, 90), ns - step, ns + step, "measured")
        for w in WIDTHS
    ]
    (problem,) = [f for f in found(table(rows, closure=CLOSURE)) if f.rule == "coarse"]
    assert (problem.severity, problem.line) == (WARNING, 0)
    assert "10000 ns" in problem.message


# Between tables ----------------------------------------------------------------------------------


def test_entries_copied_from_a_table_of_another_target_are_named(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    whole = honest(1)
    stolen = [whole.entries[f"mb4d/28/{w}"] for w in WIDTHS[:5]]
    tables.save(whole, one)
    tables.save(dataclasses.replace(changed(honest(2), *stolen), target="host/openvino"), other)
    problems = copied_between([one, other])
    assert problems[one] == []
    assert {f.key for f in problems[other]} == {e.key for e in stolen}
    text = other.read_text()
    assert all(f.line == line_of(text, f.key) for f in problems[other])
    assert str(one) in problems[other][0].message


def test_two_tables_of_the_same_may_share_entries(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json", tmp_path / "absent.json"]
    for path in paths[:2]:
        tables.save(honest(1), path)
    assert not any(copied_between(paths).values())


# The command -------------------------------------------------------------------------------------


def test_the_command_tells_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    tables.save(dataclasses.replace(honest(), closure=None), good)
    bad.write_text(edited(lambda entry: {**entry, "ns": -5}))
    assert cli.main(["table", "lint", str(good)]) == 0
    assert "unvalidated: no network was measured against it" in capsys.readouterr().out
    assert cli.main(["table", "lint", str(good), str(bad), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert (record["errors"], record["warnings"]) == (1, 1)
    (problem,) = record["tables"][1]["findings"]
    assert (problem["line"], problem["rule"], problem["severity"]) == (4, "negative", "error")
    assert cli.main(["table", "lint", str(bad)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^ *4 +error +negative +", out, re.MULTILINE)
    assert "ns is -5; a block cannot take that" in out


def test_the_command_says_that_nothing_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.save(honest(), tmp_path / "t.json")
    assert cli.main(["table", "lint", str(tmp_path / "t.json")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 't.json'}: nothing is wrong\n"


def test_it_lints_a_large_table_in_reasonable_steps() -> None:
    """Work grows with the entries, not with their square."""
    keys = [
        f"ir/{r}/k{k}/{w}-{v}" for r in range(8) for k in (3, 5) for w in WIDTHS for v in WIDTHS
    ]
    generator = random.Random(0)
    rows = [measured(k, 1000.0 + 500 * n, generator) for n, k in enumerate(keys)]
    assert len(rows) > 9_000
    assert {f.rule for f in found(table(rows, closure=CLOSURE))} <= {"copied"}
