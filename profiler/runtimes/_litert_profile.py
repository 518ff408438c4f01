"""LiteRT's profiler, which its C interface alone has: called through ctypes.

The compiled model of the C interface runs the same kernels of XNNPACK as the Interpreter that is
measured. XNNPACK names kernels by what they compute; they run in the order of the file's operators.
"""

from __future__ import annotations

import ctypes
import importlib.util
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.errors import BadProfile, NoProfiler
from profiler.lineage import Compiled, claims_in_order, trace
from profiler.sampling import Turns, elapsed_ns
from profiler.statistics import midmean, quiet
from profiler.types import Executed, OperatorTimes, Source

# An event: tag, type, start and duration in us, memory before and after, two numbers, source.
EVENT = struct.Struct("<QiiQQ6qQQii")
# A room for each event that is larger than any version's: what was written is looked at afterwards.
ROOM_BYTES = 256
# Types of events: an operator of LiteRT's own, inside a delegate, a delegate's as one of the graph.
OPERATORS = (2, 4, 8)
TYPES = {1 << n for n in range(9)}
CPU, LOCK_TO_WRITE = 1, 1
# (tag, type, duration in us) in order of execution.
Event = tuple[str, int, int]


class Library:
    """LiteRT's C interface: calls raise NoProfiler where one is absent or fails."""

    def __init__(self) -> None:
        place = importlib.util.find_spec("ai_edge_litert")
        folder = Path(place.origin).parent if place and place.origin else Path()
        try:
            self._library = ctypes.CDLL(str(folder / "libLiteRt.so"))
        except OSError as error:
            raise NoProfiler(f"LiteRT's C library does not load: {error}") from error

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function whose status says whether it worked."""
        function = getattr(self._library, name, None)
        if function is None:
            raise NoProfiler(f"this LiteRT has no {name}")
        function.restype = ctypes.c_int
        status = function(*arguments)
        if status:
            raise NoProfiler(f"{name} failed with status {status}")

    def make(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a function puts into its last argument."""
        made = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(made))
        return made


class Model:
    """A compiled model with its profiler and buffers. Nothing is freed: the process ends soon."""

    def __init__(self, path: str, threads: int) -> None:
        self._api = Library()
        self._kept: list[Any] = []
        self._environment = self._api.make("LiteRtCreateEnvironment", 0, None)
        self._model = self._api.make("LiteRtCreateModelFromFile", self._environment, path.encode())
        options = self._api.make("LiteRtCreateOptions")
        self._api.call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        self._add(options, "xnnpack", f"num_threads = {threads}\n")
        self._add(options, "runtime_options_string", "enable_profiling = true\n")
        self._compiled = self._api.make(
            "LiteRtCreateCompiledModel", self._environment, self._model, options
        )
        self._profiler = self._api.make("LiteRtCompiledModelGetProfiler", self._compiled)
        main = ctypes.c_size_t()
        self._api.call("LiteRtGetMainModelSubgraphIndex", self._model, ctypes.byref(main))
        self._graph = self._api.make("LiteRtGetModelSubgraph", self._model, main)
        self._inputs = self._buffers("Input")
        self._outputs = self._buffers("Output")

    def _add(self, options: ctypes.c_void_p, name: str, text: str) -> None:
        """Options of a part of LiteRT, which reads them as TOML and frees nothing."""
        payload = ctypes.create_string_buffer(text.encode())
        free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        self._kept += [payload, free]
        made = self._api.make("LiteRtCreateOpaqueOptions", name.encode(), payload, free)
        self._api.call("LiteRtAddOpaqueOptions", options, made)

    def _buffers(self, end: str) -> list[ctypes.c_void_p]:
        count = ctypes.c_size_t()
        self._api.call(f"LiteRtGetNumSubgraph{end}s", self._graph, ctypes.byref(count))
        return [self._buffer(end, ctypes.c_size_t(i)) for i in range(count.value)]

    def _buffer(self, end: str, place: ctypes.c_size_t) -> ctypes.c_void_p:
        tensor = self._api.make(f"LiteRtGetSubgraph{end}", self._graph, place)
        kind = ctypes.create_string_buffer(1024)
        self._api.call("LiteRtGetRankedTensorType", tensor, kind)
        needs = self._api.make(
            f"LiteRtGetCompiledModel{end}BufferRequirements",
            self._compiled,
            ctypes.c_size_t(0),
            place,
        )
        return self._api.make(
            "LiteRtCreateManagedTensorBufferFromRequirements", self._environment, kind, needs
        )

    def write(self, arrays: Sequence[Any]) -> None:
        """Put arrays into the inputs, each into the first free one of its size."""
        rest = list(arrays)
        for buffer in self._inputs:
            size = ctypes.c_size_t()
            self._api.call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
            array = next((a for a in rest if a.nbytes == size.value), None)
            if array is None:
                raise NoProfiler(f"no input of the network has {size.value} bytes")
            rest = [a for a in rest if a is not array]
            place = ctypes.c_void_p()
            self._api.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(place), LOCK_TO_WRITE)
            ctypes.memmove(place, array.ctypes.data, size.value)
            self._api.call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> None:
        """One inference."""
        ends = [
            part
            for buffers in (self._inputs, self._outputs)
            for part in (
                ctypes.c_size_t(len(buffers)),
                (ctypes.c_void_p * len(buffers))(*[b.value for b in buffers]),
            )
        ]
        self._api.call("LiteRtRunCompiledModel", self._compiled, ctypes.c_size_t(0), *ends)

    def record(self) -> tuple[int, list[Event]]:
        """One inference under the profiler: its latency in ns, its events. Raises BadProfile."""
        self._api.call("LiteRtResetProfiler", self._profiler)
        self._api.call("LiteRtStartProfiler", self._profiler)
        wall_ns = elapsed_ns(self.run, 1)
        self._api.call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._api.call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        if count.value < 1:
            raise BadProfile("LiteRT's profiler has no events")
        raw = ctypes.create_string_buffer(count.value * ROOM_BYTES)
        self._api.call("LiteRtGetProfilerEvents", self._profiler, count, raw)
        events = read(raw.raw, count.value)
        return wall_ns, [(ctypes.string_at(tag).decode(), kind, us) for tag, kind, us in events]


