"""The four observations: what is asked, how intervals become verdicts, what is shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import observations
from profiler.encoding import to_json
from profiler.experiments import alternatives
from profiler.observations import (
    CONFIRMED,
    DIFFERENT,
    NOT_SLOWER,
    REFUTED,
    SLOWER,
    UNDECIDED,
    Answer,
    Finding,
    answer,
    disagreements,
    judge,
    together,
)
from profiler.statistics import rounds_for
from reports import experiments as report

RATIO = st.floats(0.05, 20)
EXPECTED = st.sampled_from([SLOWER, NOT_SLOWER, DIFFERENT])
VERDICT = st.sampled_from([CONFIRMED, REFUTED, UNDECIDED])
STEADY = {str(n): 1e6 * (1 + n / 1e4) for n in range(12)}


def test_there_are_four_and_all_that_they_ask_for_exists() -> None:
    asked = observations.observations()
    assert [o.number for o in asked] == [1, 2, 3, 4]
    for observation in asked:
        assert "iPhone 12" in observation.paper
        for check in observation.checks:
            for wanted in (check.candidate, check.baseline):
                known = alternatives(wanted.alternative.experiment)[wanted.alternative.name]
                assert set(wanted.parameters) == set(known.axes)


# Judging -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expects", "low", "high", "verdict"),
    [
        (SLOWER, 1.02, 1.3, CONFIRMED),
        (SLOWER, 0.5, 0.7, REFUTED),
        (SLOWER, 0.995, 1.005, REFUTED),  # as fast is not slower
        (SLOWER, 0.9, 1.3, UNDECIDED),
        (NOT_SLOWER, 0.9, 1.005, CONFIRMED),
        (NOT_SLOWER, 1.02, 1.3, REFUTED),
        (NOT_SLOWER, 0.9, 1.3, UNDECIDED),
        (DIFFERENT, 1.02, 1.3, CONFIRMED),
        (DIFFERENT, 0.5, 0.7, CONFIRMED),
        (DIFFERENT, 0.995, 1.005, REFUTED),
        (DIFFERENT, 0.9, 1.005, UNDECIDED),
    ],
)
def test_an_interval_meets_an_expectation_misses_it_or_leaves_it_open(
    expects: str, low: float, high: float, verdict: str
) -> None:
    assert judge(expects, low, high) == verdict


@given(EXPECTED, RATIO, RATIO, st.floats(1, 5), st.floats(1, 5))
def test_knowing_less_never_turns_a_verdict_round(
    expects: str, one: float, other: float, down: float, up: float
) -> None:
    low, high = sorted((one, other))
    narrow = judge(expects, low, high)
    wide = judge(expects, low / down, high * up)
    assert wide in (narrow, UNDECIDED)


@given(RATIO, RATIO)
def test_slower_and_not_slower_are_each_others_contrary(one: float, other: float) -> None:
    low, high = sorted((one, other))
    contrary = {CONFIRMED: REFUTED, REFUTED: CONFIRMED, UNDECIDED: UNDECIDED}
    assert judge(NOT_SLOWER, low, high) == contrary[judge(SLOWER, low, high)]


@given(st.lists(VERDICT, min_size=1, max_size=5))
def test_an_observation_is_decided_where_its_checks_agree(verdicts: list[str]) -> None:
    found = together(verdicts)
    assert found == (verdicts[0] if len(set(verdicts)) == 1 else UNDECIDED)
    if CONFIRMED in verdicts:
        assert together(verdicts, any_suffices=True) == CONFIRMED
    else:
        assert together(verdicts, any_suffices=True) == found


# Not the second: its checks share their candidate.
@given(st.sampled_from([0, 2, 3]), st.floats(1.05, 5), st.integers(8, 20))
def test_a_true_effect_is_found_and_its_absence_too(
    number: int, factor: float, rounds: int
) -> None:
    asked = observations.observations()[number]
    meant = {SLOWER: factor, NOT_SLOWER: 1 / factor, DIFFERENT: factor}
    opposite = {SLOWER: 1 / factor, NOT_SLOWER: factor, DIFFERENT: 1.0}
    for ratios, verdict in ((meant, CONFIRMED), (opposite, REFUTED)):
        units = {}
        for check in reversed(asked.checks):
            base = units.setdefault(
                check.baseline.label, {str(p): 1e5 * (1 + p / 100) for p in range(rounds)}
            )
            units[check.candidate.label] = {p: v * ratios[check.expects] for p, v in base.items()}
        assert answer(asked, units).verdict == verdict


def test_what_was_not_measured_or_drowns_in_noise_stays_open_with_its_reason() -> None:
    asked = observations.observations()[2]
    (first, second) = asked.checks
    for units, reason in (
        ({}, "not measured"),
        ({c: dict(list(STEADY.items())[:5]) for c in labels(asked)}, "5 rounds are too few"),
        ({c: {**STEADY, "3": -1.0} for c in labels(asked)}, "smaller than its noise"),
    ):
        found = answer(asked, units)
        assert found.verdict == UNDECIDED
        assert all(reason in f.reason for f in found.findings)
        assert all(f.ratio is None for f in found.findings)
    assert first.baseline == second.baseline


def labels(asked: observations.Observation) -> list[str]:
    return [c.label for k in asked.checks for c in (k.candidate, k.baseline)]


def test_the_usual_rounds_suffice_for_every_observation() -> None:
    for asked in observations.observations():
        assert rounds_for(len(asked.checks)) <= 12


# Several targets -----------------------------------------------------------------------------


def said(verdict: str, ratio: float, width: float = 0.01) -> Answer:
    finding = Finding(
        "MLP with HardSwish against GELU", DIFFERENT, verdict, ratio,
        ratio * (1 - width), ratio * (1 + width), 12,
    )  # fmt: skip
    return Answer(4, "a nonlinearity depends", "iPhone 12: 3.7 times", verdict, (finding,))


def test_targets_that_lie_apart_are_named_and_others_are_not() -> None:
    apart = {"here": [said(CONFIRMED, 1.4)], "there": [said(CONFIRMED, 0.9)]}
    (sentence,) = disagreements(apart)
    assert sentence == "MLP with HardSwish against GELU: 1.40 on here, 0.90 on there"
    close = {"here": [said(CONFIRMED, 1.4, 0.3)], "there": [said(CONFIRMED, 1.2, 0.3)]}
    assert disagreements(close) == []
    assert disagreements({"here": [said(CONFIRMED, 1.4)]}) == []


def test_the_text_stands_beside_what_the_paper_saw() -> None:
    found = {"host/a:cpu": [said(CONFIRMED, 1.4)], "host/b:cpu": [said(REFUTED, 1.0)]}
    assert report.answers(found, disagreements(found)) == TEXT
    json.dumps(to_json(found), allow_nan=False)


TEXT = """\
4. a nonlinearity depends
   the paper: iPhone 12: 3.7 times
target             check                            ratio     interval  expected   so it is   notes
host/a  confirmed  MLP with HardSwish against GELU  1.400  1.386-1.414  different  confirmed
host/b  refuted    MLP with HardSwish against GELU  1.000  0.990-1.010  different  refuted

target      4.
host/a:cpu  confirmed
host/b:cpu  refuted

where targets lie apart:
  MLP with HardSwish against GELU: 1.40 on host/a:cpu, 1.00 on host/b:cpu"""
