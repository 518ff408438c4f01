"""The four observations of EfficientFormer, put to a target: confirmed, refuted or undecided.

Li et al., "EfficientFormer: Vision Transformers at MobileNet Speed", 2022, section 3. They were
made on one telephone with one compiler; each is a question to every other. The intervals of an
observation's checks hold together with 95 % (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler import bench
from profiler.bench import Trial
from profiler.experiments import Case, Rounds, case
from profiler.statistics import CONFIDENCE, covers, interval, median

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "undecided"
SLOWER, NOT_SLOWER, DIFFERENT = "slower", "not slower", "different"
# Ratios this close to 1 make no difference to anybody.
MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Check:
    """A candidate against a baseline, and how the paper expects their ratio to 1."""

    says: str
    candidate: Case
    baseline: Case
    expects: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What the paper says, what it saw, and checks.

    It holds when all its checks do, or with `any_suffices` when one does.
    """

    number: int
    statement: str
    paper: str
    checks: tuple[Check, ...]
    any_suffices: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's outcome: the ratio of the costs in context with its interval, None without one."""

    says: str
    expects: str
    verdict: str
    ratio: float | None
    low: float | None
    high: float | None
    rounds: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a target says to an observation."""

    number: int
    statement: str
    paper: str
    verdict: str
    findings: tuple[Finding, ...]


def observations() -> list[Observation]:
    """The four, at shapes of the networks in which the paper made them."""
    return [_patch_embedding(), _reshape(), _normalization(), _activation()]


def _patch_embedding() -> Observation:
    experiment = "patch_embedding"
    seven, two = case(experiment, "large_kernel"), case(experiment, "convolution_stem")
    sixteen, four = case(experiment, "patches"), case(experiment, "deep_stem")
    return Observation(
        1,
        "patch embedding with a large kernel and stride is a bottleneck",
        "iPhone 12: slower than stacked 3x3 convolutions, of which its own stem is made "
        "(section 3, observation 1). A user found the 7x7 faster on a CPU and a GPU "
        "(snap-research/EfficientFormer, issue 30)",
        (
            Check("one 7x7 of stride 4 against two 3x3 of stride 2", seven, two, SLOWER),
            Check("one 16x16 of stride 16 against four 3x3 of stride 2", sixteen, four, SLOWER),
        ),
    )


def _reshape() -> Observation:
    trip = case("reshape", "round_trip", stage=3)
    on_map = case("reshape", "consistent_map", stage=3)
    on_tokens = case("reshape", "consistent_tokens", stage=3)
    attention = case("attention", "tokens", channels=448, resolution=7)
    return Observation(
        2,
        "a consistent feature dimension matters: reshaping is slow, attention not necessarily",
        "iPhone 12: LeViT-256, which reshapes all the time, takes 11.9 ms for 1.1 GMACs; "
        "EfficientFormer-L1, which does so once, 1.6 ms for 1.3 (figure 1, read off)",
        (
            Check("map to tokens and back against a map all along", trip, on_map, SLOWER),
            Check("map to tokens and back against tokens all along", trip, on_tokens, SLOWER),
            Check(
                "attention against the MLP of its block",
                attention,
                case("projection", "linear"),
                NOT_SLOWER,
            ),
        ),
    )


def _normalization() -> Observation:
    folded = case("normalization", "batch_norm")
    return Observation(
        3,
        "convolution with batch norm is faster than linear with layer norm",
        "iPhone 12: layer norm takes 10 to 20 % of a network's latency, batch norm is folded into "
        "the convolution (section 3, observation 3)",
        tuple(
            Check(f"{text} against convolution with batch norm", alternative, folded, SLOWER)
            for text, alternative in (
                ("linear with layer norm", case("normalization", "layer_norm")),
                ("convolution with group norm", case("normalization", "group_norm")),
            )
        ),
    )


def _activation() -> Observation:
    gelu = case("activation", "gelu")
    return Observation(
        4,
        "what a nonlinearity costs depends on hardware and compiler",
        "iPhone 12: LeViT-256 takes 11.9 ms with GELU (figure 1, read off) and 44.5 ms with "
        "HardSwish (as reviews of the paper quote it), 3.7 times as much",
        tuple(
            Check(f"MLP with {text} against GELU", case("activation", name), gelu, DIFFERENT)
            for text, name in (
                ("HardSwish", "hardswish"),
                ("ReLU", "relu"),
                ("SiLU", "silu"),
                ("GELU by tanh", "gelu_tanh"),
            )
        ),
        any_suffices=True,
    )


# Judging -------------------------------------------------------------------------------------


def judge(expects: str, low: float, high: float, margin: float = MARGIN) -> str:
    """What the interval of a ratio says to an expectation.

    Confirmed where all of it meets the expectation, refuted where none of it does.
    """
    above, below = low > 1 + margin, high < 1 - margin
    if expects == SLOWER:
        meets, fails = above, high < 1 + margin
    elif expects == NOT_SLOWER:
        meets, fails = high < 1 + margin, above
    else:
        meets, fails = above or below, low >= 1 - margin and high <= 1 + margin
    return CONFIRMED if meets else REFUTED if fails else UNDECIDED


def together(verdicts: Sequence[str], any_suffices: bool = False) -> str:
    """The verdict of an observation from those of its checks; checks that disagree leave it open.

    With `any_suffices` one that is confirmed decides.
    """
    if any_suffices and CONFIRMED in verdicts:
        return CONFIRMED
    unlike = set(verdicts)
    return unlike.pop() if len(unlike) == 1 else UNDECIDED


def find(check: Check, units: Mapping[str, Rounds], confidence: float) -> Finding:
    """Judge one check by the costs in context, by case and process."""
    candidate = units.get(check.candidate.label, {})
    baseline = units.get(check.baseline.label, {})
    shared = sorted(set(candidate) & set(baseline))
    reason = ""
    if not shared:
        reason = "not measured"
    elif not covers(len(shared), confidence):
        reason = f"{len(shared)} rounds are too few for an interval"
    elif any(v <= 0 for p in shared for v in (candidate[p], baseline[p])):
        reason = "a cost is smaller than its noise"
    if reason:
        return Finding(check.says, check.expects, UNDECIDED, None, None, None, len(shared), reason)
    logs = [math.log(candidate[p] / baseline[p]) for p in shared]
    low, high = (math.exp(v) for v in interval(logs, confidence))
    verdict = judge(check.expects, low, high)
    ratio = math.exp(median(logs))
    return Finding(check.says, check.expects, verdict, ratio, low, high, len(shared))


def answer(observation: Observation, units: Mapping[str, Rounds]) -> Answer:
    """Judge all checks of an observation, and it by them."""
    confidence = 1 - (1 - CONFIDENCE) / len(observation.checks)
    findings = tuple(find(c, units, confidence) for c in observation.checks)
    verdict = together([f.verdict for f in findings], observation.any_suffices)
    facts = (observation.number, observation.statement, observation.paper)
    return Answer(*facts, verdict, findings)


def observe(trial: Trial) -> list[Answer]:
    """Measure what the observations ask for on one target, and judge."""
    asked = observations()
    wanted = {c.label: c for o in asked for k in o.checks for c in (k.candidate, k.baseline)}
    taken = bench.take(trial, list(wanted.values()), alone=False)
    units = {label: bench.unit_rounds(c, taken) for label, c in wanted.items()}
    return [answer(o, units) for o in asked]


def disagreements(answers: Mapping[str, Sequence[Answer]]) -> list[str]:
    """Sentences: checks whose intervals on two targets lie apart, the farthest pair of each.

    The fourth observation is about targets in the plural: this is what it says of several.
    """
    rows: dict[str, list[tuple[str, Finding]]] = {}
    for target, said in answers.items():
        for finding in (f for a in said for f in a.findings if f.ratio is not None):
            rows.setdefault(finding.says, []).append((target, finding))
    return [s for says, found in rows.items() for s in [_apart(says, found)] if s]


def _apart(says: str, found: Sequence[tuple[str, Finding]]) -> str:
    slow_on, slow = max(found, key=lambda pair: pair[1].low or 0)
    fast_on, fast = min(found, key=lambda pair: pair[1].high or math.inf)
    if not slow.low or not fast.high or slow.low <= fast.high * (1 + MARGIN):
        return ""
    return f"{says}: {slow.ratio:.2f} on {slow_on}, {fast.ratio:.2f} on {fast_on}"
