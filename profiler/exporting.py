"""From workloads to artifacts, in child processes of their own: torch stays there.

An artifact is found again by its recipe: builder, parameters, exporter and versions. A builder
of the user's own may have changed since, so it is always built again; if the file comes out the
same, its measurements still hold.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import math
import queue
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import profiler
from profiler import environment, plugins, processes
from profiler.encoding import digest, from_json, to_json
from profiler.processes import Death, Limits
from profiler.store import Store
from profiler.turns import turn
from profiler.types import Artifact, Failure, Format, Target, Workload

# A file's external weights may have changed beside it.
FILES = "benchmarks.models.files:"
# The builder of blocks in a row, which names theirs.
SEQUENCE = "profiler.export_job:sequence"
OWN_PACKAGES = ("benchmarks.", "profiler.", "exporters.")
# All hands together may fill this share of the machine's memory, and a hand that has filled this
# share of its own takes on no more.
MEMORY_SHARE = 0.8
ENOUGH = 0.4


@dataclass(frozen=True, slots=True)
class Request:
    """An artifact that is wanted: a workload to export, or parts to chain.

    What is small, and one of many, may be exported `together` with others.
    """

    workload: Workload
    format: Format
    parts: tuple[Artifact, ...] = ()
    together: bool = False

    @property
    def recipe(self) -> str:
        """The name under which the store finds the artifact again."""
        exporter = plugins.load("exporters", self.format.name)
        builders = sorted({b.partition(":")[0] for b in self.builders})
        modules = (*builders, f"exporters.{self.format.name}", "profiler.export_job")
        sources = _own_sources(modules)
        versions = {p: environment.package_version(p) for p in ("timm", "torchvision")}
        source = [self.workload.builder, self.workload.parameters]
        return digest("export", str(self.format), source, exporter.versions(), sources, versions)

    @property
    def composition(self) -> str:
        """The digest of what is composed of parts: they and our own code decide what it holds."""
        exporter = plugins.load("exporters", self.format.name)
        sources = _own_sources((f"exporters.{self.format.name}", "profiler.export_job"))
        parts = [p.digest for p in self.parts]
        return digest("compose", str(self.format), exporter.versions(), sources, parts)

    @property
    def kept(self) -> bool:
        """Whether the store keeps the artifact under its recipe, which alone decides it."""
        if self.parts or self.workload.builder.startswith(FILES):
            return False
        return all(b.startswith(OWN_PACKAGES) for b in self.builders)

    @property
    def builders(self) -> tuple[str, ...]:
        """All functions that make the model: a sequence is made of its blocks' too."""
        inner: Sequence[Mapping[str, Any]] = ()
        if self.workload.builder == SEQUENCE:
            inner = self.workload.parameters["blocks"]
        return (self.workload.builder, *(b["builder"] for b in inner))


