"""Every error that opclock raises on purpose.

OpclockError                 the root: catch this one to catch them all
├── UsageError               the request cannot be understood; exit code 2
│   ├── UnknownName          a model, target, block, ... that does not exist (nearest names offered)
│   ├── BadTarget            a target that cannot be parsed, or that its runtime does not take
│   ├── BadModelFile         not an ONNX file, truncated, of another format
│   │   └── DynamicShape     a dimension without a number
│   ├── BadArchitecture      an architecture outside its space
│   ├── SpaceError           a search space that contradicts itself
│   └── OutputError          the place to write to is read-only, full or absent
├── MissingPackage           an optional package is not installed, or does not work; exit code 1
├── StoreError               the store cannot be used; exit code 2
│   └── NewerStore           written by a newer opclock
├── TableError               a table that must not be used; exit code 2
│   └── MissingEntry         a key that the table does not hold (nearest keys offered)
├── UnsupportedOperator      an operator that a format cannot express; exit code 1
├── NoProfiler               a runtime that does not tell the time of its operators; exit code 1
├── BadProfile               what a profiler wrote cannot be read; exit code 1
├── Skipped                  an alternative that does not exist at these axes; exit code 1
└── WorkloadFailed           a workload failed where a result was required; exit code 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OpclockError(Exception):
    """Root of all errors raised on purpose."""

    exit_code = 1


class UsageError(OpclockError):
    """The request cannot be understood or carried out as written."""

    exit_code = 2


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that look most like `name`, best first."""
    names = list(known)
    found = difflib.get_close_matches(name, names, n=count, cutoff=0.5)
    parts = [k for k in names if name and (name in k or k in name) and k not in found]
    return (found + parts)[:count]


class UnknownName(UsageError):
    """A name that nothing answers to."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = nearest(name, names)
        if close:
            hint = f"did you mean {', '.join(close)}?"
        elif names:
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            hint = f"known: {shown}"
        else:
            hint = "there are none"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class BadTarget(UsageError):
    """A target that cannot be parsed, or that its runtime does not take."""


class BadModelFile(UsageError):
    """A model file that cannot be read."""


class DynamicShape(BadModelFile):
    """A model with a dimension that has no number."""


class BadArchitecture(UsageError):
    """An architecture that its space does not contain."""


class SpaceError(UsageError):
    """A search space that contradicts itself."""


class OutputError(UsageError):
    """The place to write to cannot be written."""


class MissingPackage(OpclockError):
    """An optional package is not installed, or does not work here."""


class StoreError(OpclockError):
    """The store of measurements cannot be used."""

    exit_code = 2


class NewerStore(StoreError):
    """The store was written by a newer opclock."""


class TableError(OpclockError):
    """A table that must not be used as it is."""

    exit_code = 2


class MissingEntry(TableError):
    """A key that the table does not hold."""


class UnsupportedOperator(OpclockError):
    """An operator that a format cannot express: which one, and in which module of the network."""


class Skipped(OpclockError):
    """An alternative of an experiment that does not exist at the values of its axes."""


class NoProfiler(OpclockError):
    """A runtime that does not tell the time of its operators, and why."""


class BadProfile(OpclockError):
    """What a profiler wrote cannot be read."""


class WorkloadFailed(OpclockError):
    """A workload failed where a result was required."""
