"""ExecuTorch's event tracer: its own kernels' calls, and those inside XNNPACK's delegates.

XNNPACK names kernels by what they compute, not by where they come from. Inside a delegate they run
in the order of its operators: kernels and operators are matched in order, by the kind of work.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.errors import BadProfile
from profiler.lineage import DEPTHWISE, Compiled, claims_in_order, trace
from profiler.sampling import Turns
from profiler.statistics import midmean, quiet
from profiler.types import Executed, OperatorTimes, Source

WHOLE_RUN = "Method::execute"
KERNEL = "native_call_"
NUMBER = re.compile(r" #\d+$")
# (name of the kernel, instruction, nanoseconds) in order of execution.
Call = tuple[str, int, float]


def calls_of(events: Sequence[Any]) -> tuple[list[Call], float] | None:
    """The kernels of one inference and its whole time; None when it was not an inference."""
    timed = [e.profile_event for e in events or () if e.profile_event]
    whole = [_ns(p) for p in timed if p.name == WHOLE_RUN]
    calls = []
    for one in timed:
        if one.delegate_debug_id_str:
            calls.append((one.delegate_debug_id_str, one.instruction_id, _ns(one)))
        elif one.name and one.name.startswith(KERNEL):
            calls.append((one.name.removeprefix(KERNEL), one.instruction_id, _ns(one)))
    ordered = sorted(calls, key=lambda c: c[1])
    return (ordered, whole[0]) if whole else None


def _ns(event: Any) -> float:
    return float((event.end_time or 0) - (event.start_time or 0))


def executed(runs: Sequence[Sequence[Call]], sources: Sequence[Source]) -> list[Executed]:
    """The kernels of all inferences; raises BadProfile when these have different ones."""
    names = [(name, place) for name, place, _ in runs[0]] if runs else []
    if not names or any([(n, p) for n, p, _ in run] != names for run in runs):
        raise BadProfile("the inferences in ExecuTorch's trace do not have the same kernels")
    compiled: list[Compiled] = []
    claims = _claims(names, sources)
    for number, (name, place) in enumerate(names):
        bare = NUMBER.sub("", name)
        # Another delegate's kernels are no neighbours.
        before = (compiled[-1].name,) if number and names[number - 1][1] == place else ()
        compiled.append(Compiled(f"{place}/{name} {number}", kind_of(bare), claims[number], before))
    traced = trace(compiled, sources)
    return [
        Executed(
            f"{place}/{name}",
            one.operator,
            midmean([run[number][2] for run in runs]),
            traced[one.name].sources,
            traced[one.name].beside,
        )
        for number, (one, (name, place)) in enumerate(zip(compiled, names, strict=True))
    ]


def kind_of(kernel: str) -> str:
    """`Fully Connected (NC, F32) GEMM` is a Fully Connected; `mul.Scalar_out` a mul."""
    return kernel.partition(" (")[0] if " (" in kernel else f"aten.{kernel.removesuffix('_out')}"


def _claims(
    names: Sequence[tuple[str, int]], sources: Sequence[Source]
) -> dict[int, tuple[str, ...]]:
    """The source operator of each kernel by its number: within an instruction, in order."""
    by_place: dict[int, list[Source]] = {}
    for source in sources:
        by_place.setdefault(int(source.name.partition("/")[0]), []).append(source)
    found: dict[int, tuple[str, ...]] = {}
    for place in {p for _, p in names}:
        numbers = [i for i, (_, p) in enumerate(names) if p == place]
        bare = [NUMBER.sub("", names[i][0]) for i in numbers]
        kernels = [DEPTHWISE if name.endswith(" DWConv") else kind_of(name) for name in bare]
        claims = claims_in_order(kernels, by_place.get(place, []))
        found |= dict(zip(numbers, claims, strict=True))
    return found


def profile(
    engine: Any,
    path: str,
    tensors: Sequence[Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
    folder: str,
) -> OperatorTimes:
    """Run a program under the event tracer. Raises BadProfile."""
    from executorch.devtools.etdump.serialize import deserialize_from_etdump_flatcc

    module = engine._load_for_executorch(path, enable_etdump=True)
    for _ in itertools.chain(range(warmup), runs):
        module.forward(list(tensors), clone_outputs=False)
    trace_file = Path(folder, "trace.etdp")
    module.write_etdump_result_to_file(str(trace_file), str(Path(folder, "debug.bin")))
    try:
        dumped = deserialize_from_etdump_flatcc(trace_file.read_bytes())
    except Exception as error:  # flatc, its JSON or its schema may fail
        raise BadProfile(f"ExecuTorch's trace cannot be read: {error}") from error
    return times_of([run.events for run in dumped.run_data], sources, warmup)


def times_of(
    runs: Sequence[Sequence[Any]], sources: Sequence[Source], warmup: int
) -> OperatorTimes:
    """The times of a trace's quiet inferences, without the first ones. Raises BadProfile."""
    found = [f for events in runs if (f := calls_of(events))][warmup:]
    if not found:
        raise BadProfile("ExecuTorch's trace holds no whole inference")
    found = [found[i] for i in quiet([whole for _, whole in found])]
    kernels = executed([calls for calls, _ in found], sources)
    between = midmean([whole - sum(t for _, _, t in calls) for calls, whole in found])
    latency = midmean([whole for _, whole in found])
    return OperatorTimes(tuple(kernels), round(latency), between)


def feeds_of(inputs: Sequence[tuple[str, Any, str]], feeds: Mapping[str, Any]) -> list[Any]:
    """The inputs as torch tensors, in order."""
    import torch

    return [torch.from_numpy(feeds[name]).clone() for name, _, _ in inputs]
