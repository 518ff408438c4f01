"""Networks rebuilt from the rows of a search space, and compared with the real ones."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from profiler.export_job import randomize
from profiler.spaces import Architecture, Shape, Space
from profiler.types import Workload


class Rebuilt(nn.Module):
    """Rows in order. All tensors that one gives go into the next one."""

    def __init__(self, rows: list[nn.Module]) -> None:
        super().__init__()
        self.rows = nn.ModuleList(rows)

    def forward(self, *tensors: torch.Tensor) -> Any:
        for row in self.rows:
            given = row(*tensors)
            tensors = given if isinstance(given, tuple) else (given,)
        return tensors if len(tensors) > 1 else tensors[0]


def build(workload: Workload) -> Any:
    """What a workload's builder returns."""
    module, _, function = workload.builder.partition(":")
    return getattr(importlib.import_module(module), function)(**workload.parameters)


def rebuild(space: Space, architecture: Architecture) -> nn.Module:
    """A network made of its rows' modules, each built anew for each occurrence."""
    rows = [build(space.block(key).workload).module for key in space.rows(architecture)]
    return Rebuilt(rows).eval()


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Weights and statistics, one after another: both have to hold the same shapes in order."""
    given, wanted = source.state_dict(), target.state_dict()
    assert [v.shape for v in given.values()] == [v.shape for v in wanted.values()]
    target.load_state_dict(dict(zip(wanted, given.values(), strict=True)))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def difference(space: Space, name: str) -> float:
    """The largest error of a released network rebuilt, as a share of its largest output.

    Its weights and statistics are random and none is zero; parameters are counted as well.
    """
    workload = space.network(name)
    assert workload is not None, f"{name} has no real network"
    real = build(workload)
    randomize(real.module)
    rebuilt = rebuild(space, space.parse(name))
    assert parameters(rebuilt) == parameters(real.module)
    copy_in_order(real.module, rebuilt)
    with torch.inference_mode(), one_thread():
        expected, found = real.module(*real.inputs), rebuilt(*real.inputs)
    assert expected.shape == found.shape
    return float((found - expected).abs().max() / expected.abs().max())


def block_shapes_are_right(space: Space, key: str) -> None:
    """A block takes and gives what its space says."""
    block = space.block(key)
    model = build(block.workload)
    assert tuple(tuple(x.shape) for x in model.inputs) == tuple(map(with_batch, block.takes))
    with torch.inference_mode(), one_thread():
        given = model.module(*model.inputs)
    given = given if isinstance(given, tuple) else (given,)
    assert tuple(tuple(x.shape) for x in given) == tuple(map(with_batch, block.gives))


def with_batch(shape: Shape) -> Shape:
    """A tensor's shape as torch has it: groups of tokens stand in the place of the batch."""
    return shape[1:] if len(shape) == 4 else (1, *shape)


@contextmanager
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost seconds on a busy machine, and gain nothing here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