@functools.cache
def _own_sources(modules: tuple[str, ...]) -> str:
    """A digest of our own code that decides what an artifact holds.

    That is these modules and all that they import of benchmarks and exporters; another network
    or another exporter that changes is no reason to export this one again.
    """
    state = hashlib.sha256(profiler.__version__.encode())
    waiting, seen = list(modules), set(modules)
    while waiting:
        file = processes.ROOT.joinpath(*waiting.pop().split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        if not file.is_file():
            continue
        source = file.read_bytes()
        state.update(source)
        found = sorted({n for n in _imported(source) if n.startswith(("benchmarks", "exporters"))})
        waiting += [n for n in found if n not in seen]
        seen.update(found)
    return state.hexdigest()[:24]


def _imported(source: bytes) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


Result = Artifact | Failure
OnResult = Callable[[Request, Result], None]


def build(
    store: Store,
    requests: Mapping[str, Request],
    on_result: OnResult,
    on_wait: Callable[[], None],
    limit_s: float,
    hands: int,
    memory_bytes: int | None = None,
    recall_failures: bool = False,
) -> dict[str, Result]:
    """Artifacts or failures for all requests, by the caller's own keys.

    What the store holds is not built again. The rest is dealt out to `hands` processes, one
    format at a time to each, since frameworks do not mix well; one that shows no sign of life for
    `limit_s` seconds, or grows beyond `memory_bytes`, is ended, and its workload is a Failure.
    With `recall_failures` what failed before is not tried again.
    What is composed of parts is large and made in milliseconds: it is not kept in the store but
    in staging folders, which the caller removes.
    """
    results: dict[str, Result] = {}
    todo: dict[str, Request] = {}
    for key, request in requests.items():
        found: Result | None = store.artifact(request.recipe) if request.kept else None
        if found is None and recall_failures and request.kept:
            found = store.failure(request.recipe)
        if found:
            results[key] = found
            on_result(request, found)
        else:
            todo[key] = request
    if not todo:
        return results
    lock = threading.Lock()

    def finish(key: str, result: Result) -> None:
        with lock:
            results[key] = result
            if isinstance(result, Failure):
                store.add_failure(result, todo[key].recipe if todo[key].kept else "")
            on_result(todo[key], result)

    share = memory_bytes or int(MEMORY_SHARE * (environment.memory_bytes() or 8 << 30) / hands)
    limits = Limits(limit_s, share)
    with turn(exclusive=False, on_wait=on_wait):
        _deal(store, todo, finish, limits, hands)
    return results


def as_asked(workload: Workload, built: Result, target: Target) -> Result:
    """The artifact, or a Failure when it computes in another precision than was asked for."""
    if isinstance(built, Failure) or built.structure.precision == built.format.precision:
        return built
    message = f"asked for {built.format.precision}, the model holds {built.structure.precision}"
    return Failure(workload, str(target), "run", "wrong-precision", message)


def _deal(
    store: Store,
    todo: Mapping[str, Request],
    finish: Callable[[str, Result], None],
    limits: Limits,
    hands: int,
) -> None:
    heaps: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                keys = heaps.get_nowait()
                _one_hand(store, {k: todo[k] for k in keys}, finish, limits)

    dealt = _heaps(todo, hands)
    for heap in dealt:
        heaps.put(heap)
    processes.together([work] * min(hands, len(dealt)))


def _heaps(todo: Mapping[str, Request], hands: int) -> list[list[str]]:
    """Requests by format, dealt out to all hands."""
    by_format: dict[str, list[str]] = {}
    for key, request in todo.items():
        by_format.setdefault(request.format.name, []).append(key)
    heaps = []
    for keys in by_format.values():
        heaps += processes.chunks(keys, hands)
    return heaps


def _one_hand(
    store: Store,
    requests: dict[str, Request],
    finish: Callable[[str, Result], None],
    limits: Limits,
) -> None:
    folders: dict[str, Path] = {}

    def make_job(keys: list[str]) -> dict[str, Any]:
        # An item whose process died is tried again, in a folder without what that one left.
        for key in keys:
            if key in folders:
                shutil.rmtree(folders[key], ignore_errors=True)
            folders[key] = store.staging()
        most = ENOUGH * (limits.memory_bytes or math.inf)
        return {"items": [_entry(k, requests[k], folders[k]) for k in keys], "most_bytes": most}

    def on_line(line: dict[str, Any]) -> None:
        key = line.get("done")
        if key is None:
            return
        request = requests[key]
        if "failure" in line:
            finish(key, _failure(request, line["failure"], line["message"], ""))
            return
        artifact = from_json(Artifact, line["artifact"])
        if request.parts:
            del folders[key]
            finish(key, artifact)
            return
        recipe = request.recipe if request.kept else f"own-{artifact.digest}"
        finish(key, store.adopt(recipe, folders[key], artifact))

    def on_death(key: str, death: Death) -> None:
        finish(key, _failure(requests[key], death.kind, death.message, death.log))

    try:
        processes.run_surviving(
            "profiler.export_job:export_job", requests, make_job, on_line, on_death, limits
        )
    finally:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)


def _entry(key: str, request: Request, folder: Path) -> dict[str, Any]:
    return {
        "key": key,
        "builder": request.workload.builder,
        "parameters": dict(request.workload.parameters),
        "format": to_json(request.format),
        "parts": [p.path for p in request.parts],
        "together": request.together,
        "digest": request.composition if request.parts else "",
        "model_parameters": sum(p.model_parameters for p in request.parts),
        "folder": str(folder),
    }


def _failure(request: Request, kind: str, message: str, log: str) -> Failure:
    return Failure(request.workload, str(request.format), "export", kind, message, log)
