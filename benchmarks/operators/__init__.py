"""Operator experiments: one short function per alternative, its axes given by a decorator.

A function returns one unit: the operator inside the block that a network has around it. What it
costs there is what one more unit adds to a chain of them, so `axes` also makes the chains.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

from profiler.errors import Skipped

F = TypeVar("F", bound=Callable[..., Any])
# What a builder understands beside its axes.
RESERVED = ("chain", "alone")


def axes(**values: tuple[Any, ...]) -> Callable[[F], F]:
    """Mark a function as an alternative; it is measured at every combination of the values.

    The function it makes builds the unit. With `chain=k` it builds k units with weights of their
    own behind what stands before them in a network, with `alone=True` the bare operator.
    """
    taken = [name for name in RESERVED if name in values]
    if taken:
        raise ValueError(f"an axis cannot be called {taken[0]}")

    def mark(function: F) -> F:
        @functools.wraps(function)
        def build(*, chain: int | None = None, alone: bool = False, **parameters: Any) -> Any:
            from benchmarks.operators import _chains

            make = functools.partial(function, **parameters)
            if alone:
                return _chains.alone(make)
            return make() if chain is None else _chains.chain(make, chain)

        build.axes = values  # type: ignore[attr-defined]  # functions take attributes
        return cast(F, build)

    return mark


def baseline(alternative: F) -> F:
    """Mark an alternative as the one that those below it are compared with, up to the next."""
    alternative.baseline = True  # type: ignore[attr-defined]  # functions take attributes
    return alternative


def skip(reason: str) -> NoReturn:
    """Say that an alternative does not exist at these values; the result shows the reason."""
    raise Skipped(reason)