def read(raw: bytes, count: int) -> list[tuple[int, int, int]]:
    """Where each event's tag lies, its type and its microseconds.

    Raises BadProfile when the types are none that exist: then this LiteRT lays events out in
    another way, and nothing of it can be believed.
    """
    if len(raw) < count * EVENT.size:
        raise BadProfile("LiteRT's events are cut off")
    found = [EVENT.unpack_from(raw, place * EVENT.size) for place in range(count)]
    if any(e[1] not in TYPES or e[-2] not in (0, 1, 2) or not e[0] for e in found):
        raise BadProfile("this LiteRT lays out its events in a way that opclock does not know")
    return [(e[0], e[1], e[4]) for e in found]


def executed(runs: Sequence[Sequence[Event]], sources: Sequence[Source]) -> list[Executed]:
    """The operators of all inferences. Raises BadProfile when these have different ones."""
    kept = [[e for e in run if _is_operator(e)] for run in runs]
    tags = [tag for tag, _, _ in kept[0]] if kept else []
    if not tags or any([t for t, _, _ in run] != tags for run in kept):
        raise BadProfile("the inferences in LiteRT's profile do not have the same operators")
    kinds = [tag.partition(" (")[0] for tag in tags]
    claims = claims_in_order(kinds, sources)
    compiled = [
        Compiled(f"{tag} #{i}", kinds[i], claims[i], (f"{tags[i - 1]} #{i - 1}",) if i else ())
        for i, tag in enumerate(tags)
    ]
    traced = trace(compiled, sources)
    return [
        Executed(
            one.name,
            one.operator,
            midmean([1e3 * run[i][2] for run in kept]),
            traced[one.name].sources,
            traced[one.name].beside,
        )
        for i, one in enumerate(compiled)
    ]


def _is_operator(event: Event) -> bool:
    """What a delegate does as a whole is told once more, by its operators."""
    tag, kind, _ = event
    return kind in OPERATORS and "delegate" not in tag.lower()


def profile(
    path: str,
    threads: int,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """Run a file under LiteRT's profiler. Raises NoProfiler, BadProfile."""
    model = Model(path, threads)
    model.write(list(feeds.values()))
    for _ in range(warmup):
        model.run()
    recorded = [model.record() for _ in runs]
    recorded = [recorded[i] for i in quiet([w for w, _ in recorded])]
    found = executed([events for _, events in recorded], sources)
    between = midmean(
        [w - sum(1e3 * e[2] for e in events if _is_operator(e)) for w, events in recorded]
    )
    return OperatorTimes(tuple(found), round(midmean([w for w, _ in recorded])), between)
