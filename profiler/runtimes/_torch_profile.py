"""Times of single operators in torch: eager calls one by one, and the kernels of its compiler."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

from profiler.sampling import elapsed_ns
from profiler.statistics import median, midmean
from profiler.types import Executed, OperatorTimes


def time_calls(graph: Any, inputs: Sequence[Any], runs: int, warmup: int) -> OperatorTimes:
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
        wall_ns = [elapsed_ns(run, 1) for _ in range(warmup + runs)]
    found = tuple(
        Executed(name, operators[name], midmean(samples[warmup:]), (name,), (), "timed-call")
        for name, samples in timed.times_ns.items()
    )
    inside = [sum(samples) for samples in zip(*timed.times_ns.values(), strict=True)]
    between = midmean([w - i for w, i in zip(wall_ns, inside, strict=True)][warmup:])
    return OperatorTimes(found, round(median(wall_ns[warmup:])), between)
