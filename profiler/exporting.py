"""From workloads to artifacts, in child processes of their own: torch stays there.

An artifact is found again by its recipe: builder, parameters, exporter and versions. A builder
of the user's own may have changed since, so it is always built again; if the file comes out the
same, its measurements still hold.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import profiler
from profiler import environment, plugins, processes
from profiler.processes import Death
from profiler.store import Store
from profiler.turns import turn
from profiler.types import Artifact, Failure, Workload, digest, from_json

# A file's external weights may have changed beside it.
FILES = "benchmarks.models.files:"
OWN_PACKAGES = ("benchmarks.", "profiler.", "exporters.")


@dataclass(frozen=True, slots=True)
class Request:
    """An artifact that is wanted: a workload to export, or parts to chain."""

    workload: Workload
    format: str
    parts: tuple[Artifact, ...] = ()

    @property
    def recipe(self) -> str:
        """The name under which the store finds the artifact again."""
        exporter = plugins.load("exporters", self.format)
        made_by = {**exporter.versions(), "opclock": _own_sources(self.format)}
        versions = {p: environment.package_version(p) for p in ("timm", "torchvision")}
        source = [self.workload.builder, self.workload.parameters]
        return digest("export", self.format, source, made_by, versions)

    @property
    def kept(self) -> bool:
        """Whether the store keeps the artifact under its recipe, which alone decides it."""
        if self.parts or self.workload.builder.startswith(FILES):
            return False
        return self.workload.builder.startswith(OWN_PACKAGES)


@functools.cache
def _own_sources(format_name: str) -> str:
    """A digest of our own code that decides what an artifact holds."""
    files = sorted((processes.ROOT / "benchmarks").rglob("*.py"))
    files += [processes.ROOT / "exporters" / f"{format_name}.py"]
    files += [processes.ROOT / "profiler" / "export_job.py"]
    state = hashlib.sha256(profiler.__version__.encode())
    for file in files:
        state.update(file.read_bytes())
    return state.hexdigest()[:24]


Result = Artifact | Failure
OnResult = Callable[[Request, Result], None]


def build(
    store: Store,
    requests: Mapping[str, Request],
    on_result: OnResult,
    on_wait: Callable[[], None],
    limit_s: float,
    hands: int,
) -> dict[str, Result]:
    """Artifacts or failures for all requests, by the caller's own keys.

    What the store holds is not built again. The rest is dealt out to `hands` processes.
    What is composed of parts is large and made in milliseconds: it is not kept in the store but
    in staging folders, which the caller removes.
    """
    results: dict[str, Result] = {}
    todo: dict[str, Request] = {}
    for key, request in requests.items():
        found = store.artifact(request.recipe) if request.kept else None
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
                store.add_failure(result)
            on_result(todo[key], result)

    with turn(exclusive=False, on_wait=on_wait):
        _deal(store, todo, finish, limit_s, hands)
    return results


def _deal(
    store: Store,
    todo: Mapping[str, Request],
    finish: Callable[[str, Result], None],
    limit_s: float,
    hands: int,
) -> None:
    errors: list[BaseException] = []

    def work(keys: list[str]) -> None:
        try:
            _one_hand(store, {k: todo[k] for k in keys}, finish, limit_s)
        except BaseException as error:  # carried to the caller's thread, raised there
            errors.append(error)

    hands_full = processes.chunks(list(todo), hands)
    if len(hands_full) == 1:
        work(hands_full[0])
    else:
        threads = [threading.Thread(target=work, args=(keys,), daemon=True) for keys in hands_full]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _one_hand(
    store: Store,
    requests: dict[str, Request],
    finish: Callable[[str, Result], None],
    limit_s: float,
) -> None:
    folders: dict[str, Path] = {}

    def make_job(keys: list[str]) -> dict[str, Any]:
        folders.update({k: store.staging() for k in keys})
        return {"items": [_entry(k, requests[k], folders[k]) for k in keys]}

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
            "profiler.export_job:export_job", requests, make_job, on_line, on_death, limit_s
        )
    finally:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)


def _entry(key: str, request: Request, folder: Path) -> dict[str, Any]:
    return {
        "key": key,
        "builder": request.workload.builder,
        "parameters": dict(request.workload.parameters),
        "format": request.format,
        "parts": [p.path for p in request.parts],
        "model_parameters": sum(p.model_parameters for p in request.parts),
        "folder": str(folder),
    }


def _failure(request: Request, kind: str, message: str, log: str) -> Failure:
    return Failure(request.workload, request.format, "export", kind, message, log)
