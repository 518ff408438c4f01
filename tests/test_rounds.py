"""What rounds say of a latency, and of two that were timed in the same processes."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import pytest

from profiler.rounds import interval_ns, latency_ns, medians, ratios
from profiler.types import (
    Artifact,
    Format,
    Measurement,
    Protocol,
    Round,
    Structure,
    Target,
    Telemetry,
    Workload,
)

ARTIFACT = Artifact("m", Format("onnx"), "d", 1, 1, Structure({}, {}), {})
PASSES, SAMPLES = 15, 6


def taken(process: str, visits: Sequence[Sequence[int]], flags: tuple[str, ...] = ()) -> Round:
    samples = tuple(s for v in visits for s in v)
    at_ns = tuple(1_000 * n for n, v in enumerate(visits) for _ in v)
    return Round(process, "now", samples, 1, 0, 1, 1, {}, Telemetry(), flags=flags, at_ns=at_ns)


def measurement(*rounds: Round) -> Measurement:
    target = Target("host", "onnxruntime")
    return Measurement(Workload("a:b"), target, Protocol(), ARTIFACT, {}, rounds)


def test_a_latency_is_the_median_of_undisturbed_rounds() -> None:
    quiet = [taken(f"p{i}", [[100 + i] * 3]) for i in range(6)]
    found = measurement(*quiet, taken("loud", [[900] * 3], ("others kept 1.00 cores busy",)))
    assert medians(found) == {f"p{i}": 100 + i for i in range(6)}
    assert latency_ns(found) == 102
    assert interval_ns(found) == (100, 105)


def test_what_slows_a_machine_for_a_while_slows_both_sides_of_a_comparison() -> None:
    """Everything takes 45 % longer in half of the passes; now and then it begins or ends within a
    pass. How many of its visits were slow decides a round's median, and hardly that of ratios."""
    generator = random.Random(0)
    paired, plain = [], []
    for process in range(40):
        sides: list[list[list[int]]] = [[], []]
        for _ in range(PASSES):
            slow = generator.random() < 0.5
            for side, level in zip(sides, (1_000_000, 1_030_000), strict=True):
                speed = 1.45 if slow != (generator.random() < 0.05) else 1.0
                noise = [generator.gauss(1, 0.02) for _ in range(SAMPLES)]
                side.append([round(level * speed * n) for n in noise])
        one, other = (measurement(taken(f"p{process}", s)) for s in sides)
        paired += ratios(one, other)
        (before,), (after,) = medians(one).values(), medians(other).values()
        plain.append(after / before)
    assert max(abs(r / 1.03 - 1) for r in paired) < 0.02
    assert max(abs(r / 1.03 - 1) for r in plain) > 0.2


def test_visits_are_what_began_together() -> None:
    assert taken("p", [[1, 2], [3], [4, 5, 6]]).visits == [[1, 2], [3], [4, 5, 6]]
    old = dataclasses.replace(taken("p", [[1, 2], [3]]), at_ns=())
    assert old.visits == [[1, 2, 3]]


def test_rounds_of_unlike_visits_are_compared_by_their_medians() -> None:
    one = taken("p", [[100, 100], [300, 300], [100, 100]])
    for other in (taken("p", [[200, 200]]), dataclasses.replace(one, at_ns=())):
        (ratio,) = ratios(measurement(one), measurement(other))
        middle = medians(measurement(other))["p"] / 100
        assert ratio == pytest.approx(middle)


def test_only_processes_that_timed_both_undisturbed_count() -> None:
    flagged = ("others kept 1.00 cores busy",)
    left = measurement(taken("a", [[100]]), taken("b", [[100]]), taken("c", [[100]], flagged))
    right = measurement(taken("b", [[150]]), taken("c", [[900]]), taken("d", [[900]]))
    assert ratios(left, right) == [1.5]
