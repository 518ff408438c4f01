"""Core ML: executes ML Programs on a Mac's CPU, GPU and Neural Engine.

Written after the sources of coremltools 9.0 and never run on a Mac. What does not need one is
tested (tests/test_coreml.py): reading the package, and with stand-ins for the loaded model and the
compute plan, which arguments are passed, how durations are added and how outputs are ordered.

A unit is a permission, not a place: `cpu_and_ne` may run every operator on the CPU. Where Core ML
means to run them is read from its compute plan and stored with every round, as "placement".

An inference is timed by Core ML's own duration of `predictionFromFeatures`, so that neither Python
nor the making of arrays is part of it. From Python, float16 inputs arrive as float32 (coremltools
makes them so), and Core ML's conversion back is part of the duration.
"""

from __future__ import annotations

import functools
import importlib
import logging
import platform
import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from profiler import choices
from profiler.environment import installed, package_version
from profiler.runtimes import _coreml_profile
from profiler.sampling import Turns
from profiler.types import OperatorTimes, Source, Target

FORMATS = ("coreml",)
UNITS = ("all", "cpu", "cpu_and_gpu", "cpu_and_ne")
PRECISIONS = ("fp16", "fp32")
# fast: Core ML may take longer to load a program, and use more memory, to run it faster.
OPTIONS = {"specialization": "default"}
EXTRA = "coreml"
INSTALL = "pip install numpy==2.3.5 coremltools==9.0"
# The first macOS that tells where it means to run each operator.
OLDEST_MACOS = (14, 4)
COMPUTE_UNITS = {
    "all": "ALL",
    "cpu": "CPU_ONLY",
    "cpu_and_gpu": "CPU_AND_GPU",
    "cpu_and_ne": "CPU_AND_NE",
}
SPECIALIZATIONS = {"default": None, "fast": "FastPrediction"}
DEVICES = {
    "MLNeuralEngineComputeDevice": "neural_engine",
    "MLGPUComputeDevice": "gpu",
    "MLCPUComputeDevice": "cpu",
}
NUMPY_TYPES = {"FLOAT16": "float16", "FLOAT32": "float32", "DOUBLE": "float64", "INT32": "int32"}
# The deployment that a program was made for, by the version of its format.
DEPLOYMENTS = {6: "ios15", 7: "ios16", 8: "ios17", 9: "ios18", 10: "ios26"}


def missing() -> str | None:
    """What this machine needs in order to run it, or None."""
    if _macos() < OLDEST_MACOS:
        return "needs macOS 14.4 or newer"
    return None if installed("numpy") and installed("coremltools") else INSTALL


def _macos() -> tuple[int, ...]:
    """The version of macOS; empty on other systems, which is older than any."""
    return tuple(int(part) for part in platform.mac_ver()[0].split(".") if part.isdigit())


def version() -> str:
    """The versions that decide the latency: Core ML itself is a part of macOS."""
    tools = package_version("coremltools") or "not installed"
    return f"coremltools {tools}, macOS {platform.mac_ver()[0] or 'absent'}"


def start() -> None:
    """Import coremltools, so that no artifact's load time includes it."""
    _coremltools()


def _coremltools() -> Any:
    """The package, without the warnings of its import."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return importlib.import_module("coremltools")
    finally:
        logger.setLevel(level)


def check(target: Target) -> None:
    """Raise BadTarget when an option's value does not exist."""
    choices.check(target, {"specialization": SPECIALIZATIONS})


class Session:
    """A loaded program. `inputs` are (name, shape, numpy type)."""

    def __init__(self, path: str, target: Target) -> None:
        self._model = _load(path, target)
        spec = self._model.get_spec()
        self.inputs = [(i.name, *_array(i)) for i in spec.description.input]
        self._outputs = [(o.name, _array(o)[0]) for o in spec.description.output]
        precision = _precision(spec)
        if precision != target.precision:
            raise RuntimeError(f"asked for {target.precision}, the program computes in {precision}")
        self.compiled = self._model.get_compiled_model_path()
        placed = _placement(self.compiled, target.unit)
        total = sum(placed.values())
        self.actual = {
            "unit": target.unit,
            "precision": precision,
            "deployment": DEPLOYMENTS.get(spec.specificationVersion, "unknown"),
            "specialization": target.options["specialization"],
            "placement": ", ".join(f"{where} {n}/{total}" for where, n in placed.items()),
        }

    def bind(self, feeds: Mapping[str, Any]) -> functools.partial[dict[str, Any]]:
        """A call without arguments that runs one inference and returns the outputs by name."""
        import numpy

        # coremltools makes float32 of float16 in every call; here it is done once.
        ready = {
            name: numpy.ascontiguousarray(x, dtype="float32" if x.dtype == "float16" else x.dtype)
            for name, x in feeds.items()
        }
        return functools.partial(self._model.predict, ready)

    def outputs(self, result: Mapping[str, Any]) -> list[Any]:
        """What the call returned, as numpy arrays in torch's order: Core ML's has none."""
        import numpy

        return [numpy.asarray(result[name]).reshape(shape) for name, shape in self._outputs]

    def elapsed_ns(self, call: Callable[[], object], batch: int) -> int:
        """The nanoseconds of `batch` inferences, as Core ML reports them one by one."""
        total = 0
        for _ in range(batch):
            call()
            total += self._model.last_predict_duration_in_nano_seconds
        return total


