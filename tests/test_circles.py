"""Chains timed as within a network: in circles, of which the first lap is not timed."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from profiler import devices, environment, worker
from profiler.sampling import Calibration, elapsed_ns
from profiler.types import Protocol

TARGET = devices.target("host/onnxruntime")
PROTOCOL = Protocol(circles=2, circle_laps=3, passes=1, visit_samples=2)


class Channel:
    """What a worker says, kept."""

    def __init__(self) -> None:
        self.lines: dict[str, Mapping[str, Any]] = {}

    def announce(self, key: str) -> None:
        pass

    def beat(self, share: float) -> None:
        assert 0 <= share <= 1

    def send(self, line: Mapping[str, Any]) -> None:
        self.lines[str(line["done"])] = line


class Runtime:
    """One that calls every error an error."""

    @staticmethod
    def kind_of(_: BaseException) -> str:
        return "error"


def item(key: str, call: Callable[[], None], size_bytes: int, circle_bytes: int) -> worker.Item:
    return worker.Item(key, call, elapsed_ns, 1, 1, None, {}, size_bytes, circle_bytes)


def run(calls: Mapping[str, Callable[[], None]], circle_bytes: int) -> Channel:
    """A process with these chains of 10 bytes each, and one network."""
    channel = Channel()
    items = {k: item(k, c, 10, circle_bytes) for k, c in calls.items()}
    items["network"] = item("network", calls.get("network", lambda: None), 40, 0)
    quick: Any = channel
    work = worker.Work(TARGET, PROTOCOL, Runtime, quick, random.Random(3), hands=1)
    worker._time(items, work)
    return channel


def test_a_circle_is_run_through_once_more_than_it_is_timed() -> None:
    log: list[str] = []
    found = run({k: lambda k=k: log.append(k) for k in "abcd"}, 40)  # type: ignore[misc]
    for key in "abcd":
        assert len(found.lines[key]["samples_ns"]) == 2 * 3
        assert found.lines[key]["batch"] == 1
        assert found.lines[key]["at_ns"] == sorted(found.lines[key]["at_ns"])
        assert len(found.lines[key]["at_ns"]) == 2 * 3
    assert len(found.lines["network"]["samples_ns"]) == 2
    first, second = log[:16], log[16:]
    for half in (first, second):
        assert half == half[:4] * 4, "the same circle, lap after lap"
        assert sorted(half[:4]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("cache_bytes", "untimed"), [(None, 1), (21, 1), (20, 0)])
def test_what_empties_the_cache_is_timed_from_its_first_lap_on(
    cache_bytes: int | None, untimed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "last_cache_bytes", lambda: cache_bytes)
    log: list[str] = []
    calls = {k: lambda k=k: log.append(k) for k in ["a", "b", "c", "d", "network"]}  # type: ignore[misc]
    found = run(calls, 40)
    assert Counter(log) == {**dict.fromkeys("abcd", 2 * (3 + untimed)), "network": 2 + untimed}
    for key in "abcd":
        assert len(found.lines[key]["samples_ns"]) == 2 * 3
    assert len(found.lines["network"]["samples_ns"]) == 2


def test_between_two_runs_of_a_chain_lies_as_much_as_a_network_holds() -> None:
    log: list[str] = []
    run({str(n): lambda n=n: log.append(str(n)) for n in range(12)}, 40)  # type: ignore[misc]
    places: dict[str, list[int]] = {}
    for place, key in enumerate(log):
        places.setdefault(key, []).append(place)
    gaps = [b - a for held in places.values() for a, b in itertools.pairwise(held)]
    assert gaps.count(4) > 0.8 * len(gaps)


def test_a_chain_that_fails_in_its_circle_leaves_the_others_alone() -> None:
    def fail() -> None:
        raise RuntimeError("no more")

    found = run({"a": lambda: None, "b": fail, "c": lambda: None}, 30)
    assert found.lines["b"]["failure"] == "error"
    assert len(found.lines["a"]["samples_ns"]) == len(found.lines["c"]["samples_ns"]) == 6


# Batches ------------------------------------------------------------------------------------------


FLOOR_NS = 1000


def calibrated(batch: int, circle_bytes: int = 0) -> worker.Item:
    found = item("any", lambda: None, 1, circle_bytes)
    found.calibration = Calibration(1, batch)
    return found


def batches(items: Mapping[str, worker.Item]) -> dict[str, int]:
    return {k: i.calibration.batch for k, i in items.items()}


def test_copies_on_both_sides_of_a_threshold_get_the_same_batch() -> None:
    items = {"a": calibrated(1), "b": calibrated(2), "c": calibrated(1), "far": calibrated(90)}
    worker._align(items, set(items), FLOOR_NS)
    assert batches(items) == {"a": 2, "b": 2, "c": 2, "far": 90}


def test_what_takes_far_longer_than_the_floor_has_no_copy_below_it() -> None:
    items = {"short": calibrated(2), "long": calibrated(1)}
    items["long"].latency_ns = 5 * FLOOR_NS
    worker._align(items, set(items), FLOOR_NS)
    assert batches(items) == {"short": 2, "long": 1}


def test_a_calibration_tells_what_an_inference_takes() -> None:
    found = calibrated(1)
    found.notes(lambda _, batch: 700 * batch)(found.call, 3)
    assert found.latency_ns == 700


def test_a_batch_that_the_store_holds_stays() -> None:
    items = {"old": calibrated(1), "new": calibrated(2)}
    worker._align(items, {"new"}, FLOOR_NS)
    assert batches(items) == {"old": 1, "new": 2}
    items = {"old": calibrated(2), "new": calibrated(1)}
    worker._align(items, {"new"}, FLOOR_NS)
    assert batches(items) == {"old": 2, "new": 2}


def test_chains_in_circles_have_no_say_in_batches() -> None:
    items = {"a": calibrated(1), "chain": calibrated(2, circle_bytes=10)}
    worker._align(items, set(items), FLOOR_NS)
    assert batches(items) == {"a": 1, "chain": 2}
