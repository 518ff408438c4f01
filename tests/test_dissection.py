"""Processes that time and profile a network: what they return, and what they refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch

from exporters import exported_program, onnx
from profiler import devices, dissection, formats, profiling, sampling
from profiler.breakdown import closure
from profiler.collection import Progress
from profiler.dissection import Subject
from profiler.profiling import Profile
from profiler.runtimes import torch_eager
from profiler.sampling import TURN
from profiler.statistics import median
from profiler.types import (
    Artifact,
    Breakdown,
    Executed,
    Failure,
    Model,
    OperatorTimes,
    Structure,
    Workload,
)
from profiler.worker import random_feeds
from tests import breakdown_nets

EXPORTERS = {"onnxruntime": onnx, "torch_eager": exported_program}
NET = Workload("a:b", {}, "net")


@pytest.fixture(autouse=True)
def _gradients() -> Iterator[None]:
    """What is profiled in this very process turns them off for all tests that follow."""
    before = torch.is_grad_enabled()
    yield
    torch.set_grad_enabled(before)


def subject_of(folder: Path, runtime: str, wrong: float = 0.0) -> Subject:
    """A small network and torch's output for the inputs that it is given, `wrong` by so much."""
    target = devices.target(f"host/{runtime}")
    made_as = formats.executed_by(target)
    exporter = EXPORTERS[runtime]
    module, example = breakdown_nets.transformer()
    module.eval()
    out = folder / f"net{exporter.SUFFIX}"
    exporter.export(Model(module, (example,)), out, made_as)
    (feed,) = random_feeds([("x", tuple(example.shape), "float32")]).values()
    with torch.no_grad():
        output = module(torch.from_numpy(feed)).numpy() + wrong
    reference = folder / "reference.npz"
    numpy.savez(reference, output0=output)
    artifact = Artifact(
        str(out), made_as, "digest", out.stat().st_size, 1, Structure({}, {}), {}, str(reference)
    )
    return Subject(NET, target, artifact, artifact)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch_eager"])
def test_every_process_times_and_profiles(tmp_path: Path, runtime: str) -> None:
    said: list[Progress] = []
    found = dissection.take_apart(
        {"net": subject_of(tmp_path, runtime)}, 2, 60, on_progress=said.append
    )
    parts = found["net"]
    assert isinstance(parts, Breakdown), parts
    assert parts.scaling is not None
    assert 2 <= parts.scaling.processes <= 4, "two, and up to two more where they disagree"
    assert parts.total_ns > 0
    assert sum(r.time_ns for r in parts.rows) + parts.overhead_ns + parts.unattributed_ns == (
        parts.total_ns
    )
    assert closure(parts) > -1
    assert [p.done for p in said] == list(range(1, parts.scaling.processes + 1))


def test_what_computes_something_else_is_not_taken_apart(tmp_path: Path) -> None:
    found = dissection.take_apart({"net": subject_of(tmp_path, "onnxruntime", wrong=1.0)}, 2, 60)
    failure = found["net"]
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.kind) == ("profile", "wrong-output")
    assert "differs from torch's" in failure.message


def test_a_disturbed_process_has_no_part_in_the_latency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = OperatorTimes((Executed("one", "Conv", 900),), 1_000, 100)
    quiet = Profile(times, (), 900, 1_000, 12)
    loud = dataclasses.replace(quiet, latency_ns=1_500, flags=("others kept 1.00 cores busy",))
    taken = iter([quiet, loud, quiet, loud, loud])
    monkeypatch.setattr(profiling, "take", lambda *_: next(taken))
    subject = subject_of(tmp_path, "onnxruntime")
    parts = dissection.take_apart({"net": subject}, 3, 60)["net"]
    assert isinstance(parts, Breakdown)
    assert parts.total_ns == 1_000
    assert parts.flags == ("1 of 3 processes were disturbed",)
    # Where all are, the latency is theirs, and that is said.
    parts = dissection.take_apart({"net": subject}, 2, 60)["net"]
    assert isinstance(parts, Breakdown)
    assert parts.total_ns == 1_500
    assert parts.flags[0] == "2 of 2 processes were disturbed"


@pytest.mark.parametrize(
    ("sums", "taken"),
    [
        ([900, 905, 500], 3),  # one of three was off
        ([900, 950, 1_000, 951, 952], 5),
        ([900, 950, 1_000, 800, 1_100, 1_050, 1_300], 6),
    ],
)
def test_processes_that_disagree_are_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sums: list[int], taken: int
) -> None:
    found = [
        Profile(OperatorTimes((Executed("one", "Conv", s),), 1_000, 100), (), 1_000, 1_000, 12)
        for s in sums
    ]
    following = iter(found)
    monkeypatch.setattr(profiling, "take", lambda *_: next(following))
    said: list[Progress] = []
    parts = dissection.take_apart(
        {"net": subject_of(tmp_path, "onnxruntime")}, 3, 60, on_progress=said.append
    )["net"]
    assert isinstance(parts, Breakdown)
    assert parts.scaling is not None
    assert parts.scaling.processes == taken
    assert parts.rows[0].time_ns == median(sums[:taken])
    assert all(p.done <= p.total for p in said)
    assert said[-1].done == said[-1].total == taken


def test_a_profiler_that_records_whatever_runs_is_followed_by_as_many_plain_inferences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's: the plain inferences come after the profile, and are no fewer than elsewhere."""
    subject = subject_of(tmp_path, "torch_eager")
    turns: list[sampling.Turns] = []

    class Seen(sampling.Turns):
        def __init__(self, call: sampling.Call, count: int, elapsed: sampling.Elapsed) -> None:
            super().__init__(call, count, elapsed)
            turns.append(self)

    monkeypatch.setattr(sampling, "Turns", Seen)
    monkeypatch.setattr(profiling, "LASTS_NS", 1)
    job = {
        "path": subject.artifact.path,
        "profiled": subject.profiled.path,
        "reference": subject.artifact.reference,
        "format": subject.profiled.format.name,
    }
    found = profiling._profile(job, torch_eager, subject.target)
    (taken,) = turns
    assert found.runs == len(taken) == profiling.FEWEST_RUNS
    assert len(taken.plain_ns) == TURN * -(-profiling.FEWEST_RUNS // TURN)
    assert found.latency_ns == round(median(taken.plain_ns))
    assert found.plain_ns <= found.latency_ns
