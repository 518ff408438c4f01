"""A plug-in is a file, and its name is the file's name: nobody keeps a list."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from profiler.errors import UnknownName

KINDS = {
    "exporters": "format",
    "profiler.runtimes": "runtime",
    "profiler.tables.formats": "table format",
    "benchmarks.operators": "operator benchmark",
    "benchmarks.blocks": "block family",
    "benchmarks.models": "model family",
    "benchmarks.spaces": "space",
    "reports": "report",
}


def names(package: str) -> list[str]:
    """The plug-ins of a package, sorted; none of them is imported."""
    module = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(module.__path__) if m.name[0] != "_")


def load(package: str, name: str) -> ModuleType:
    """Import one plug-in. Raises UnknownName when there is no such file."""
    known = names(package)
    if name not in known:
        raise UnknownName(KINDS.get(package, package), name, known)
    return importlib.import_module(f"{package}.{name}")
