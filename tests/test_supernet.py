"""Expected latencies are exact, differentiable, and those of the table where nothing is open."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from benchmarks.spaces.efficientformerv2 import SPACE as V2
from profiler.errors import MissingEntry, UsageError
from profiler.spaces import Block, Part, Space, Value
from profiler.tables.supernet import ExpectedLatency
from profiler.tables.table import Entry, LatencyTable
from profiler.types import Workload

OVERHEAD_NS = 5000


def no_block(key: str) -> Block:
    return Block(Workload("none:none"), ((1,),), ((1,),))


def middle(width: Value, depth: Value, kernel: Value) -> list[str]:
    return [f"middle/k{kernel}/{width}"] * int(depth)


def too_deep(values: Mapping[str, Value]) -> str | None:
    wrong = values["width"] == 16 and values["depth"] > 2
    return "narrow ones are not as deep" if wrong else None


TINY = Space(
    "tiny",
    {"width": ((16, 24, 64),), "depth": ((1, 2, 4),), "kernel": ((3, 5),)},
    (
        Part(("width",), lambda width: [f"stem/{width}"]),
        Part(("width", "depth", "kernel"), middle),
        Part((), lambda: ["head/1"]),
    ),
    no_block,
    too_deep,
)


def table(space: Space, **facts: Any) -> LatencyTable:
    generator = random.Random(0)
    entries = {}
    for key in space.keys:
        ns = generator.randrange(1000, 10**6)
        entries[key] = Entry(key, ns, ns, ns, "measured", 3)
    whole: dict[str, Any] = {"overhead_ns": OVERHEAD_NS, "scale": 1.04, **facts}
    return LatencyTable(space.name, "host/x", {}, "1", "now", entries=entries, **whole)


def weights(space: Space, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(len(values), generator=generator, dtype=torch.float64).softmax(0)
        for name, values in space.fields.items()
    }


def one_hot(space: Space, architecture: Sequence[Value]) -> dict[str, torch.Tensor]:
    chosen = zip(space.fields.items(), architecture, strict=True)
    return {
        name: torch.tensor([float(v == value) for v in values], dtype=torch.float64)
        for (name, values), value in chosen
    }


def enumerated(space: Space, given: Mapping[str, torch.Tensor], of: Any) -> float:
    """The expectation of a figure of architectures, by going through all of them."""
    total = 0.0
    for places in itertools.product(*(range(len(v)) for v in space.fields.values())):
        probability = math.prod(
            given[f][n].item() for f, n in zip(space.fields, places, strict=True)
        )
        values = {f: space.fields[f][n] for f, n in zip(space.fields, places, strict=True)}
        total += probability * of(values)
    return total


def exact_ns(held: LatencyTable, space: Space, values: Mapping[str, Value]) -> float:
    keys = [k for p in space.parts for k in p.rows(*(values[f] for f in p.fields))]
    return held.overhead_ns + sum(held.scale_of(k) * held.entries[k].ns for k in keys)


def test_the_expectation_is_that_of_all_architectures_one_by_one() -> None:
    held = table(TINY, family_scales={"middle/k5": 1.3})
    expected = ExpectedLatency(held, TINY)
    for seed in range(5):
        given = weights(TINY, seed)
        wanted = enumerated(TINY, given, lambda values: exact_ns(held, TINY, values))
        assert expected(given).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("space", [TINY, V2], ids=lambda s: s.name)
def test_without_a_choice_it_is_the_tables_prediction(space: Space) -> None:
    held = table(space)
    expected = ExpectedLatency(held, space)
    for architecture in [*space.draw(random.Random(1), 5), *map(space.parse, space.named)]:
        found = expected(one_hot(space, architecture))
        one = held.predict("", space.rows(architecture))
        assert found.item() == pytest.approx(one.latency_ns, abs=0.51)
        assert expected.fitting(one_hot(space, architecture)).item() == 1.0
    assert (expected.unit, expected.target, expected.batch) == ("ns", "host/x", 1)


def test_gradients_are_those_of_finite_differences() -> None:
    expected = ExpectedLatency(table(TINY), TINY)
    names = list(TINY.fields)
    start = [w.log().requires_grad_() for w in weights(TINY, 3).values()]

    def of_logits(*logits: torch.Tensor) -> torch.Tensor:
        given = {n: x.softmax(0) for n, x in zip(names, logits, strict=True)}
        return expected(given) / 1e6

    assert torch.autograd.gradcheck(of_logits, start)


def test_a_search_by_gradient_finds_the_fastest_architecture() -> None:
    expected = ExpectedLatency(table(TINY), TINY)
    logits = {f: torch.zeros(len(v), requires_grad=True) for f, v in TINY.fields.items()}
    optimizer = torch.optim.Adam(logits.values(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = expected({f: x.softmax(0) for f, x in logits.items()}) / 1e6
        loss.backward()
        optimizer.step()
    found = tuple(TINY.fields[f][int(x.argmax())] for f, x in logits.items())
    every = itertools.product(*TINY.fields.values())
    held = table(TINY)
    fastest = min(every, key=lambda a: exact_ns(held, TINY, dict(zip(TINY.fields, a, strict=True))))
    assert found == fastest


def test_how_probable_it_is_that_fields_fit_together() -> None:
    expected = ExpectedLatency(table(TINY), TINY)
    for seed in range(3):
        given = weights(TINY, seed)
        wanted = enumerated(TINY, given, lambda values: float(too_deep(values) is None))
        assert expected.fitting(given).item() == pytest.approx(wanted)
    even = {f: torch.ones(len(v)) / len(v) for f, v in TINY.fields.items()}
    assert expected.fitting(even).item() == pytest.approx(8 / 9)


def test_float32_will_do() -> None:
    given = weights(V2, 0)
    expected = ExpectedLatency(table(V2), V2)
    short = expected({f: w.float() for f, w in given.items()})
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(expected(given).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kernel": None}, "tiny lacks probabilities: 'kernel'"),
        ({"kernels": torch.ones(1)}, "tiny has no field: 'kernels'"),
        ({"kernel": torch.ones(3) / 3}, r"kernel has 2 values: a tensor \(2,\)"),
        ({"kernel": torch.eye(2)}, r"not \(2, 2\)"),
        ({"kernel": torch.tensor([1.5, 0.3])}, "kernel: probabilities"),
        ({"kernel": torch.tensor([1.5, -0.5])}, "kernel: probabilities"),
        ({"kernel": torch.tensor([math.nan, 1.0])}, "kernel: probabilities"),
    ],
)
def test_what_are_no_probabilities_is_refused(change: dict[str, Any], said: str) -> None:
    given = {**weights(TINY), **change}
    with pytest.raises(UsageError, match=said):
        ExpectedLatency(table(TINY), TINY)({k: v for k, v in given.items() if v is not None})


# Gaps --------------------------------------------------------------------------------------------


def without(held: LatencyTable, key: str) -> LatencyTable:
    entries = {k: e for k, e in held.entries.items() if k != key}
    return LatencyTable(held.space, "host/x", {}, "1", "now", 0, 1.0, entries)


def test_a_missing_row_is_named_at_once_unless_it_is_left_out_or_filled() -> None:
    held = without(table(TINY), "stem/24")
    with pytest.raises(MissingEntry, match="'stem/24'; nearest: stem/16"):
        ExpectedLatency(held, TINY)
    with pytest.raises(UsageError, match="'guess' is not one of"):
        ExpectedLatency(held, TINY, policy="guess")
    narrow = TINY.narrowed({"width": [16, 64]})
    assert ExpectedLatency(held, narrow)(weights(narrow)) > 0
    filled = ExpectedLatency(held, TINY, policy="interpolate")
    architecture = (24, 2, 3)
    one = held.predict("", TINY.rows(architecture), fill=True)
    assert filled(one_hot(TINY, architecture)).item() == pytest.approx(one.latency_ns, abs=0.51)


# Positions that choose between rows --------------------------------------------------------------


def test_positions_choose_between_rows_several_rows_and_none() -> None:
    held = table(TINY)
    first = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
    second = torch.tensor([0.6, 0.4], dtype=torch.float64, requires_grad=True)
    ns = {k: held.scale_of(k) * e.ns for k, e in held.entries.items()}
    pair = ("stem/16", "middle/k3/64")
    found = ExpectedLatency(held, TINY).expected_rows(
        [(("stem/24", pair, ()), first), (("head/1", "stem/24"), second)]
    )
    wanted = OVERHEAD_NS + 0.2 * ns["stem/24"] + 0.5 * (ns["stem/16"] + ns["middle/k3/64"])
    wanted += 0.6 * ns["head/1"] + 0.4 * ns["stem/24"]
    assert found.item() == pytest.approx(wanted)
    found.backward()
    assert first.grad is not None
    assert first.grad.tolist() == pytest.approx([ns["stem/24"], sum(ns[k] for k in pair), 0])


def test_positions_that_make_no_sense_are_refused() -> None:
    expected = ExpectedLatency(table(TINY), TINY)
    half = torch.tensor([0.5, 0.5])
    with pytest.raises(UsageError, match="no position"):
        expected.expected_rows([])
    with pytest.raises(UsageError, match="position 1 has 1 values"):
        expected.expected_rows([(("stem/16", ()), half), (("stem/16",), half)])
    with pytest.raises(MissingEntry, match="'stem/17'; nearest: stem/16"):
        expected.expected_rows([(("stem/16", "stem/17"), half)])
