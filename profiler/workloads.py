"""From what a user writes to a workload: timm's names, files, functions, operator benchmarks."""

from __future__ import annotations

import hashlib
import importlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from profiler import plugins
from profiler.errors import BadModelFile, UnknownName, UsageError
from profiler.types import Workload

FILES = {".onnx": "onnx", ".pt2": "exported_program"}
Shapes = Mapping[str, tuple[int, ...]]

CANARY = Workload("benchmarks.models.canary:canary", {}, "canary")


def resolve(name: str, batch: int = 1, shapes: Shapes | None = None) -> list[Workload]:
    """The workloads that a name means; an operator benchmark means all its alternatives.

    A name is a timm model, `module:function`, a path to `.onnx` or `.pt2`, or an operator
    benchmark (`activation`, `activation.gelu`). Raises UsageError on anything else.
    """
    shapes = shapes or {}
    path = Path(name)
    if path.suffix in FILES:
        return [_file(path, shapes)]
    if ":" in name:
        return [_function(name, shapes)]
    if path.suffix and path.is_file():
        known = ", ".join(FILES)
        raise BadModelFile(f"{name}: opclock reads {known} files, not {path.suffix}")
    family, _, alternative = name.partition(".")
    if family in plugins.names("benchmarks.operators"):
        return _operators(family, alternative)
    return [_named(name, batch)]


def _file(path: Path, shapes: Shapes) -> Workload:
    if not path.is_file():
        raise BadModelFile(f"{path}: no such file")
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    parameters: dict[str, Any] = {"path": str(path.resolve()), "sha256": sha256}
    if shapes and path.suffix == ".pt2":
        raise UsageError(f"{path}: an exported program has its shapes; export it again with others")
    if shapes:
        parameters["shapes"] = {k: list(v) for k, v in shapes.items()}
    return Workload(f"benchmarks.models.files:{FILES[path.suffix]}", parameters, path.name)


def _function(name: str, shapes: Shapes) -> Workload:
    module, _, function = name.partition(":")
    words = [*module.split("."), function]
    if not all(w.isidentifier() for w in words):
        raise UsageError(f"{name!r} is not module:function, as in mypackage.nets:my_net")
    parameters = {"shapes": {k: list(v) for k, v in shapes.items()}} if shapes else {}
    return Workload(name, parameters, name)


def _operators(family: str, alternative: str) -> list[Workload]:
    module = plugins.load("benchmarks.operators", family)
    functions = {n: f for n, f in vars(module).items() if hasattr(f, "axes")}
    if alternative:
        if alternative not in functions:
            raise UnknownName(f"alternative of {family}", alternative, functions)
        functions = {alternative: functions[alternative]}
    return [
        Workload(f"benchmarks.operators.{family}:{n}", p, _label(f"{family}.{n}", p))
        for n, f in functions.items()
        for p in _grid(f.axes)
    ]


def _grid(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _label(name: str, parameters: Mapping[str, Any]) -> str:
    return f"{name}[{','.join(f'{k}={v}' for k, v in parameters.items())}]"


def _named(name: str, batch: int) -> Workload:
    """A whole network: ask each model family, the one that needs no framework first."""
    families = plugins.names("benchmarks.models")
    known: list[str] = []
    for family in sorted(families, key=lambda f: f == "timm"):
        module = plugins.load("benchmarks.models", family)
        if not hasattr(module, "names"):
            continue
        names = module.names()
        if name in names:
            parameters = {"name": name, "batch": batch}
            label = name if batch == 1 else f"{name}[batch={batch}]"
            return Workload(f"benchmarks.models.{family}:create", parameters, label)
        known += names
    known += plugins.names("benchmarks.operators")
    raise UnknownName("model", name, known)


def families() -> dict[str, list[str]]:
    """All networks by family."""
    found = {}
    for family in plugins.names("benchmarks.models"):
        module = importlib.import_module(f"benchmarks.models.{family}")
        if hasattr(module, "names"):
            found[family] = module.names()
    return found
