"""torch's compiler: executes AOTInductor packages, which hold machine code for this processor.

Threads are compiled in; freezing and threads are options of the format. The CUDA part has not been
run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import plugins
from profiler.encoding import from_json
from profiler.errors import NoProfiler
from profiler.runtimes import _torch_profile, torch_eager
from profiler.sampling import Turns
from profiler.types import OperatorTimes, Source, Structure, Target

FORMATS = ("aoti",)
UNITS = ("cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "bf16")
OPTIONS = {"threads": "1", "graph": "0"}
EXTRA = "torch"
INSTALL = torch_eager.INSTALL
# The package to be profiled has kernels that tell of themselves.
PROFILED = {"marks": "1"}

missing = torch_eager.missing
version = torch_eager.version
start = torch_eager.start
kind_of = torch_eager.kind_of
check = torch_eager.check


def load(path: str, target: Target) -> torch_eager.Session:
    """Load a package; its inputs are described in the file that the exporter put beside it."""
    import torch

    torch.set_num_threads(int(target.options["threads"]))
    described = from_json(Structure, json.loads(Path(path + ".json").read_text()))
    runner = torch._inductor.aoti_load_package(path)
    return torch_eager.Session(runner, [_empty(text) for text in described.inputs], target)


def profile(
    path: str,
    target: Target,
    feeds: Mapping[str, Any],
    sources: Sequence[Source],
    runs: Turns,
    warmup: int,
) -> OperatorTimes:
    """The time of each kernel of a package with marks, by torch's profiler.

    Raises NoProfiler on a GPU, BadProfile when kernels cannot be told apart.
    """
    if target.unit != "cpu":
        raise NoProfiler("the kernels of torch's compiler are timed on the CPU only")
    kernels = plugins.load("exporters", "aoti").kernels(Path(path))
    call = load(path, target).bind(feeds)
    return _torch_profile.time_kernels(call, kernels, sources, len(runs), warmup)


def _empty(text: str) -> Any:
    """A tensor without memory from `x: fp32[1,3,224,224]`."""
    import torch

    kind, _, sizes = text.rpartition(": ")[2].rstrip("]").partition("[")
    names = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp64": "float64"}
    shape = [int(s) for s in sizes.split(",") if s]
    return torch.empty(shape, dtype=getattr(torch, names.get(kind, kind)), device="meta")
