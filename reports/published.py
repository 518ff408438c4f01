"""Published latencies beside ours: what others print about their devices, never mixed with ours.

`data/published_latency.csv` holds figures that were read in the source itself or digitised from
one of its figures (`certainty` says which), none that one source quotes from another. `network` is
opclock's name, empty where opclock has no such network.
"""

from __future__ import annotations

import csv
import importlib.resources
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.comparison import Cell, Compared
from profiler.statistics import median, spearman

# Of fewer networks a rank correlation says nothing.
FEWEST = 4
# What sources add to a device's name, and processors do not have in theirs.
BESIDE_THE_NAME = {"cpu", "fp32"}


@dataclass(frozen=True, slots=True)
class Published:
    """One printed latency, in milliseconds for a whole batch; `name` is the source's own."""

    network: str
    name: str
    device: str
    compiler: str
    batch: int
    latency_ms: float
    certainty: str
    note: str
    source: str

    @property
    def label(self) -> str:
        """What opclock calls the network with this batch."""
        return self.network if self.batch == 1 else f"{self.network}[batch={self.batch}]"


@dataclass(frozen=True, slots=True)
class Line:
    """A published latency and ours by target; they are of one device where `this_device`."""

    published: Published
    ours_ns: Mapping[str, int]
    this_device: bool


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's coefficient of published with our latencies, by target.

    It is None where one side does not tell networks apart, or fewer than four ran.
    """

    device: str
    compiler: str
    this_device: bool
    networks: tuple[str, ...]
    spearman: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Beside:
    """What is published about networks that were measured."""

    lines: tuple[Line, ...]
    correlations: tuple[Correlation, ...]


def published() -> list[Published]:
    """All published latencies that come with opclock."""
    file = importlib.resources.files("reports") / "data" / "published_latency.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return [
        Published(
            row["network"],
            row["name"],
            row["device"],
            row["compiler"],
            int(row["batch"]),
            float(row["latency_ms"]),
            row["certainty"],
            row["note"],
            row["source"],
        )
        for row in rows
    ]


def beside(compared: Compared, known: Sequence[Published]) -> Beside:
    """What is published about the compared networks, and how well the orders agree."""
    ours = {t: _latencies(compared.cells, t) for t in compared.targets}
    networks = set(compared.networks)
    here = compared.device.description
    matching = [p for p in known if p.label in networks]
    lines = [
        Line(
            p,
            {t: found[p.label] for t, found in ours.items() if p.label in found},
            same_device(p.device, here),
        )
        for p in matching
    ]
    groups: dict[tuple[str, str, int], dict[str, list[float]]] = {}
    for p in matching:
        group = groups.setdefault((p.device, p.compiler, p.batch), {})
        group.setdefault(p.label, []).append(p.latency_ms)
    correlations = [
        Correlation(
            device, compiler, same_device(device, here), tuple(theirs), _spearman(theirs, ours)
        )
        for (device, compiler, _), theirs in groups.items()
        if len(theirs) >= FEWEST
    ]
    return Beside(tuple(lines), tuple(correlations))


def _latencies(cells: Sequence[Cell], target: str) -> dict[str, int]:
    own = [c for c in cells if c.target == target]
    return {c.network: c.latency_ns for c in own if c.latency_ns is not None}


def _spearman(
    theirs: Mapping[str, Sequence[float]], ours: Mapping[str, Mapping[str, int]]
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for target, latencies in ours.items():
        common = [n for n in theirs if n in latencies]
        rho = spearman([median(theirs[n]) for n in common], [latencies[n] for n in common])
        found[target] = None if len(common) < FEWEST or math.isnan(rho) else rho
    return found


def same_device(name: str, description: str) -> bool:
    """Whether a published device's name is that of this machine's processor."""
    words = set(re.findall(r"[\w-]+", name.lower())) - BESIDE_THE_NAME
    return bool(words) and words <= set(re.findall(r"[\w-]+", description.lower()))
