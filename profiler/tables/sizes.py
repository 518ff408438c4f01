"""The size of every row: built on torch's meta device and run once, without any number computed.

What is counted is what torch executes at inference, operator by operator; a compiler that fuses
some of them writes and keeps less.
"""

from __future__ import annotations

import contextlib
import functools
import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from profiler.encoding import from_json, to_json
from profiler.errors import BadModelFile, MissingPackage
from profiler.export_job import call_builder
from profiler.processes import (
    Channel,
    Death,
    Limits,
    chunks,
    one_line,
    run_surviving,
    together,
)
from profiler.spaces import Space
from profiler.tables.table import Size
from profiler.turns import turn
from profiler.types import Failure, Model

LIMIT_S = 120.0
JOB = "profiler.tables.sizes:count_job"
# Operators that write statistics or indices beside their result, for training only.
WITH_STATISTICS = ("native_", "_native_", "max_pool")
CONVOLUTIONS = ("convolution", "_convolution")
# At which argument their two factors begin.
PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "vdot": 0}
PRODUCTS |= {"addmm": 1, "addbmm": 1, "baddbmm": 1, "addmv": 1}


def sizes(
    space: Space, keys: Iterable[str], on_wait: Callable[[], None] = lambda: None, hands: int = 1
) -> dict[str, Size | Failure]:
    """The size of each row, or why it has none, by key.

    Blocks are built in so many child processes. `on_wait` is called when those have to wait for a
    turn.
    """
    workloads = {key: space.block(key).workload for key in dict.fromkeys(keys)}
    found: dict[str, Size | Failure] = {}

    def make_job(left: list[str]) -> dict[str, Any]:
        return {"items": {k: to_json(workloads[k]) for k in left}}

    def fail(key: str, kind: str, message: str, log: str = "") -> None:
        found[key] = Failure(workloads[key], "", "size", kind, message, log)

    def on_line(line: dict[str, Any]) -> None:
        if "failure" in line:
            fail(line["done"], line["failure"], line["message"])
        else:
            found[line["done"]] = from_json(Size, line["size"])

    def on_death(key: str, death: Death) -> None:
        fail(key, death.kind, death.message, death.log)

    def count(keys: list[str]) -> None:
        mine = {k: workloads[k] for k in keys}
        run_surviving(JOB, mine, make_job, on_line, on_death, Limits(LIMIT_S))

    dealt = chunks(list(workloads), hands)
    with turn(exclusive=False, on_wait=on_wait):
        together([functools.partial(count, keys) for keys in dealt])
    return {key: found[key] for key in workloads}


# In the child -----------------------------------------------------------------------------------


def count_job(job: Mapping[str, Any], channel: Channel) -> None:
    """In the child: count every block, a line for each."""
    import torch

    # It would hide a layer of a transformer in one operator.
    torch.backends.mha.set_fastpath_enabled(False)
    for key, workload in job["items"].items():
        channel.announce(key)
        try:
            line = {"size": to_json(size_of(workload["builder"], workload["parameters"]))}
        except (BadModelFile, MissingPackage) as error:
            line = {"failure": "bad-model", "message": str(error)}
        except Exception as error:  # a builder may raise anything
            line = {"failure": "error", "message": one_line(error)[:500]}
        channel.send({"done": key, **line})


def size_of(builder: str, parameters: Mapping[str, Any]) -> Size:
    """The size of what a builder makes.

    On the meta device, which has shapes only; where a network needs numbers, with them.
    """
    import torch

    try:
        with torch.device("meta"):
            return _count(builder, parameters)
    except (BadModelFile, MissingPackage):
        raise
    except (RuntimeError, TypeError, ValueError):  # what torch says of numbers that are not there
        return _count(builder, parameters)


def _count(builder: str, parameters: Mapping[str, Any]) -> Size:
    import torch

    model = call_builder(builder, parameters)
    if not isinstance(model, Model):
        raise BadModelFile("a file's operators are not counted; give the torch model instead")
    count = Count()
    # Fused attention is another operator on each device; the plain one is what compilers get.
    plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with torch.no_grad(), plain, count.watching(model.inputs):
        model.module.eval()(*model.inputs)
    return Size(
        parameters=sum(p.numel() for p in model.module.parameters()),
        macs=count.macs,
        activation_bytes=count.written_bytes,
        peak_bytes=count.peak_bytes,
    )


@dataclass
class Count:
    """What operators do: multiply-adds, bytes that they write, and the most bytes alive at once.

    Only what depends on the inputs counts: the rest is made of weights, once. Storages of tensors
    are told apart by their ids, while they live.
    """

    macs: int = 0
    written_bytes: int = 0
    alive_bytes: int = 0
    peak_bytes: int = 0
    _alive: set[int] = field(default_factory=set)

    def watching(self, inputs: Iterable[Any]) -> contextlib.AbstractContextManager[Any]:
        """Count all operators that run meanwhile."""
        from torch.utils._python_dispatch import TorchDispatchMode

        for tensor in _tensors(inputs):
            self._enters(tensor.untyped_storage())
        self.peak_bytes = self.alive_bytes
        count = self

        class Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
            def __torch_dispatch__(
                self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                kwargs = kwargs or {}
                # Inside torch.inference_mode operators made of others arrive whole.
                with self:
                    result = operator.decompose(*args, **kwargs)
                if result is NotImplemented:
                    result = operator(*args, **kwargs)
                    count.ran(operator, args, kwargs, result)
                return result

        return Watching()  # type: ignore[no-untyped-call]

    def ran(self, operator: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An operator ran."""
        taken = {id(t.untyped_storage()) for t in _tensors((args, kwargs))}
        if not taken & self._alive:
            return
        name = operator.overloadpacket.__name__
        self.macs += macs(name, args, result)
        given = result if isinstance(result, tuple) else (result,)
        if name.startswith(WITH_STATISTICS):
            given = given[:1]
        for returned, value in zip(operator._schema.returns, given, strict=False):
            for tensor in _tensors(value):
                storage = tensor.untyped_storage()
                changed = returned.alias_info is not None and returned.alias_info.is_write
                if changed or id(storage) not in taken:
                    self.written_bytes += tensor.numel() * tensor.element_size()
                    self._enters(storage)
        self.peak_bytes = max(self.peak_bytes, self.alive_bytes)

    def _enters(self, storage: Any) -> None:
        if id(storage) not in self._alive:
            self._alive.add(id(storage))
            self.alive_bytes += storage.nbytes()
            weakref.finalize(storage, self._leaves, id(storage), storage.nbytes())

    def _leaves(self, name: int, size_bytes: int) -> None:
        self._alive.discard(name)
        self.alive_bytes -= size_bytes


def macs(operator: str, args: Any, result: Any) -> int:
    """Multiply-adds of one of torch's operators: convolutions and matrix products, others 0."""
    if operator in CONVOLUTIONS:
        image, weight, transposed = args[0], args[1], args[6]
        # Each element of the one is multiplied with the kernel of its group.
        return int((image if transposed else result).numel() * math.prod(weight.shape[1:]))
    if operator in PRODUCTS:
        left, right = args[PRODUCTS[operator] :][:2]
        return int(left.numel() * (right.shape[-1] if right.dim() > 1 else 1))
    return 0


def _tensors(values: Any) -> list[Any]:
    import torch

    leaves = torch.utils._pytree.tree_leaves(values)
    return [t for t in leaves if isinstance(t, torch.Tensor)]
