"""The nouns: frozen, serialisable, standard library only.

Times are integers in nanoseconds (`_ns`), sizes are bytes (`_bytes`), loads are cores (`_cores`).
Every noun survives `encoding.to_json` and `from_json`; an unknown field is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profiler.encoding import canonical
from profiler.written import read_words, split_format, split_target, suffix


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
        return f"{self.device}/{self.runtime}" + suffix(
            self.unit, self.precision, options=self.options
        )

    @classmethod
    def parse(cls, text: str, units: tuple[str, ...], precisions: tuple[str, ...]) -> Target:
        """Read a target; `units` and `precisions` are the words that its runtime takes.

        Raises BadTarget on a word that is neither, or a malformed option.
        """
        device, runtime, words = split_target(text)
        kinds = {"unit": units, "precision": precisions}
        (unit, precision), options = read_words(f"target {text!r}", words, kinds, runtime)
        return cls(device, runtime, unit, precision, options)


@dataclass(frozen=True, slots=True)
class Format:
    """How an artifact is made, written `name:precision,option=value`, as in `onnx:fp16`."""

    name: str
    precision: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name + suffix(self.precision, options=self.options)

    @classmethod
    def parse(cls, text: str, precisions: tuple[str, ...]) -> Format:
        """Read a format; `precisions` are the words that its exporter takes. Raises BadTarget."""
        name, words = split_format(text)
        kinds = {"precision": precisions}
        (precision,), options = read_words(f"format {text!r}", words, kinds, name)
        return cls(name, precision, options)


@dataclass(frozen=True, slots=True)
class Device:
    """Something that can run an artifact; `fingerprint` tells two machines apart."""

    name: str
    description: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a workload is timed: the only knobs that measuring has.

    A round is one fresh process, or everything loaded anew in one that takes several
    (`Collection.rounds_each`). In a round each workload is visited `passes` times in shuffled
    order; a visit takes `visit_samples` samples, fewer if they would exceed `visit_limit_ns`. A
    workload that is to be timed as within a network stands in `circles` circles of others whose
    weights are together as large as a network's; a circle is run through `circle_laps` times for
    a timed run each, after a lap that is not timed.
    """

    warmup_runs: int = 8
    warmup_floor_ns: int = 100_000_000
    warmup_limit_ns: int = 2_000_000_000
    sample_floor_ns: int = 1_000_000
    visit_samples: int = 6
    visit_limit_ns: int = 60_000_000
    passes: int = 15
    min_rounds: int = 6
    max_rounds: int = 20
    half_width: float = 0.01
    limit_s: float = 120.0
    max_foreign_cores: float = 0.5
    max_steal: float = 0.05
    circles: int = 0
    circle_laps: int = 4


@dataclass(frozen=True, slots=True)
class Structure:
    """What an artifact holds, in the same words for every format.

    `operators` counts operators by the format's own names, constants left out; `weights` counts
    stored numbers by type (fp32, fp16, int8, int64, ...); `macs` are the multiply-adds of
    convolutions and matrix products, None where the file does not tell; `delegated` counts
    operators inside delegates; `notes` are sentences.
    """

    operators: Mapping[str, int]
    weights: Mapping[str, int]
    macs: int | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    delegated: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """The stored numbers that can be weights: long whole numbers are shapes and indices."""
        return sum(n for kind, n in self.weights.items() if kind not in NOT_WEIGHTS)

    @property
    def precision(self) -> str:
        """The type that most weights have."""
        found = {k: n for k, n in self.weights.items() if k not in NOT_WEIGHTS}
        return max(found, key=lambda kind: found[kind]) if found else "fp32"


