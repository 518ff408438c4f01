"""ONNX Runtime's profiler: a trace of events, and the optimised graph that they belong to."""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from math import fsum
from pathlib import Path
from typing import Any

from profiler.errors import BadProfile
from profiler.lineage import MOVED, Compiled, trace
from profiler.operators import category
from profiler.sampling import Turns, elapsed_ns
from profiler.statistics import midmean, quiet, quiet_mean
from profiler.types import Executed, OperatorTimes, Source

KERNEL = "_kernel_time"
WHOLE_RUN = "model_run"
UNNAMED = "unnamed "
# A map of a quarter of a megabyte: more than the first cache, less than the second.
MAP, NUMBER = (1, 64, 32, 32), (1, 1, 1, 1)
PAIRS, CHAIN_RUNS = 60, 40


def compiled_of(model: Any, sources: Sequence[Source]) -> list[Compiled]:
    """The operators of an optimised ModelProto with the names that they may be known by.

    A layout change that was inserted passes its tensor on: what stands before it may be known by
    the name behind it.
    """
    names = {s.name for s in sources}
    nodes = [(n.name or f"{UNNAMED}{n.op_type} {i}", n) for i, n in enumerate(model.graph.node)]
    maker = {t: name for name, n in nodes for t in n.output if t}
    behind: dict[str, list[str]] = {}
    for _, node in nodes:
        if _inserted(node, names):
            for tensor in node.input[:1]:
                behind.setdefault(tensor, []).extend(node.output)
    found = []
    for name, node in nodes:
        known: list[str] = [node.name]
        if category(node.op_type) not in MOVED:
            known += node.output
            known += [other for t in node.output for other in behind.get(t, ())]
        takes = tuple(maker[t] for t in node.input if t in maker)
        claims = () if _inserted(node, names) else tuple(known)
        found.append(Compiled(name, node.op_type, claims, takes))
    return found


