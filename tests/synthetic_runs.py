"""Results of invented figures in the form in which commands write them, for pages about them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from profiler.commands.bench import without_nan
from profiler.comparison import Against, Cell, Compared, RankChange
from profiler.encoding import to_json
from profiler.experiments import Cost, Line
from profiler.observations import CONFIRMED, REFUTED, UNDECIDED, Answer, Finding
from profiler.statistics import Comparison
from profiler.tables.build import close
from profiler.tables.check import Checked
from profiler.tables.table import Entry, LatencyTable, Network, save
from profiler.types import Breakdown, BreakdownRow, Device, Failure, Protocol, Target, Workload

HERE = Device("host", "Some <Processor>, 2 cores, Linux", "aaaaaa000000")
THERE = Device("host", "Another Processor, 8 cores, Linux", "bbbbbb000000")
CATEGORIES = ("convolution", "attention", "MLP", "normalisation", "reshape and layout")
HARDWARE = {"cpu": "X", "cores": 2, "machine": "x86_64", "caches": {}, "system": "Linux"}
ENVIRONMENT = {"opclock": "0.1.0", "hardware": HARDWARE, "packages": {"numpy": "2.3.5"}}


def write(path: Path, record: Any, **made: Any) -> Path:
    whole = {**to_json(record), "made": to_json(made)} if made else to_json(record)
    path.write_text(json.dumps(whole))
    return path


def compared(
    networks: list[str], targets: list[str], device: Device = HERE, laps: int = 12
) -> Compared:
    draw = random.Random(1)
    cells = []
    for n, network in enumerate(networks, 1):
        for t, target in enumerate(targets):
            ns = round(2e6 * n**1.3 * (1 + 0.15 * t) * (1 + 0.3 * math.sin(n * (t + 1))))
            ratio = 1 + 0.15 * t
            against = Against(ratio, 0.99 * ratio, 1.01 * ratio, laps, "SLOWER") if t else None
            medians = {f"lap{i}": ns * draw.uniform(0.985, 1.015) for i in range(laps)}
            cells.append(
                Cell(
                    network, target, "", ns, round(0.99 * ns), round(1.01 * ns), medians, against,
                    load_ns=8 * ns, first_ns=2 * ns, peak_bytes=10**7, size_bytes=10**6,
                    error=1e-6, asked_precision="fp32", actual_precision="fp32", asked_unit="cpu",
                    actual_unit="cpu", fallback_share=0.25,
                )
            )  # fmt: skip
    changes = (RankChange(networks[0], networks[-1], (targets[0],), (targets[-1],)),)
    return Compared(
        tuple(networks), tuple(targets), targets[0], "2026-01-01T00:00:00+00:00", device,
        {"onnxruntime": "1.0"}, Protocol(), tuple(cells), changes if len(targets) > 1 else (),
    )  # fmt: skip


def breakdown(network: str, runtime: str, operators: int = 60, device: Device = HERE) -> Breakdown:
    rows = []
    for i in range(operators):
        category = CATEGORIES[i % len(CATEGORIES)]
        block = f"stages.{i // 15}.blocks.{i % 15 // 5}"
        ns = 20_000 + 1000 * i
        rows.append(
            BreakdownRow(
                f"{block}.{i}", "Conv", 1, ns, "runtime-event", category, f"{block}.part{i}",
                (f"{block}.part{i}",), "source", ("Conv a", "Add b"),
                tuple(ns + 100 * k for k in range(7)), block, f"stages.{i // 15}",
            )
        )  # fmt: skip
    total = sum(r.time_ns for r in rows) + 30_000
    place = Target("host", runtime, "cpu", "fp32", {"threads": "1"})
    return Breakdown(
        Workload("a:b", {"n": network}, network), place, tuple(rows), 10_000, total, 20_000,
        device=device, runtime_version="1.0",
    )  # fmt: skip


def breakdowns(found: list[Breakdown]) -> dict[str, Any]:
    broken = Failure(Workload("c:d", {}, "broken"), "host/litert", "run", "crash", "it <broke>")
    return {"breakdowns": to_json(found), "differences": [], "failures": to_json([broken])}


def bench(targets: list[str]) -> dict[str, Any]:
    results = []
    for t, target in enumerate(targets, 1):
        lines = []
        for n, name in enumerate(("gelu", "relu", "hardswish")):
            ns = 1000.0 * t * (3 - n)
            said = Comparison(ns / 3000, 0.9, 1.1, 12, "FASTER", "", 0.01)
            if n == 2:
                said = Comparison(math.nan, math.nan, math.nan, 0, "UNUSABLE", "noise", 1.0)
            cost = Cost(ns, 0.95 * ns, 1.05 * ns, 12)
            lines.append(
                Line(
                    f"activation.{name}[channels=96]", name, {"channels": 96}, unit=cost,
                    baseline="gelu", comparison=said if n else None, operators={"Erf": 1.0},
                    macs=1000, bytes_moved=2000,
                )
            )  # fmt: skip
        lines.append(Line("activation.x[]", "x", {}, skipped="not there"))
        results.append({"target": target, "roofline": None, "lines": to_json(lines)})
    whole = {"experiment": "activation", "results": results, "failures": []}
    return without_nan(whole)  # type: ignore[no-any-return]


def observed(targets: list[str]) -> dict[str, Any]:
    found = {}
    for t, target in enumerate(targets):
        answers = []
        for n, verdict in enumerate((CONFIRMED, REFUTED, UNDECIDED, CONFIRMED), 1):
            ratio = 1.0 + 0.2 * n + 0.05 * t
            finding = Finding("a against b", "slower", verdict, ratio, 0.9 * ratio, 1.1 * ratio, 12)
            answers.append(Answer(n, f"statement {n}", "the paper saw it", verdict, (finding,)))
        found[target] = answers
    return {"targets": to_json(found), "apart": ["they lie apart"], "failures": []}


def measured(names: list[str]) -> dict[str, Any]:
    lines = []
    for n, name in enumerate(names, 1):
        rounds = [
            {"samples_ns": [n * 10**6 + 1000 * i] * 3, "flags": [] if i else ["steal"]}
            for i in range(8)
        ]
        lines.append(
            {
                "name": name, "median_ns": n * 10**6, "interval_ns": [n * 990_000, n * 1_010_000],
                "valid_rounds": 7, "first_ns": n * 2_000_000, "load_ns": 9, "flags": [],
                "relative_error": None, "environment": ENVIRONMENT, "rounds": rounds,
            }
        )  # fmt: skip
    said = [
        {"baseline": names[0], "name": n, "verdict": "SLOWER", "ratio": 2.0, "low": 1.9,
         "high": 2.1, "pairs": 7, "reason": ""}
        for n in names[1:]
    ]  # fmt: skip
    return {
        "target": "host/onnxruntime:threads=1", "measurements": lines, "comparisons": said,
        "failures": [],
    }  # fmt: skip


def networks(count: int = 8) -> tuple[Network, ...]:
    found = []
    for n in range(1, count + 1):
        ns = n * 1_000_000
        found.append(Network(f"16-32/{n}-1/1", round(1.01 * ns), ns, 1.0, 0.5))
    return tuple(found)


def table(name: str = "mine", device: Device = HERE) -> LatencyTable:
    entries = {}
    for width in range(16, 129, 8):
        key, ns = f"mb4d/56/{width}", 1000 * width * width
        source = "interpolated" if width % 16 else "measured"
        entries[key] = Entry(key, ns, round(0.9 * ns), round(1.1 * ns) + width, source, 8)
        for after in (64, 128, 256):
            key, ns = f"embedding/28/{width}-{after}", 100 * width * after + 7 * after
            entries[key] = Entry(key, ns, round(0.8 * ns), ns + 11 * width, "measured", 8)
    entries["head/x"] = Entry("head/x", 1000, 0, 2000, "measured", 8)
    return LatencyTable(
        name, "host/onnxruntime:cpu,fp32,threads=1", to_json(device), "1.0",
        "2026-01-01T00:00:00+00:00", 3000, 1.0, entries, networks(2), close(networks(), 3),
        networks(), {"environment": ENVIRONMENT, "failures": ["one <failed>"], "seed": 5},
    )  # fmt: skip


def checked() -> Checked:
    found = networks(5)
    return Checked(1.01, found, tuple(n.predicted_ns for n in found), close(found, 9), ())


def all_kinds(folder: Path, count: int = 20, places: int = 5) -> list[Path]:
    """A file of each kind, with results of `count` networks on `places` targets."""
    names = [f"network_{i}" for i in range(count)]
    runtimes = ["onnxruntime", "openvino", "litert", "executorch", "torch_inductor"][:places]
    targets = [f"host/{r}:cpu,fp32,threads=1" for r in runtimes]
    parts = [breakdown(n, r) for n in names for r in runtimes]
    save(table(), folder / "table.json")
    return [
        write(folder / "check.json", {**to_json(checked()), "failures": []}),
        write(folder / "compared.json", compared(names, targets), command="opclock compare x"),
        write(folder / "breakdown.json", breakdowns(parts)),
        write(folder / "bench.json", bench(targets)),
        write(folder / "observed.json", observed(targets)),
        write(folder / "measured.json", measured(names)),
        folder / "table.json",
    ]