NOT_WEIGHTS = ("int32", "int64", "bool")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a runtime executes, found by the digest of its content."""

    path: str
    format: Format
    digest: str
    size_bytes: int
    model_parameters: int
    structure: Structure
    exporter: Mapping[str, str]
    reference: str = ""
    export_ns: int = 0


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
    """One workload in one fresh process. Samples are ns per inference, each over `batch` runs.

    `peak_bytes` is how much the process's resident memory grew, at most, while the workload was
    loaded and ran first; in a process of several it is too small, since memory is used again.
    Rounds that several targets took one after another share their `lap`. `at_ns` is when the visit
    of each sample began, since the first visit of the process.
    """

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
    peak_bytes: int | None = None
    lap: str = ""
    at_ns: tuple[int, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the round counts: a disturbed one is kept, and does not."""
        return not self.flags

    @property
    def visits(self) -> list[list[int]]:
        """The samples of each visit, in order; one of all where `at_ns` does not tell."""
        at_ns = self.at_ns or [0] * len(self.samples_ns)
        found: dict[int, list[int]] = {}
        for at, sample in zip(at_ns, self.samples_ns, strict=True):
            found.setdefault(at, []).append(sample)
        return list(found.values())


def usable(rounds: Sequence[Round]) -> list[Round]:
    """The undisturbed rounds; all of them when none is."""
    return [r for r in rounds if r.valid] or list(rounds)


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
class Source:
    """An operator of the network as torch exported it: what compiled operators are traced back to.

    `inputs` and `outputs` are names of tensors. `modules` are the paths of the modules that it
    comes from, the owner of its weights first, and `classes` the classes along the first path,
    from the network's on; both are empty where the file does not tell.
    """

    name: str
    operator: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Executed:
    """An operator that a compiled network executes, as its runtime's profiler tells it.

    `time_ns` is of one inference. `sources` names the source operators that it stands for; what
    the compiler inserted has none, and `beside` names those next to it. `attribution` says how
    the time is known: `runtime-event`, `timed-call`, `plan-estimate`.
    """

    name: str
    operator: str
    time_ns: float
    sources: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    attribution: str = "runtime-event"


@dataclass(frozen=True, slots=True)
class OperatorTimes:
    """What a runtime's profiler tells of one process.

    `latency_ns` is that of an inference under the profiler, `between_ns` how much of it lies
    between and around the operators: the runtime's own work, and the profiler's. `event_ns` is
    what the profiler itself takes of each operator's time; it has been taken off. `level` says
    what they are of: the `quiet` half of the inferences, or their `median` or `mean` where the
    profiler does not tell single ones.
    """

    executed: tuple[Executed, ...]
    latency_ns: int
    between_ns: float
    event_ns: float = 0.0
    level: str = "quiet"


@dataclass(frozen=True, slots=True)
class BreakdownRow:
    """A part of a network and the time that it takes; `attribution` says how that is known.

    `kind` is a block's kind or an operator's type. `module` is where the part comes from, the
    first of `modules`, and `joined` how that is known: `source`, `neighbour` for what the compiler
    inserted, or "" where nothing is. `members` are the source operators of a fused one.
    `samples_ns` are the times in each profiled process.
    """

    name: str
    kind: str
    count: int
    time_ns: int
    attribution: str
    category: str = ""
    module: str = ""
    modules: tuple[str, ...] = ()
    joined: str = ""
    members: tuple[str, ...] = ()
    samples_ns: tuple[int, ...] = ()
    block: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the times of a profiler were brought to the latency without it.

    `summed_ns` is the sum of the operators as profiled, `factor` what the rows were multiplied by,
    `profiler_factor` the latency with the profiler over the one without, in the same processes.
    `event_ns` was measured as the profiler's own part of each operator's time, and taken off it.
    """

    summed_ns: int
    factor: float
    profiler_factor: float
    processes: int
    event_ns: float = 0.0


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Rows that, with the overhead and the unattributed rest, are the measured latency.

    `overhead_ns` is time beside the operators, `unattributed_ns` what nothing explains; it is
    negative where the rows hold more than was measured. `scaling` is of profiled networks only.
    """

    workload: Workload
    target: Target
    rows: tuple[BreakdownRow, ...]
    unattributed_ns: int
    total_ns: int
    overhead_ns: int = 0
    scaling: Scaling | None = None
    device: Device | None = None
    runtime_version: str = ""
    flags: tuple[str, ...] = ()


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
