"""What others sum: isolated blocks and isolated operators, measured beside a table's chains.

Both are timed alone, one after another run of themselves. Their sums stand beside a table's
closure, on the same networks and in the same rounds.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from profiler import plugins
from profiler.collection import Item
from profiler.statistics import errors
from profiler.tables import networks
from profiler.tables.networks import Bench
from profiler.types import Artifact, Workload

ALONE = "alone "


@dataclass
class Alone:
    """Blocks and operators on their own: items by name, and the operators of each block."""

    items: dict[str, Item] = field(default_factory=dict)
    operators: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Baseline:
    """How far off a sum is, over the networks of a closure, percent."""

    name: str
    networks: int
    mape_percent: float
    max_percent: float
    bias_percent: float


def isolate(bench: Bench, keys: Iterable[str], blocks: Mapping[str, Artifact]) -> Alone:
    """Items for every block alone, and for its operators where the format can be split."""
    wanted = sorted(set(keys))
    found = Alone(networks.compose(bench, {ALONE + k: (k,) for k in wanted}, blocks))
    exporter = plugins.load("exporters", bench.format.name)
    if not hasattr(exporter, "split"):
        return found
    with tempfile.TemporaryDirectory(prefix="opclock-operators-") as name:
        workloads: dict[str, Workload] = {}
        for key in wanted:
            if key in blocks:
                files = exporter.split(Path(blocks[key].path), Path(name))
                found.operators[key] = [f.stem for f in files]
                workloads.update((f.stem, _file(f)) for f in files)
        found.items |= networks.real(bench, workloads)
    return found


def _file(path: Path) -> Workload:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    parameters = {"path": str(path), "sha256": sha256}
    return Workload("benchmarks.models.files:onnx", parameters, path.stem)


def compare(
    found: Alone,
    latency_ns: Mapping[str, float],
    rows: Mapping[str, Sequence[str]],
) -> list[Baseline]:
    """Sums of isolated parts against the measured networks, whose rows are given by name."""
    sums: dict[str, dict[str, float]] = {"isolated blocks": {}, "isolated operators": {}}
    for name, keys in rows.items():
        if name not in latency_ns:
            continue
        if all(ALONE + k in latency_ns for k in keys):
            sums["isolated blocks"][name] = sum(latency_ns[ALONE + k] for k in keys)
        inner = [o for k in keys for o in found.operators.get(k, ("",))]
        if all(o in latency_ns for o in inner):
            sums["isolated operators"][name] = sum(latency_ns[o] for o in inner)
    return [_figures(what, found, latency_ns) for what, found in sums.items() if found]


def _figures(what: str, sums: Mapping[str, float], latency_ns: Mapping[str, float]) -> Baseline:
    figures = errors(list(sums.values()), [latency_ns[n] for n in sums])
    return Baseline(
        what,
        len(sums),
        round(figures.mape_percent, 3),
        round(figures.max_percent, 3),
        round(figures.bias_percent, 3),
    )
