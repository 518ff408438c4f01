from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest

from profiler import devices, worker
from profiler.types import Protocol
from profiler.worker import WrongOutput, compare, random_feeds


def reference(folder: Path, *arrays: numpy.ndarray) -> str:
    path = folder / "reference.npz"
    numpy.savez(path, **{f"output{i}": a for i, a in enumerate(arrays)})
    return str(path)


def test_equal_outputs_have_no_error_and_small_differences_are_told(tmp_path: Path) -> None:
    want = numpy.array([1.0, -4.0], dtype="float32")
    path = reference(tmp_path, want)
    assert compare([want], path) == 0.0
    assert compare([want + numpy.float32(0.004)], path) == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize(
    "outputs",
    [
        [numpy.array([1.0, -3.0], dtype="float32")],
        [numpy.array([1.0, numpy.nan], dtype="float32")],
        [numpy.array([1.0, numpy.inf], dtype="float32")],
        [numpy.array([[1.0, -4.0]], dtype="float32")],
        [],
        [numpy.array([1.0, -4.0], dtype="float32")] * 2,
    ],
    ids=["other values", "undefined", "infinite", "other shape", "too few", "too many"],
)
def test_a_fast_wrong_answer_is_wrong(tmp_path: Path, outputs: list[numpy.ndarray]) -> None:
    path = reference(tmp_path, numpy.array([1.0, -4.0], dtype="float32"))
    with pytest.raises(WrongOutput):
        compare(outputs, path)


def test_a_tiny_output_is_judged_by_its_own_size(tmp_path: Path) -> None:
    want = numpy.array([9e-5, -2e-5], dtype="float32")
    with pytest.raises(WrongOutput):
        compare([want * numpy.float32(1.1)], reference(tmp_path, want))


def test_inputs_are_the_same_every_time_and_never_zero() -> None:
    inputs = [("x", (2, 3), "float32"), ("i", (4,), "int64"), ("b", (3,), "bool")]
    first, second = random_feeds(inputs), random_feeds(inputs)
    for name, _, kind in inputs:
        assert first[name].dtype == kind
        assert (first[name] == second[name]).all()
    assert (first["x"] != 0).all()


class Engine:
    """A runtime that counts its inferences."""

    def __init__(self) -> None:
        self.inferences = 0

    def load(self, *_: Any) -> Any:
        return self

    inputs: tuple[Any, ...] = ()
    actual: Mapping[str, str] = {}

    def bind(self, _: Any) -> Any:
        return self.infer

    def infer(self) -> None:
        self.inferences += 1


def prepared(engine: Engine, **entry: Any) -> worker.Item:
    whole = {"key": "a", "path": "a.onnx", **entry}
    protocol = Protocol(circles=2, warmup_runs=4, warmup_floor_ns=0)
    return worker._prepare(whole, engine, devices.target("host/onnxruntime"), protocol)


def test_the_first_lap_of_a_circle_is_its_warm_up() -> None:
    alone, chained = Engine(), Engine()
    assert prepared(alone).calibration.warmup >= 4
    assert alone.inferences > 4
    assert prepared(chained, circle_bytes=100).calibration == worker.UNCALIBRATED
    assert chained.inferences == 1
