"""Small tables of invented figures, for what is done with tables after they were built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from profiler import plugins
from profiler.tables import exchange
from profiler.tables.table import Entry, LatencyTable

ON = "note10/tflite:threads=1"
FORMATS = [
    f"{name}:metric=host_latency" if name == "hw_nas_bench" else name
    for name in plugins.names(exchange.PACKAGE)
]


def name_of(text: str) -> str:
    """A format's name without its options."""
    return text.partition(":")[0]


def entry(key: str, ns: int, spread: int = 0, source: str = "measured", rounds: int = 8) -> Entry:
    return Entry(key, ns, max(0, ns - spread), ns + spread, source, rounds)


def table(entries: Iterable[Entry], **facts: Any) -> LatencyTable:
    whole: dict[str, Any] = {
        "space": "mobilenet",
        "target": "host/onnxruntime:cpu,fp32,threads=1",
        "device": {"name": "host", "description": "a machine", "fingerprint": "f"},
        "runtime_version": "1.0",
        "created": "2026-01-01T00:00:00+00:00",
        "overhead_ns": 3000,
        "scale": 1.0,
        **facts,
    }
    return LatencyTable(entries={e.key: e for e in entries}, **whole)


def of_keys(keys: Iterable[str], cost: Callable[[int], int], **facts: Any) -> LatencyTable:
    """A table in which the n-th key takes `cost(n)` ns."""
    return table((entry(k, cost(n), cost(n) // 50) for n, k in enumerate(keys)), **facts)


def values(found: Mapping[str, Entry]) -> dict[str, int]:
    return {k: e.ns for k, e in found.items()}
