"""`baseline`: files that are kept, and what a later day says of them."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest

from profiler import baseline, comparison, environment
from profiler.baseline import Baseline
from profiler.comparison import Cell, Compared
from profiler.errors import UsageError
from reports import comparison as report


def day(
    seed: int, factor: float = 1.0, canary: float = 1.0, rounds: int = 12, digest: str = "d"
) -> Compared:
    """A comparison of one network on one target, with 1 % of noise between rounds."""
    generator = random.Random(seed)
    medians = {f"s-{i}": factor * 1e6 * generator.gauss(1, 0.01) for i in range(rounds)}
    canaries = tuple(round(canary * 1e5 * generator.gauss(1, 0.01)) for _ in range(rounds))
    cell = Cell("n", "t", "", 1, 1, 1, medians, artifact_digest=digest)
    return Compared(
        ("n",), ("t",), "t", f"day {seed}", environment.host(), {"engine": "1"},
        comparison.rules(1), (cell,), canaries_ns={"t": canaries},
    )  # fmt: skip


def kept(compared: Compared) -> Baseline:
    return Baseline(("n",), 1, {}, compared, {"packages": environment.packages()})


def verdict(then: Compared, now: Compared) -> str:
    (row,) = baseline.check(kept(then), now).rows
    return row.against.verdict


def test_three_percent_are_found_and_nothing_is_not() -> None:
    slow = [verdict(day(2 * n), day(2 * n + 1, 1.04)) for n in range(60)]
    same = [verdict(day(2 * n), day(2 * n + 1)) for n in range(100)]
    assert slow.count("SLOWER") >= 50
    assert same.count("SLOWER") + same.count("FASTER") <= 5


def test_what_the_machine_does_to_the_canary_it_may_do_to_the_network() -> None:
    assert verdict(day(1), day(2, 1.08, canary=1.0)) == "SLOWER"
    assert verdict(day(1), day(2, 1.08, canary=1.08)) != "SLOWER"
    assert verdict(day(1), day(2, 1.5, canary=1.08)) == "SLOWER"
    (row,) = baseline.check(kept(day(1)), day(2, 1.08, canary=1.08)).rows
    assert row.against.ratio == pytest.approx(1.08, rel=0.02), "the ratio itself is not corrected"
    assert baseline.canary_ratios(day(1), day(2, canary=1.08))["t"] == pytest.approx(1.08, rel=0.02)


def test_failures_and_loud_days_are_not_judged() -> None:
    now = day(2)
    failed = dataclasses.replace(now, cells=(Cell("n", "t", "crash: died"),))
    loud_cell = dataclasses.replace(now.cells[0], flags=("unstable environment",))
    loud = dataclasses.replace(now, cells=(loud_cell,))
    gone = dataclasses.replace(now, cells=())
    for other, word in ((failed, "failed now: crash"), (loud, "unstable"), (gone, "not measured")):
        (row,) = baseline.check(kept(day(1)), other).rows
        assert row.against.verdict == "UNUSABLE"
        assert word in row.against.reason


def test_what_else_has_changed_is_said() -> None:
    now = dataclasses.replace(day(2, digest="other"), versions={"engine": "2"})
    checked = baseline.check(kept(day(1)), now, ("ANOTHER MACHINE: x",))
    assert checked.rows[0].notes == ("the artifact is another one",)
    assert checked.marks == ("ANOTHER MACHINE: x", "engine 1 then, 2 now")
    text = report.checked_text(checked)
    for word in (
        "ANOTHER MACHINE",
        "engine 1 then, 2 now",
        "the artifact is another one",
        "canary",
    ):
        assert word in text


def test_another_machine_is_refused_unless_forced_and_then_marked() -> None:
    here = kept(day(1))
    assert baseline.marks(here, force=False) == ()
    far = dataclasses.replace(environment.host(), fingerprint="f", description="a phone")
    moved = dataclasses.replace(here, compared=dataclasses.replace(here.compared, device=far))
    with pytest.raises(UsageError, match=r"another machine .*a phone.*--force"):
        baseline.marks(moved, force=False)
    (mark,) = baseline.marks(moved, force=True)
    assert mark.startswith("ANOTHER MACHINE: then on a phone")


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = dataclasses.replace(kept(day(1)), shapes={"x": (1, 3)})
    baseline.save(whole, tmp_path / "b.json")
    assert baseline.load(tmp_path / "b.json") == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a whole baseline"),
        ("[1]", "not a baseline of this opclock"),
        ('{"schema": "opclock-baseline/9"}', "opclock-baseline/9"),
        ('{"schema": "opclock-baseline/1", "models": 3}', "not a whole baseline"),
        ('{"schema": "opclock-baseline/1", "color": 3}', "unknown field 'color'"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        baseline.load(tmp_path / "b.json")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    baseline.save(kept(day(1)), tmp_path / "b.json")
    text = (tmp_path / "b.json").read_text()
    (tmp_path / "b.json").write_text(text[: len(text) // 2])
    with pytest.raises(UsageError, match="not a whole baseline"):
        baseline.load(tmp_path / "b.json")
    (tmp_path / "b.json").write_text(json.dumps({**json.loads(text), "compared": {}}))
    with pytest.raises(UsageError, match="not a whole baseline"):
        baseline.load(tmp_path / "b.json")
