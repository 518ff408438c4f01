"""The nouns: frozen, serialisable, standard library only.

Times are integers in nanoseconds (`_ns`), sizes are bytes (`_bytes`), loads are cores (`_cores`).
Every noun survives `to_json` and `from_json`; a field that a noun does not have is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from profiler.errors import BadTarget

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured, by reference: a builder `package.module:function` and its parameters."""

    builder: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    label: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """The identity: equal keys are the same workload; the label plays no part."""
        return f"{self.builder}({canonical(self.parameters)})"

    @property
    def name(self) -> str:
        """What a person reads."""
        return self.label or self.key


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how a workload runs, written `device/runtime:unit,precision,option=value`."""

    device: str
    runtime: str
    unit: str = ""
    precision: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [p for p in (self.unit, self.precision) if p]
        parts += [f"{name}={self.options[name]}" for name in sorted(self.options)]
        return f"{self.device}/{self.runtime}" + (":" + ",".join(parts) if parts else "")

    @classmethod
    def parse(cls, text: str, units: tuple[str, ...], precisions: tuple[str, ...]) -> Target:
        """Read a target; `units` and `precisions` are the words that its runtime takes.

        Raises BadTarget on a word that is neither, or a malformed option.
        """
        device, runtime, words = split_target(text)
        unit = precision = ""
        options: dict[str, str] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if equals:
                if not name or not value:
                    raise BadTarget(f"target {text!r}: option {word!r} is not name=value")
                if name in options:
                    raise BadTarget(f"target {text!r}: option {name!r} is given twice")
                options[name] = value
            elif word in units and not unit:
                unit = word
            elif word in precisions and not precision:
                precision = word
            else:
                raise BadTarget(
                    f"target {text!r}: {word!r} is neither a unit ({', '.join(units)}) "
                    f"nor a precision ({', '.join(precisions)}) of {runtime}, or is given twice"
                )
        return cls(device, runtime, unit, precision, options)


def split_target(text: str) -> tuple[str, str, list[str]]:
    """The device, the runtime and the remaining words of a written target."""
    place, _, rest = text.strip().partition(":")
    device, slash, runtime = place.partition("/")
    if not slash:
        device, runtime = "host", device
    if not device or not runtime:
        raise BadTarget(
            f"target {text!r} is not device/runtime:unit,precision,option=value; "
            "for example host/onnxruntime:cpu,fp32,threads=1"
        )
    words = [w.strip() for w in rest.split(",")] if rest.strip() else []
    if any(not w for w in words):
        raise BadTarget(f"target {text!r} has an empty part between commas")
    return device, runtime, words


@dataclass(frozen=True, slots=True)
class Device:
    """Something that can run an artifact; `fingerprint` tells two machines apart."""

    name: str
    description: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a workload is timed: the only knobs that measuring has.

    A round is one fresh process. In a round each workload is visited `passes` times in shuffled
    order; a visit takes `visit_samples` samples, fewer if they would exceed `visit_limit_ns`.
    Before each sample of a workload that is to be timed cold, `evict_bytes` of other memory are
    read, so that its weights are no longer in the caches.
    """

    warmup_runs: int = 8
    warmup_floor_ns: int = 100_000_000
    warmup_limit_ns: int = 2_000_000_000
    sample_floor_ns: int = 1_000_000
    visit_samples: int = 20
    visit_limit_ns: int = 200_000_000
    passes: int = 5
    min_rounds: int = 6
    max_rounds: int = 20
    half_width: float = 0.01
    limit_s: float = 120.0
    max_foreign_cores: float = 0.5
    max_steal: float = 0.05
    evict_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a runtime executes, found by the digest of its content."""

    path: str
    format: str
    digest: str
    size_bytes: int
    parameters: int
    model_parameters: int
    operators: Mapping[str, int]
    exporter: Mapping[str, str]
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """How quiet the machine was while one workload was timed in one round."""

    foreign_cores: float | None = None
    steal: float | None = None
    involuntary_switches: int | None = None
    clock_hz: int | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One workload in one fresh process. Samples are ns per inference, each over `batch` runs."""

    process: str
    started_at: str
    samples_ns: tuple[int, ...]
    batch: int
    warmup: int
    load_ns: int
    first_ns: int
    actual: Mapping[str, str]
    telemetry: Telemetry
    canary_ns: int | None = None
    error: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the round counts: a disturbed one is kept, and does not."""
        return not self.flags


@dataclass(frozen=True, slots=True)
class Measurement:
    """A workload's latency: raw samples with all that is needed to take them again."""

    workload: Workload
    target: Target
    protocol: Protocol
    artifact: Artifact
    environment: Mapping[str, Any]
    rounds: tuple[Round, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A workload that could not be measured: where it failed, how, and what was said."""

    workload: Workload
    target: str
    stage: str
    kind: str
    message: str
    log: str = ""


@dataclass(frozen=True, slots=True)
class BreakdownRow:
    """A part of a network and the time that it takes; `attribution` says how that is known."""

    name: str
    kind: str
    count: int
    time_ns: int
    attribution: str


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Rows that, with the unattributed rest, close to the measured latency."""

    workload: Workload
    target: Target
    rows: tuple[BreakdownRow, ...]
    unattributed_ns: int
    total_ns: int


@dataclass(frozen=True, slots=True)
class Model:
    """What a builder returns: a torch module and the inputs that fix its shapes."""

    module: Any
    inputs: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """What a builder returns for a file that is an artifact already."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(*values: Any) -> str:
    """A name for content: 24 hexadecimal digits of SHA-256 over the canonical texts."""
    return hashlib.sha256("\x00".join(canonical(v) for v in values).encode()).hexdigest()[:24]


def to_json(value: Any) -> Any:
    """Plain dictionaries, lists, strings and numbers for a noun."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value


def from_json(kind: type[T], value: Any) -> T:
    """A noun from plain data. Raises ValueError on an unknown field or a wrong type."""
    return typing.cast(T, _decode(kind, value, kind.__name__))


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _decode(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object, found {type(value).__name__}")
        fields = _fields(typing.cast(type, kind))
        unknown = sorted(set(value) - set(fields))
        if unknown:
            raise ValueError(f"{where}: unknown field {unknown[0]!r}")
        parts = {k: _decode(fields[k], v, f"{where}.{k}") for k, v in value.items()}
        try:
            return typing.cast(Any, kind)(**parts)
        except TypeError as error:
            raise ValueError(f"{where}: {error}") from None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list, found {type(value).__name__}")
        return tuple(_decode(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(_origin_type(origin), Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object, found {type(value).__name__}")
        return {k: _decode(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if arguments and type(None) in arguments:
        (kind,) = [a for a in arguments if a is not type(None)]
        return None if value is None else _decode(kind, value, where)
    return _scalar(kind, value, where)


def _origin_type(origin: Any) -> type:
    return origin if isinstance(origin, type) else type(None)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (str, int, float, bool) and type(value) is not kind:
        raise ValueError(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
    return value