def load(path: str, target: Target) -> Session:
    """Compile a package for this Mac and load it; the compiled program goes with the session."""
    return Session(path, target)


def placement(path: str, target: Target) -> dict[str, int]:
    """How many operators Core ML prefers to run where: neural_engine, gpu, cpu, unknown.

    Never run on a Mac. Raises what coremltools raises.
    """
    model = _load(path, target)
    return _placement(model.get_compiled_model_path(), target.unit)


def _load(path: str, target: Target) -> Any:
    """An MLModel that can predict. Raises RuntimeError with Core ML's own words."""
    ct = _coremltools()
    strategy = SPECIALIZATIONS[target.options["specialization"]]
    hints = {"specializationStrategy": ct.SpecializationStrategy[strategy]} if strategy else None
    with warnings.catch_warnings():
        # A program that Core ML refuses is only warned about: predict would fail.
        warnings.filterwarnings("error", "You will not be able to run predict", RuntimeWarning)
        try:
            model = ct.models.MLModel(
                path,
                compute_units=ct.ComputeUnit[COMPUTE_UNITS[target.unit]],
                optimization_hints=hints,
            )
        except RuntimeWarning as warning:
            raise RuntimeError(str(warning)) from warning
    try:
        model.get_compiled_model_path()
    except Exception as error:  # coremltools raises nothing more special
        raise RuntimeError(f"this macOS is too old for the program: {error}") from error
    return model


def _array(feature: Any) -> tuple[tuple[int, ...], str]:
    """Shape and numpy type of an input or output."""
    kind = feature.type.multiArrayType
    name = kind.ArrayDataType.Name(kind.dataType)
    return tuple(kind.shape), NUMPY_TYPES.get(name, name.lower())


def _precision(spec: Any) -> str:
    """fp16 when an input is float16 or any operator gives it, else fp32."""
    from coremltools.proto import MIL_pb2

    function = spec.mlProgram.functions[spec.description.defaultFunctionName or "main"]
    operators = function.block_specializations[function.opset].operations
    given = [o for operator in operators if operator.type != "const" for o in operator.outputs]
    kinds = {value.type.tensorType.dataType for value in (*function.inputs, *given)}
    return "fp16" if MIL_pb2.FLOAT16 in kinds else "fp32"


def _placement(compiled: str, unit: str) -> dict[str, int]:
    """Operators by the device that the compute plan of a compiled program prefers for them."""
    plan = _plan(compiled, unit)
    counts: Counter[str] = Counter()
    for function in plan.model_structure.program.functions.values():
        for operator in _operators(function.block):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operator)
            device = type(usage.preferred_compute_device).__name__ if usage else ""
            counts[DEVICES.get(device, "unknown")] += 1
    return dict(counts.most_common())


def _plan(compiled: str, unit: str) -> Any:
    """What Core ML means to do with a compiled program."""
    ct = _coremltools()
    plans = importlib.import_module("coremltools.models.compute_plan")
    return plans.MLComputePlan.load_from_path(
        path=compiled, compute_units=ct.ComputeUnit[COMPUTE_UNITS[unit]]
    )


def _operators(block: Any) -> Iterator[Any]:
    """The operators of a block and of the blocks inside it, without constants."""
    for operator in block.operations:
        # Written with or without the system's name: "ios17.conv", "const".
        name = operator.operator_name.rpartition(".")[2]
        if name != "const" and not name.startswith("constexpr_"):
            yield operator
        for inner in operator.blocks or ():
            yield from _operators(inner)


def profile(
    path: str,
    target: Target,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """The latency shared out by the compute plan's weights: estimates. Never run on a Mac.

    Nobody outside Apple can time single operators on the Neural Engine.
    """
    session = load(path, target)
    call = session.bind(feeds)
    for _ in range(warmup):
        call()
    latency = statistics.median(session.elapsed_ns(call, 1) for _ in runs)
    plan = _plan(session.compiled, target.unit)
    operators = [
        (operator, plan.get_estimated_cost_for_mlprogram_operation(operator))
        for function in plan.model_structure.program.functions.values()
        for operator in _operators(function.block)
    ]
    weighed = [(o, float(c.weight)) for o, c in operators if c is not None]
    return _coreml_profile.times_of(weighed, sources, round(latency))


def kind_of(error: BaseException) -> str:
    """What an error means, in the words of Failure.kind."""
    text = f"{type(error).__name__} {error}"
    if isinstance(error, ImportError):
        return "missing-package"
    if isinstance(error, MemoryError):
        return "out-of-memory"
    broken = ("Error compiling model", "Error parsing MIL model", "Error reading protobuf spec")
    if any(mark in text for mark in broken) or "DecodeError" in text:
        return "invalid-artifact"
    return "error"
