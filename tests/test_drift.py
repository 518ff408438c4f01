"""Levels of rounds on a machine whose speed moves, and how far it moved."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

import pytest

from profiler import drift
from profiler.types import Round, Telemetry

VISITS = 24
# Microseconds; every third streams its weights from memory and feels its neighbours most.
TRUE = {f"chain{n}": 300.0 + 90 * n for n in range(30)}
FEELS = {name: (1.0, 0.5, 0.2)[n % 3] for n, name in enumerate(TRUE)}


def rounds(
    speed: Callable[[int, float], float], seed: int = 0, processes: int = 6, noise: float = 0.01
) -> dict[str, list[Round]]:
    """Rounds of chains on a machine whose slowness, in logarithms, is `speed(process, seconds)`."""
    generator = random.Random(seed)
    found: dict[str, list[Round]] = {name: [] for name in TRUE}
    for process in range(processes):
        at = 0.0
        samples: dict[str, list[tuple[int, int]]] = {name: [] for name in TRUE}
        for _ in range(VISITS):
            for name in generator.sample(list(TRUE), len(TRUE)):
                slower = FEELS[name] * speed(process, at) + generator.gauss(0, noise)
                took = TRUE[name] * 1e3 * math.exp(slower)
                samples[name].append((round(at * 1e9), round(took)))
                at += 0.004
        for name, pairs in samples.items():
            when, ns = zip(*pairs, strict=True)
            found[name].append(_round(f"p{process}", ns, when))
    return found


def _round(process: str, samples_ns: tuple[int, ...], at_ns: tuple[int, ...]) -> Round:
    telemetry = Telemetry(*(0.0 for _ in dataclasses.fields(Telemetry)))
    return Round(process, "", samples_ns, 1, 2, 1, 1, {}, telemetry, at_ns=at_ns)


def off(taken: dict[str, list[Round]]) -> list[float]:
    """How far each round's level lies from the truth, once the machine's usual speed is divided
    out."""
    ratios = [
        value / (1e3 * TRUE[name])
        for name, levels in drift.levels_ns(taken).items()
        for value in levels.values()
    ]
    middle = sorted(ratios)[len(ratios) // 2]
    return [abs(v / middle - 1) for v in ratios]


def bursts(process: int, at: float) -> float:
    """Slower by 40 % for 45 % of the time, in spells of a quarter of a second."""
    return 0.35 if math.sin(11 * at + 2.1 * process) > 0.16 else 0.0


def untimed(taken: dict[str, list[Round]]) -> dict[str, list[Round]]:
    return {k: [dataclasses.replace(r, at_ns=()) for r in v] for k, v in taken.items()}


def test_bursts_of_a_neighbour_do_not_reach_the_levels() -> None:
    taken = rounds(bursts)
    assert max(off(taken)) < 0.01, "the medians are 39 % off"
    assert drift.moved(taken) > 0.15


def test_a_drift_of_five_percent_is_found_and_hardly_reaches_the_levels() -> None:
    """As when a machine gets hot: after a second every visit is slower."""
    taken = rounds(lambda _, at: 0.05 if at > 1.6 else 0.0, noise=0.004)
    assert max(off(taken)) < 0.01
    assert drift.moved(taken) > 0.02


def test_a_quiet_machine_does_not_move() -> None:
    taken = rounds(lambda *_: 0.0, noise=0.003)
    assert max(off(taken)) < 0.004
    assert drift.moved(taken) < 0.01


def test_a_level_is_the_lower_quartile() -> None:
    taken = rounds(bursts)
    for name, levels in drift.levels_ns(taken).items():
        for one in taken[name]:
            assert sum(n < levels[one.process] for n in one.samples_ns) == VISITS // 4


@pytest.mark.parametrize("count", [0, 1, drift.LEAST - 1])
def test_of_few_workloads_no_movement_is_told(count: int) -> None:
    few = dict(list(rounds(bursts).items())[:count])
    assert drift.moved(few) == 0
    assert set(drift.levels_ns(few)) == set(few)


def test_of_rounds_that_do_not_say_when_no_movement_is_told() -> None:
    assert drift.moved(untimed(rounds(bursts))) == 0
