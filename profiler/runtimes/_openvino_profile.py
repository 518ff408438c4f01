"""OpenVINO's performance counters, and its runtime model, which tells what was fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from profiler.errors import BadProfile
from profiler.lineage import Compiled, trace
from profiler.sampling import Turns, elapsed_ns
from profiler.types import Executed, OperatorTimes, Source

# What is in the list and computes nothing.
NOT_EXECUTED = ("Parameter", "Result", "Const", "Constant")
Counters = Mapping[str, tuple[str, float]]


def compiled_of(nodes: Sequence[Mapping[str, Any]]) -> list[Compiled]:
    """The operators of a runtime model: each {name, kind, original, takes}."""
    return [
        Compiled(n["name"], n["kind"], (*n["original"], n["name"]), tuple(n["takes"]))
        for n in nodes
        if n["kind"] not in NOT_EXECUTED
    ]


def read_graph(model: Any) -> list[dict[str, Any]]:
    """What `compiled_of` takes, from OpenVINO's runtime model; unknown fields play no part."""
    found = []
    for node in model.get_ordered_ops():
        told = node.get_rt_info()
        inputs = [i.get_source_output().get_node().get_friendly_name() for i in node.inputs()]
        found.append(
            {
                "name": node.get_friendly_name(),
                "kind": _text(told, "layerType"),
                "original": [n for n in _text(told, "originalLayersNames").split(",") if n],
                "takes": inputs,
            }
        )
    return found


def _text(told: Any, name: str) -> str:
    return str(told[name].astype(str)) if name in told else ""


def counters(request: Any) -> dict[str, tuple[str, float]]:
    """Type and running mean in ns of every operator that was executed, by name."""
    return {
        c.node_name: (c.node_type, 1e9 * c.real_time.total_seconds())
        for c in request.get_profiling_info()
        if str(c.status).endswith("EXECUTED") and c.node_type not in NOT_EXECUTED
    }


def since(before: Counters, runs_before: int, after: Counters, runs_after: int) -> dict[str, float]:
    """Nanoseconds of each operator in one of the inferences between two readings.

    Counters are means over all inferences since the start, the cold first one among them, cut off
    to whole microseconds. A mean of n inferences stands for a sum between n times it and n times
    one microsecond more: the middle is taken. Raises BadProfile when there is no operator.
    """
    if not after:
        raise BadProfile("OpenVINO's counters name no operator")
    count = runs_after - runs_before
    return {
        name: max(0.0, (runs_after * _middle(mean) - runs_before * _middle(_mean(before, name))))
        / count
        for name, (_, mean) in after.items()
    }


def _mean(reading: Counters, name: str) -> float:
    return reading[name][1] if name in reading else 0.0


def _middle(mean_ns: float) -> float:
    return mean_ns + 500.0


def profile(
    compiled: Any,
    request: Any,
    call: Callable[[], Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """Run a network that was compiled with counters on; `call` is one inference of `request`."""
    for _ in range(warmup):
        call()
    before = counters(request)
    wall_ns = [elapsed_ns(call, 1) for _ in runs]
    after = counters(request)
    graph = compiled_of(read_graph(compiled.get_runtime_model()))
    known = {c.name for c in graph}
    rest = [Compiled(n, kind, (n,)) for n, (kind, _) in after.items() if n not in known]
    traced = trace([*graph, *rest], sources)
    times = since(before, warmup, after, warmup + len(runs))
    order = [c.name for c in [*graph, *rest] if c.name in times]
    found = tuple(
        Executed(name, after[name][0], times[name], traced[name].sources, traced[name].beside)
        for name in order
    )
    # Counters are means, so the latency that they are taken from is one, too.
    between = fmean(wall_ns) - sum(times.values())
    return OperatorTimes(found, round(fmean(wall_ns)), between, level="mean")
