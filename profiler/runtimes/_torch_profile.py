"""Times of single operators in torch: eager calls one by one, and the kernels of its compiler."""

from __future__ import annotations

import functools
import itertools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from profiler.errors import BadProfile
from profiler.lineage import Compiled, trace
from profiler.sampling import Turns, elapsed_ns
from profiler.statistics import midmean, quiet
from profiler.types import Executed, OperatorTimes, Source

GRAPH = re.compile(r"^graph_\d+_")
LIBRARY = re.compile(r"^aoti_torch_(cpu_)?(mkldnn_)?_*|_pointwise.*$|_out$")


def time_calls(graph: Any, inputs: Sequence[Any], runs: Turns, warmup: int) -> OperatorTimes:
    """The time of every operator call of a graph module, each timed around the call alone.

    What Python does between two calls is not part of any of them.
    """
    import torch

    class Timed(torch.fx.Interpreter):
        """An interpreter that keeps the time of each operator call."""

        def __init__(self, module: Any) -> None:
            super().__init__(module)
            self.times_ns: dict[str, list[float]] = {}

        def run_node(self, node: Any) -> Any:
            if node.op != "call_function":
                return super().run_node(node)
            arguments, named = self.fetch_args_kwargs_from_env(node)
            before = time.perf_counter_ns()
            result = node.target(*arguments, **named)
            self.times_ns.setdefault(node.name, []).append(time.perf_counter_ns() - before)
            return result

    operators = {n.name: str(n.target) for n in graph.graph.nodes if n.op == "call_function"}
    with torch.no_grad():
        timed = Timed(graph)
        run = functools.partial(timed.run, *inputs)
        wall_ns = [elapsed_ns(run, 1) for _ in itertools.chain(range(warmup), runs)]
    kept = [warmup + i for i in quiet(wall_ns[warmup:])]
    times = {name: [samples[i] for i in kept] for name, samples in timed.times_ns.items()}
    walls = [wall_ns[i] for i in kept]
    found = tuple(
        Executed(name, operators[name], midmean(samples), (name,), (), "timed-call")
        for name, samples in times.items()
    )
    inside = [sum(samples) for samples in zip(*times.values(), strict=True)]
    between = midmean([w - i for w, i in zip(walls, inside, strict=True)])
    return OperatorTimes(found, round(midmean(walls)), between)


Kernels = Sequence[tuple[str, Sequence[str]]]


def time_kernels(
    call: Callable[[], Any], kernels: Kernels, sources: Sequence[Source], runs: int, warmup: int
) -> OperatorTimes:
    """The time of every kernel of a compiled package, by torch's profiler. Raises BadProfile."""
    import torch
    from torch.profiler import ProfilerActivity

    for _ in range(warmup):
        call()
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as profiler:
        wall_ns = [elapsed_ns(call, 1) for _ in range(runs)]
    # What a kernel calls is part of it.
    events = [e for e in profiler.events() or () if e.cpu_parent is None]
    ordered = sorted(events, key=lambda e: float(e.time_range.start))
    timed = [(str(e.name), 1e3 * float(e.time_range.elapsed_us())) for e in ordered]
    kept, count = quiet(wall_ns), len(timed) // runs
    found = kernels_of(timed, kernels, sources, runs, kept)
    inside = [sum(t for _, t in timed[i * count : (i + 1) * count]) for i in kept]
    walls = [wall_ns[i] for i in kept]
    between = midmean([w - i for w, i in zip(walls, inside, strict=True)])
    return OperatorTimes(tuple(found), round(midmean(walls)), between)


def kernels_of(
    timed: Sequence[tuple[str, float]],
    kernels: Kernels,
    sources: Sequence[Source],
    runs: int,
    kept: Sequence[int],
) -> list[Executed]:
    """Executed kernels from all runs' events (name, ns), which every run has in the same order.

    Their times are those of the runs in `kept`. Raises BadProfile when the runs have different
    kernels.
    """
    count, rest = divmod(len(timed), runs)
    names = [name for name, _ in timed[:count]]
    if not count or rest or any(n != names[i % count] for i, (n, _) in enumerate(timed)):
        raise BadProfile(f"{runs} inferences do not have the same kernels")
    noted: dict[str, list[Sequence[str]]] = {}
    for name, operators in kernels:
        noted.setdefault(name, []).append(operators)
    compiled: list[Compiled] = []
    for place, name in enumerate(names):
        # The profiler's name begins with that of the graph: graph_0_cpp_fused_relu_0.
        bare = GRAPH.sub("", name)
        known = noted.get(bare) or [()]
        claims = known.pop(0) if len(known) > 1 else known[0]
        before = tuple(c.name for c in compiled[-1:])
        compiled.append(Compiled(f"{bare} {place}", _kind(bare), tuple(claims), before))
    traced = trace(compiled, sources)
    return [
        Executed(
            one.name,
            one.operator,
            midmean([timed[place + count * run][1] for run in kept]),
            traced[one.name].sources,
            traced[one.name].beside,
        )
        for place, one in enumerate(compiled)
    ]


def _kind(kernel: str) -> str:
    """A library's kernel by what it does; the compiler's own are loops over elements."""
    return "cpp_fused" if kernel.startswith("cpp_fused") else LIBRARY.sub("", kernel)
