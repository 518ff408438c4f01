"""Which values the options of formats and targets take."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from profiler.errors import BadTarget
from profiler.types import Format, Target

FLAG = ("0", "1")
THREADS = tuple(map(str, range(1, 1025)))


def check(wanted: Format | Target, choices: Mapping[str, Collection[str]]) -> None:
    """Raise BadTarget on the first option whose value is not among its choices."""
    what = "format" if isinstance(wanted, Format) else "target"
    for name, values in choices.items():
        value = wanted.options[name]
        if value not in values:
            known = (
                "a number from 1 to 1024" if values is THREADS else f"one of {', '.join(values)}"
            )
            raise BadTarget(f"{what} {wanted}: {name}={value} is not {known}")
