"""Units in a chain: what one more of them costs is their cost in a network.

A chain of a unit that keeps its shape is a front and k units; its slope over k is the unit's cost.
A unit that changes its shape comes once, and k cheap layers follow it: what it takes beyond the
front and those layers is its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from profiler.errors import BadModelFile
from profiler.types import Model

if TYPE_CHECKING:
    from torch import nn

FRONT_CHANNELS = 4
IMAGE_CHANNELS = 3

Make = Callable[[], Model]


def chain(make: Make, count: int) -> Model:
    """The front, and `count` units behind it; none when `count` is 0.

    Where a unit changes its shape, it comes once, and `count` layers that keep it follow.
    """
    from torch import nn

    before, after = _shapes(make)
    front, inputs = _front(before)
    if not count:
        return Model(nn.Sequential(front).eval(), inputs)
    if before == after:
        units = [make().module for _ in range(count)]
    else:
        units = [make().module, *(_follower(after) for _ in range(count))]
    return Model(nn.Sequential(front, *units).eval(), inputs)


def alone(make: Make) -> Model:
    """The bare operator: the unit's part called `operator`, or all of it where none is.

    Its inputs have the shapes that they have inside the unit.
    """
    import torch

    unit = make()
    operator = dict(unit.module.named_modules()).get("operator")
    if operator is None:
        return unit
    given: list[tuple[torch.Tensor, ...]] = []
    operator.register_forward_hook(lambda _, inputs, __: given.append(inputs))
    unit.module.eval()
    with torch.no_grad():
        unit.module(*unit.inputs)
    # Some modules keep what they computed of their weights: the one that has run is thrown away.
    fresh = dict(make().module.named_modules())["operator"]
    if len(given[0]) == 1:
        # timm's attention returns nothing from eval(), which converters expect to be the module.
        fresh = torch.nn.Sequential(fresh)
    fresh.eval()
    return Model(fresh, tuple(torch.randn(x.shape) for x in given[0]))


def _shapes(make: Make) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of a unit's input and output, by running one that is thrown away."""
    import torch

    unit = make()
    unit.module.eval()
    with torch.no_grad():
        output = unit.module(*unit.inputs)
    if len(unit.inputs) != 1 or not isinstance(output, torch.Tensor):
        raise BadModelFile("a unit that is to be chained takes one tensor and gives one")
    return tuple(unit.inputs[0].shape), tuple(output.shape)


def _front(shape: Sequence[int]) -> tuple[nn.Module, tuple[object, ...]]:
    """What stands before the first unit, cheap, and its inputs.

    Nothing stands before an image; an activation there stands for the call and for reading it.
    A map or tokens come from a 1x1 convolution or a linear layer, which fixes their layout.
    """
    import torch
    from torch import nn

    channels, sides = shape[1], shape[2:]
    if len(shape) == 4 and channels == IMAGE_CHANNELS:
        return nn.ReLU(), (torch.randn(*shape),)
    if len(shape) == 4:
        front: nn.Module = nn.Conv2d(FRONT_CHANNELS, channels, 1)
        return front, (torch.randn(1, FRONT_CHANNELS, *sides),)
    if len(shape) == 3:
        front = nn.Linear(FRONT_CHANNELS, shape[2])
        return front, (torch.randn(1, shape[1], FRONT_CHANNELS),)
    raise BadModelFile(f"a chain is of maps or tokens, and the unit's input is {list(shape)}")


def _follower(shape: Sequence[int]) -> nn.Module:
    """A cheap layer that keeps the shape and takes the layout that it finds."""
    from torch import nn

    if len(shape) == 4:
        channels = shape[1]
        convolution = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        return nn.Sequential(convolution, nn.ReLU())
    if len(shape) == 3:
        return nn.Linear(shape[2], shape[2])
    raise BadModelFile(f"a chain is of maps or tokens, and the unit's output is {list(shape)}")
