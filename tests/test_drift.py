"""The machine's speed while a process measures: found, and divided out."""

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


def off(found: drift.Steadied) -> list[float]:
    """How far each round lies from the truth, once its process's own speed is divided out."""
    ratios = {
        (name, p): value / (1e3 * TRUE[name])
        for name, medians in found.medians_ns.items()
        for p, value in medians.items()
    }
    still = sorted(v for (name, _), v in ratios.items())
    middle = still[len(still) // 2]
    return [abs(v / middle - 1) for v in ratios.values()]


def bursts(process: int, at: float) -> float:
    """Slower by 40 % for 45 % of the time, in spells of a quarter of a second."""
    return 0.35 if math.sin(11 * at + 2.1 * process) > 0.16 else 0.0


def untimed(taken: dict[str, list[Round]]) -> dict[str, list[Round]]:
    return {k: [dataclasses.replace(r, at_ns=()) for r in v] for k, v in taken.items()}


def test_bursts_of_a_neighbour_are_divided_out() -> None:
    taken = rounds(bursts)
    steadied, plain = drift.steady(taken), drift.steady(untimed(taken))
    assert sum(off(steadied)) < 0.4 * sum(off(plain))
    assert max(off(steadied)) < 0.3 * max(off(plain))
    assert steadied.moved > 0.15


def test_a_drift_of_five_percent_is_found_and_hardly_reaches_the_medians() -> None:
    """As when a machine gets hot: after a second every visit is slower."""
    steadied = drift.steady(rounds(lambda _, at: 0.05 if at > 1.6 else 0.0, noise=0.004))
    assert max(off(steadied)) < 0.01
    assert steadied.moved > 0.02


def test_a_quiet_machine_keeps_its_medians() -> None:
    taken = rounds(lambda *_: 0.0, noise=0.003)
    steadied = drift.steady(taken)
    assert max(off(steadied)) < 0.004
    assert steadied.moved < 0.01


def test_rounds_that_do_not_say_when_are_left_as_they_are() -> None:
    taken = untimed(rounds(bursts))
    steadied = drift.steady(taken)
    for name, each in taken.items():
        for one in each:
            ns = sorted(one.samples_ns)
            assert steadied.medians_ns[name][one.process] == (ns[11] + ns[12]) / 2
    assert steadied.moved == 0


def test_few_workloads_are_left_as_they_are() -> None:
    few = dict(list(rounds(bursts).items())[: drift.LEAST - 1])
    assert drift.steady(few) == drift.steady(untimed(few))
    assert drift.steady(few).moved == 0


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_steady(count: int) -> None:
    taken = dict(list(rounds(bursts).items())[:count])
    assert set(drift.steady(taken).medians_ns) == set(taken)
