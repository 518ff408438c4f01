"""Jobs that are loaded at the same time, and timed one after the other."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest

from profiler import devices, environment, jobs, measure, processes, turns, worker
from profiler.collection import Collection, Item
from profiler.processes import Channel, Limits
from profiler.store import Store
from profiler.turns import Clock
from profiler.types import Artifact, Format, Protocol, Structure, Workload

PATIENT = Limits(30)
TARGET = devices.target("host/onnxruntime")
ONCE = Protocol(
    warmup_runs=1,
    warmup_floor_ns=0,
    passes=2,
    visit_samples=2,
    min_rounds=2,
    max_rounds=2,
    max_foreign_cores=99.0,
    max_steal=1.0,
)


# In the children --------------------------------------------------------------------------------


def load_then_time(job: dict[str, Any], channel: Channel) -> None:
    """Tell when this one loaded and when it was timed, by a clock that all processes share."""
    clock = Clock(job["clock"], job["members"], lambda: channel.beat(0.3))
    time.sleep(job["after_s"])
    for number in range(job["rounds"]):
        if number:
            clock.stop()
        clock.load()
        begun = time.monotonic()
        time.sleep(job["load_s"])
        loaded = time.monotonic()
        clock.start()
        started = time.monotonic()
        if job.get("dies") == number:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.3)
        spans = {"loaded": (begun, loaded), "timed": (started, time.monotonic())}
        channel.send({"done": "", "name": job["name"], "round": number, **spans})


# ------------------------------------------------------------------------------------------------


def ran(clock: Path, *wanted: dict[str, Any]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    tasks = []

    def run(job: dict[str, Any]) -> None:
        processes.run("tests.test_jobs:load_then_time", job, lines.append, PATIENT)
        turns.leave(str(clock), job["rounds"])

    for number, job in enumerate(wanted):
        shared = {"clock": str(clock), "members": len(wanted), "rounds": 1, "name": number}
        tasks.append(partial(run, {"after_s": 0.0, "load_s": 0.6, **shared, **job}))
    processes.together(tasks)
    return [line for line in lines if "timed" in line]


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


@pytest.mark.parametrize("late_s", [0.0, 0.4])
def test_what_loads_together_is_timed_alone(tmp_path: Path, late_s: float) -> None:
    lines = ran(tmp_path / "clock", {}, {"after_s": late_s}, {"load_s": 0.1})
    assert len(lines) == 3
    for number, line in enumerate(lines):
        for other in lines[:number] + lines[number + 1 :]:
            assert not overlap(line["timed"], other["timed"])
            assert not overlap(line["timed"], other["loaded"])


def test_loading_overlaps(tmp_path: Path) -> None:
    first, second = ran(tmp_path / "clock", {}, {})
    assert overlap(first["loaded"], second["loaded"])


def test_who_dies_with_the_clock_gives_it_back(tmp_path: Path) -> None:
    (line,) = ran(tmp_path / "clock", {"load_s": 0.1, "dies": 0}, {})
    assert line["timed"]


def test_what_is_loaded_again_waits_until_all_were_timed(tmp_path: Path) -> None:
    lines = ran(tmp_path / "clock", {"rounds": 3}, {"rounds": 3, "load_s": 0.3})
    assert len(lines) == 6
    for line in lines:
        others = [o for o in lines if o is not line]
        assert not any(overlap(line["timed"], o["timed"]) for o in others)
        assert not any(overlap(line["timed"], o["loaded"]) for o in others)
        beside = [o for o in others if o["name"] != line["name"] and o["round"] == line["round"]]
        assert all(overlap(line["loaded"], o["loaded"]) for o in beside)


@pytest.mark.parametrize("round_", [0, 1])
def test_nobody_waits_for_who_died(tmp_path: Path, round_: int) -> None:
    lines = ran(tmp_path / "clock", {"rounds": 3, "dies": round_}, {"rounds": 3, "load_s": 0.1})
    assert [line["round"] for line in lines if line["name"] == 1] == [0, 1, 2]
    assert [line["round"] for line in lines if line["name"] == 0] == list(range(round_))


def test_without_a_file_nobody_waits() -> None:
    alone = Clock("", 1, lambda: pytest.fail("there is nobody to wait for"))
    for _ in range(2):
        alone.load()
        alone.start()
        alone.stop()


def test_the_first_error_of_threads_is_raised_when_all_have_ended() -> None:
    ended = threading.Event()

    def fails() -> None:
        raise ValueError("this one")

    def takes_long() -> None:
        time.sleep(0.2)
        ended.set()

    with pytest.raises(ValueError, match="this one"):
        processes.together([fails, takes_long])
    assert ended.is_set()
    processes.together([])


def hang(job: dict[str, Any], channel: Channel) -> None:
    channel.announce(job["items"][0])
    channel.send({"pid": os.getpid()})
    time.sleep(600)


def test_who_is_interrupted_leaves_no_child_and_blames_no_item() -> None:
    lines: list[dict[str, Any]] = []
    deaths: list[str] = []

    def interrupt() -> None:
        while len(lines) < 2:
            time.sleep(0.05)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    def task(name: str) -> None:
        processes.run_surviving(
            "tests.test_jobs:hang",
            {name: None},
            lambda keys: {"items": keys},
            lines.append,
            lambda key, _: deaths.append(key),
            PATIENT,
        )

    # A shell that runs this in the background has it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            processes.together([partial(task, "one"), partial(task, "other")])
    finally:
        signal.signal(signal.SIGINT, before)
    assert not deaths
    for line in lines:
        with pytest.raises(ProcessLookupError):
            os.kill(line["pid"], 0)


def item(folder: Path, number: int) -> Item:
    """A network that adds a number, as a file of its own."""
    shape = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])
    given = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8])
    one = onnx.helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [float(number)])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "one"], ["y"])], "adds", [shape], [given], [one]
    )
    path = folder / f"{number}.onnx"
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save_model(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))
    structure = Structure({"Add": 1}, {"fp32": 1})
    artifact = Artifact(str(path), Format("onnx"), str(number), 3000, 1, structure, {})
    return Item.of(Workload("a:b", {"n": number}, f"adds {number}"), artifact, TARGET, ONCE)


@pytest.mark.parametrize("together", [False, True])
def test_all_jobs_of_a_round_are_kept(
    tmp_path: Path, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MEMORY_SHARE", 1e-9)
    monkeypatch.setattr(jobs, "SESSION_SIZE", 1e-2)
    items = [item(tmp_path, n) for n in range(1, 4)]
    told: list[float] = []
    with Store(tmp_path / "store") as store:
        run = Collection(store, TARGET, ONCE, items, None, load_together=together)
        run.on_progress = lambda p: told.append(p.done / p.total)
        dealt = jobs.dealt(run, items, 0)
        assert sum(len(pair) for pair in dealt) == 3
        assert max(len(pair) for pair in dealt) == (jobs.AT_ONCE if together else 1)
        assert all(len(job.hands) == 1 for pair in dealt for job in pair)
        measure.collect(run)
        taken = measure.collected(run)
        assert not run.failures
        assert {k: len(r) for k, r in taken.items()} == {i.key: 2 for i in items}
        assert len({r.process for rounds in taken.values() for r in rounds}) == 6
    assert told[-1] == 1
    assert all(share <= 1 for share in told)


def test_one_that_has_enough_takes_no_part_any_more(tmp_path: Path) -> None:
    items = [item(tmp_path, n) for n in range(1, 4)]
    items[1] = replace(items[1], most_rounds=1)
    with Store(tmp_path / "store") as store:
        run = Collection(store, TARGET, ONCE, items, None, together=False)
        assert run.progress().total == 5
        measure.collect(run)
        assert [len(store.rounds(i.key)) for i in items] == [2, 1, 2]
        assert run.progress().done == 5
        assert not run.unfinished


def test_a_process_takes_several_rounds_of_those_that_lack_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MEMORY_SHARE", 1e-9)
    monkeypatch.setattr(jobs, "SESSION_SIZE", 1e-2)
    items = [item(tmp_path, n) for n in range(1, 5)]
    items[1] = replace(items[1], most_rounds=1)
    told: list[float] = []
    rules = replace(ONCE, min_rounds=3, max_rounds=3)
    with Store(tmp_path / "store") as store:
        run = Collection(store, TARGET, rules, items, None, together=False, load_together=True)
        run.rounds_each = 2
        run.on_progress = lambda p: told.append(p.done / p.total)
        measure.collect(run)
        taken = [store.rounds(i.key) for i in items]
        assert [len(rounds) for rounds in taken] == [3, 1, 3, 3]
        assert all(len({r.process for r in rounds}) == len(rounds) for rounds in taken)
        processes_ = {r.process.partition("-")[0] for rounds in taken for r in rounds}
        assert len(processes_) == 2 * jobs.AT_ONCE, "two pairs: one of two rounds, one of one"
    assert told[-1] == 1
    assert all(share <= 1 for share in told)


def test_in_each_round_chains_get_new_neighbours_and_networks_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [item(tmp_path, n) for n in range(1, 41)]
    items = [replace(i, circle_bytes=50 if n % 2 else 0) for n, i in enumerate(items)]
    monkeypatch.setattr(environment, "memory_bytes", lambda: 10 * 3000 * 10)
    with Store(tmp_path / "store") as store:
        run = Collection(store, TARGET, ONCE, items, items[0], load_together=True, rounds_each=2)
        (pair,) = jobs.dealt(run, items, 0)
        assert [len(job.hands) for job in pair] == [8 // jobs.AT_ONCE] * jobs.AT_ONCE
        assert sum(len(h) for job in pair for h in job.hands) >= 2 * len(items)
        for job in pair:
            half = len(job.hands) // 2
            first, second = ({i.key for i in job.hands[n]} for n in (0, half))
            plain = {i.key for i in items if not i.circle_bytes}
            assert first & plain == second & plain != set()
            assert first - plain != second - plain
            assert items[0].key in first & second, "the canary is in every hand"
        again = jobs.dealt(run, items, 0)
        assert [[[i.key for i in h] for h in job.hands] for job in pair] == [
            [[i.key for i in h] for h in job.hands] for job in again[0]
        ]
        (other,) = jobs.dealt(run, items, 1)
        assert [i.key for i in other[0].hands[0]] != [i.key for i in pair[0].hands[0]]


@pytest.mark.parametrize(
    ("left_s", "rounds"), [(None, 3), (100.0, 3), (16.0, 3), (11.0, 2), (4.0, 0), (-5.0, 0)]
)
def test_a_process_takes_as_many_rounds_as_a_budget_has_time_for(
    left_s: float | None, rounds: int
) -> None:
    at = time.monotonic()
    deadline = None if left_s is None else at + left_s
    assert measure._affordable(3, 2, at - 10, deadline) == rounds
    assert measure._affordable(1, 2, at - 10, deadline) == min(1, rounds)
    assert measure._affordable(3, 0, at, deadline) == (3 if left_s is None else 2)
    assert measure._affordable(3, 1, at, deadline) == (3 if left_s is None else 1)


def test_no_round_is_begun_that_would_go_beyond_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(ONCE, min_rounds=8, max_rounds=8)
    now_s = [100.0]

    def take(*_: object) -> None:
        now_s[0] += 10

    monkeypatch.setattr(measure.jobs, "take", take)
    monkeypatch.setattr(measure.time, "monotonic", lambda: now_s[0])
    with Store(tmp_path / "store") as store:
        run = Collection(store, TARGET, rules, [item(tmp_path, 1)], None, budget_s=37.0)
        measure.collect(run)
    assert now_s[0] == 130.0


@pytest.mark.parametrize("rounds_each", [1, 2])
def test_many_items_are_shared_out_to_all_that_load_at_once(
    tmp_path: Path, rounds_each: int
) -> None:
    """A process that took them all would load on one core, and the other would be idle."""
    items = [item(tmp_path, n) for n in range(jobs.SHARED_OUT)]
    with Store(tmp_path / "store") as store:
        run = Collection(store, TARGET, ONCE, items, items[0], load_together=True)
        run.rounds_each = rounds_each
        (pair,) = jobs.dealt(run, items, 0)
        few = jobs.dealt(run, items[1:], 0)
    if rounds_each == 1:
        assert [len(job.items) for job in pair] == [len(items)] * len(pair)
        return
    assert len(pair) == jobs.AT_ONCE
    assert len(few[0]) == 1
    for hands in zip(*(job.hands for job in pair), strict=True):
        held = [{i.key for i in hand} for hand in hands]
        assert set.union(*held) == {i.key for i in items}
        assert set.intersection(*held) == {items[0].key}


def dies_in_its_second_round(job: dict[str, Any], channel: Channel) -> None:
    time_items = worker._time

    def time_or_die(items: dict[str, worker.Item], work: worker.Work) -> None:
        if work.hand == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time_items(items, work)

    worker._time = time_or_die
    worker.time_job(job, channel)


def test_who_dies_in_a_later_round_keeps_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WORKER", "tests.test_jobs:dies_in_its_second_round")
    items = [item(tmp_path, n) for n in range(1, 4)]
    with Store(tmp_path / "store") as store:
        run = Collection(store, TARGET, ONCE, items, None, load_together=True, rounds_each=2)
        measure.collect(run)
        assert not run.failures
        for wanted in items:
            processes_ = [r.process.split("-") for r in store.rounds(wanted.key)]
            assert [n for _, n in processes_] == ["0", "0"]
            assert len({p for p, _ in processes_}) == 2


def test_a_hand_is_kept_before_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = item(tmp_path, 1)
    kept: list[int] = []
    with Store(tmp_path / "store") as store:

        def spying(entry: str, items: Any, make_job: Any, on_line: Any, *rest: Any) -> None:
            def spy(line: dict[str, Any]) -> None:
                on_line(line)
                if "begins" in line:
                    kept.append(len(store.rounds(wanted.key)))

            run_surviving(entry, items, make_job, spy, *rest)

        run_surviving = processes.run_surviving
        monkeypatch.setattr(processes, "run_surviving", spying)
        measure.collect(Collection(store, TARGET, ONCE, [wanted], None, rounds_each=2))
        assert len(store.rounds(wanted.key)) == 2
    assert kept == [0, 1]


def test_one_that_does_not_load_takes_none_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MEMORY_SHARE", 1e-9)
    monkeypatch.setattr(jobs, "SESSION_SIZE", 1e-2)
    items = [item(tmp_path, n) for n in range(1, 4)]
    Path(items[1].artifact.path).write_bytes(b"no graph")
    with Store(tmp_path / "store") as store:
        run = Collection(store, TARGET, ONCE, items, None, load_together=True)
        measure.collect(run)
        assert set(run.failures) == {items[1].key}
        assert {k: len(r) for k, r in measure.collected(run).items()} == {
            items[0].key: 2,
            items[2].key: 2,
        }