def _inserted(node: Any, names: set[str]) -> bool:
    return category(node.op_type) in MOVED and node.name not in names


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a trace; the whole ones of a file that was cut off.

    Raises BadProfile when there is none.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = _whole_events(text)
    events = [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []
    if not events:
        raise BadProfile("ONNX Runtime's profile holds no events")
    return events


def _whole_events(text: str) -> list[Any]:
    decoder, found, place = json.JSONDecoder(), [], text.find("{")
    while place >= 0:
        try:
            event, end = decoder.raw_decode(text, place)
        except ValueError:
            break
        found.append(event)
        place = text.find("{", end)
    return found


def kernels_ns(
    events: Sequence[Mapping[str, Any]], skip: int
) -> dict[tuple[str, str], list[float]]:
    """Nanoseconds of each operator in each inference, by name and type, in order of execution.

    The first `skip` inferences are left out, and one that was cut off. Raises BadProfile when no
    whole inference is there.
    """
    runs = [e for e in events if e.get("name") == WHOLE_RUN and _timed(e)][skip:]
    spans = [(int(e["ts"]), int(e["ts"]) + int(e["dur"])) for e in runs]
    if not spans:
        raise BadProfile("ONNX Runtime's profile holds no whole inference")
    times: dict[tuple[str, str], list[float]] = {}
    run = 0
    kernels = [e for e in events if e.get("cat") == "Node" and _is_kernel(e) and _timed(e)]
    for event in sorted(kernels, key=lambda e: int(e["ts"])):
        while run < len(spans) and int(event["ts"]) > spans[run][1]:
            run += 1
        if run == len(spans):
            break
        if int(event["ts"]) < spans[run][0]:
            continue
        arguments = event.get("args") or {}
        key = (str(event["name"]).removesuffix(KERNEL), str(arguments.get("op_name", "")))
        times.setdefault(key, [0.0] * len(spans))[run] += 1e3 * float(event["dur"])
    return times


def _is_kernel(event: Mapping[str, Any]) -> bool:
    return str(event.get("name", "")).endswith(KERNEL)


def _timed(event: Mapping[str, Any]) -> bool:
    return isinstance(event.get("ts"), int) and isinstance(event.get("dur"), int)


def executed(
    times_ns: Mapping[tuple[str, str], Sequence[float]],
    compiled: Sequence[Compiled],
    sources: Sequence[Source],
    event_ns: float = 0.0,
) -> list[Executed]:
    """The timed operators with the source operators that they stand for.

    ONNX Runtime writes whole microseconds: the mean of the middle half keeps what lies between.
    `event_ns` is the profiler's own part of each time. Without a graph (an `.ort` file) operators
    are known by their names alone.
    """
    same = _same(list(times_ns), compiled)
    rest = [Compiled(n, kind, (n,)) for n, kind in times_ns if n not in same]
    traced = trace([*compiled, *rest], sources)
    found = []
    for (name, kind), samples in times_ns.items():
        origin = traced[same.get(name, name)]
        time_ns = max(0.0, midmean(samples) - event_ns)
        found.append(Executed(name, kind, time_ns, origin.sources, origin.beside))
    return found


def _same(timed: Sequence[tuple[str, str]], compiled: Sequence[Compiled]) -> dict[str, str]:
    """The graph's name for each name in the trace.

    A node without a name goes by its type and a number in the trace: as many of a type as the
    graph has are taken to come in the graph's order, which is the order of execution.
    """
    names = {c.name for c in compiled}
    found = {name: name for name, _ in timed if name in names}
    for kind in {kind for _, kind in timed}:
        strange = [n for n, k in timed if k == kind and n not in names]
        nameless = [c.name for c in compiled if c.name.startswith(f"{UNNAMED}{kind} ")]
        if len(strange) == len(nameless):
            found |= dict(zip(strange, nameless, strict=True))
    return found


def profile(
    path: str,
    make_options: Callable[[], Any],
    provider: str,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """Run an artifact `warmup + runs` times under the profiler.

    `make_options` gives those of the measured session. Raises BadProfile when nothing can be read.
    """
    import onnx
    import onnxruntime

    event_ns = event_cost_ns(make_options)
    options = make_options()
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        optimised = Path(folder, "optimised.onnx")
        if not path.endswith(".ort"):
            options.optimized_model_filepath = str(optimised)
            options.add_session_config_entry("session.save_model_format", "ONNX")
            # The weights into a file that is never read: only the graph is wanted.
            options.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", "weights"
            )
        session = onnxruntime.InferenceSession(path, options, providers=[provider])
        call = functools.partial(session.run, None, dict(feeds))
        wall_ns = [elapsed_ns(call, 1) for _ in itertools.chain(range(warmup), runs)]
        text = Path(session.end_profiling()).read_text(errors="replace")
        compiled = []
        if optimised.is_file():
            model = onnx.load(str(optimised), load_external_data=False)
            compiled = compiled_of(model, sources)
    times = kernels_ns(events_of(text), warmup)
    # A trace has room for a million events: of the runs beyond it only the latency is known.
    told = min(len(samples) for samples in times.values())
    kept = quiet(wall_ns[warmup:][:told])
    times = {name: [samples[i] for i in kept] for name, samples in times.items()}
    walls = [wall_ns[warmup + i] for i in kept]
    inside = [sum(samples) for samples in zip(*times.values(), strict=True)]
    between = [w - i for w, i in zip(walls, inside, strict=True)]
    found = executed(times, compiled, sources, event_ns)
    return OperatorTimes(tuple(found), round(midmean(walls)), midmean(between), event_ns)


def event_cost_ns(make_options: Callable[[], Any]) -> float:
    """What the profiler takes of an operator's time: nanoseconds by which it makes one longer.

    Measured on a chain in which each operator is tiny or fills the nearer caches, as those of a
    network do: the profiler's own code and texts have left them by the time that it writes the next
    event. It is what the trace tells of an operator, less what one more adds to the latency
    without profiler.
    """
    options = make_options()
    one, many = (_chain(make_options(), pairs)[0] for pairs in (1, PAIRS + 1))
    one_ns, many_ns = [], []
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        profiled, session = _chain(options, PAIRS)
        # In turns, since a machine's speed changes within seconds.
        for _ in range(CHAIN_RUNS):
            one_ns.append(elapsed_ns(one, 1))
            many_ns.append(elapsed_ns(many, 1))
            profiled()
        text = Path(session.end_profiling()).read_text(errors="replace")
    skip = CHAIN_RUNS // 4
    times = kernels_ns(events_of(text), skip)
    told_ns = [fsum(samples) for samples in zip(*times.values(), strict=True)]
    told, longer, shorter = (quiet_mean(s) for s in (told_ns, many_ns[skip:], one_ns[skip:]))
    return max(0.0, (told - (longer - shorter)) / len(times))


def _chain(options: Any, pairs: int) -> tuple[Callable[[], Any], Any]:
    """A call that runs so many products of a map with a number, each number read from the last
    map; and its session. Shapes have four dimensions, since an event holds them as text."""
    import numpy
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes = []
    for i in range(pairs):
        nodes += [
            helper.make_node("Mul", [f"map{i}", f"number{i}"], [f"map{i + 1}"], name=f"product{i}"),
            helper.make_node(
                "Slice",
                [f"map{i + 1}", "starts", "ends", "axes"],
                [f"number{i + 1}"],
                name=f"number{i}",
            ),
        ]
    shapes = {"map0": MAP, "number0": NUMBER, f"map{pairs}": MAP, f"number{pairs}": NUMBER}
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    places = {"starts": [0, 0, 0], "ends": [1, 1, 1], "axes": [1, 2, 3]}
    constants = [numpy_helper.from_array(numpy.array(v, "int64"), n) for n, v in places.items()]
    graph = helper.make_graph(nodes, "products", ends[:2], ends[2:], constants)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {n: numpy.ones(shapes[n], "float32") for n in ("map0", "number0")}
    return functools.partial(session.run, None, feeds), session
