"""Operator benchmarks: one short function per alternative, its axes given by a decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def axes(**values: tuple[Any, ...]) -> Callable[[F], F]:
    """Mark a function as an alternative; it is measured at every combination of the values."""

    def mark(function: F) -> F:
        function.axes = values  # type: ignore[attr-defined]  # functions take attributes
        return function

    return mark
