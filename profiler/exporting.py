"""From workloads to artifacts, in child processes of their own: torch stays there.

An artifact is found again by its recipe: builder, parameters, exporter and versions. A builder
of the user's own may have changed since, so it is always built again; if the file comes out the
same, its measurements still hold.
"""

from __future__ import annotations

import functools
import hashlib
import math
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import profiler
from profiler import environment, plugins, processes
from profiler.errors import BadModelFile, DynamicShape, MissingPackage
from profiler.processes import Channel, Death, one_line
from profiler.store import Store
from profiler.turns import turn
from profiler.types import Artifact, Failure, Graph, Model, Workload, digest, from_json

OWN_PACKAGES = ("benchmarks.", "profiler.", "exporters.")
WEIGHT_SEED = 0
# Folding a normalisation into its neighbour takes its vectors away; matrices and kernels must
# all arrive. Anything below this share of them means that a branch was folded away.
KEPT_SHARE = 0.98


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
        if self.parts:
            return digest("compose", self.format, [p.digest for p in self.parts], made_by)
        versions = {p: environment.package_version(p) for p in ("timm", "torchvision")}
        source = [self.workload.builder, self.workload.parameters]
        return digest("export", self.format, source, made_by, versions)

    @property
    def reusable(self) -> bool:
        """Whether the recipe alone decides the artifact."""
        return bool(self.parts) or self.workload.builder.startswith(OWN_PACKAGES)


@functools.cache
def _own_sources(format_name: str) -> str:
    """A digest of our own code that decides what an artifact holds."""
    files = sorted((processes.ROOT / "benchmarks").rglob("*.py"))
    files += [processes.ROOT / "exporters" / f"{format_name}.py", Path(__file__)]
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
    """
    results: dict[str, Result] = {}
    todo: dict[str, Request] = {}
    for key, request in requests.items():
        found = store.artifact(request.recipe) if request.reusable else None
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
        recipe = request.recipe if request.reusable else f"own-{artifact.digest}"
        finish(key, store.adopt(recipe, folders[key], artifact))

    def on_death(key: str, death: Death) -> None:
        finish(key, _failure(requests[key], death.kind, death.message, death.log))

    try:
        processes.run_surviving(
            "profiler.exporting:export_job", requests, make_job, on_line, on_death, limit_s
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


# In the child ------------------------------------------------------------------------------------


class FoldedAway(Exception):
    """The artifact holds fewer weights than the model."""


def export_job(job: Mapping[str, Any], channel: Channel) -> None:
    """Export or compose every item of a job, a line for each."""
    for entry in job["items"]:
        channel.announce(entry["key"])
        try:
            artifact = _export(entry)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a builder may raise anything, SystemExit included
            kind, message = _describe(error)
            channel.send({"done": entry["key"], "failure": kind, "message": message[:2000]})
        else:
            channel.send({"done": entry["key"], "artifact": artifact})


def _describe(error: BaseException) -> tuple[str, str]:
    if isinstance(error, DynamicShape | BadModelFile | MissingPackage):
        return "bad-model" if isinstance(error, BadModelFile) else "missing-package", str(error)
    if isinstance(error, MemoryError):
        return "out-of-memory", "memory ran out while the model was built or exported"
    if isinstance(error, FoldedAway):
        return "folded-away", str(error)
    if isinstance(error, SystemExit):
        return "exit", f"the builder called exit ({error.code})"
    if type(error).__name__ in ("UnsupportedFxNodesError", "DispatchError"):
        return "unsupported-operator", one_line(error)
    return "error", one_line(error)


def _export(entry: Mapping[str, Any]) -> dict[str, Any]:
    exporter = plugins.load("exporters", entry["format"])
    out = Path(entry["folder"]) / f"model{exporter.SUFFIX}"
    reference = ""
    if entry["parts"]:
        facts = exporter.compose([Path(p) for p in entry["parts"]], out)
        expected = entry["model_parameters"]
    else:
        built = _call_builder(entry["builder"], entry["parameters"])
        if isinstance(built, Graph):
            facts = exporter.adopt(built, out)
            expected = facts["parameters"]
        else:
            if not entry["builder"].startswith("benchmarks.models.files:"):
                randomize(built.module)
            built.module.eval() if hasattr(built.module, "eval") else None
            reference = _write_reference(built, out.parent / "reference.npz")
            facts = exporter.export(built, out)
            expected = _check_weights(built.module, facts["parameters"])
    files = sorted(p for p in out.parent.iterdir() if p.name != "reference.npz")
    return {
        "path": str(out),
        "format": entry["format"],
        "digest": _content_digest(files),
        "size_bytes": sum(f.stat().st_size for f in files),
        "parameters": facts["parameters"],
        "model_parameters": expected,
        "operators": facts["operators"],
        "exporter": {**exporter.versions(), "precision": facts["precision"]},
        "reference": reference,
    }


def _content_digest(files: list[Path]) -> str:
    state = hashlib.sha256()
    for file in files:
        state.update(file.name.encode())
        with file.open("rb") as stream:
            while data := stream.read(1 << 20):
                state.update(data)
    return state.hexdigest()[:24]


def _call_builder(builder: str, parameters: Mapping[str, Any]) -> Model | Graph:
    import importlib

    module, _, function = builder.partition(":")
    found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise BadModelFile(f"{module} has no function {function!r}")
    shapes = {}
    if not builder.startswith(OWN_PACKAGES):
        parameters = dict(parameters)
        shapes = parameters.pop("shapes", {})
    return _as_model(found(**parameters), shapes)


def _as_model(built: Any, shapes: Mapping[str, Any]) -> Model | Graph:
    """What a user's function may return: a Model, a module, or (module, inputs)."""
    if isinstance(built, Model | Graph):
        return built
    import torch

    module, inputs = built if isinstance(built, tuple) else (built, None)
    if not isinstance(module, torch.nn.Module):
        raise BadModelFile(
            f"the builder returned {type(module).__name__}, not a torch.nn.Module, "
            "a pair (module, inputs) or a profiler.types.Model"
        )
    if inputs is None or shapes:
        inputs = tuple(torch.randn(*s) for s in shapes.values() or [(1, 3, 224, 224)])
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    return Model(module, tuple(inputs))


def randomize(module: Any) -> None:
    """Random weights of a fixed seed, none of them zero, activations of moderate size.

    Converters fold zero branches away, and untrained networks are full of them: last gains of
    residual branches, layer scales, biases. Matrices get a standard deviation of
    1/sqrt(fan-in), gains and scales 0.5 to 1.5, biases 0.1.
    """
    import torch

    generator = torch.Generator().manual_seed(WEIGHT_SEED)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point():
                continue
            leaf = name.rpartition(".")[2]
            if leaf == "running_var" or (value.dim() < 2 and "bias" not in leaf and "mean" not in leaf):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.dim() < 2:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
            elif name in dict(module.named_parameters()):
                scale = 1 / math.sqrt(max(1, value[0].numel()))
                value.copy_(torch.randn(value.shape, generator=generator) * scale)


def _write_reference(model: Model, path: Path) -> str:
    """Torch's own outputs in float32 for the inputs that the worker will make."""
    import numpy
    import torch

    from profiler.worker import random_feeds

    inputs = [
        (str(i), tuple(x.shape), str(x.dtype).removeprefix("torch."))
        for i, x in enumerate(model.inputs)
    ]
    feeds = random_feeds(inputs, 0)
    with torch.no_grad():
        outputs = model.module(*(torch.from_numpy(feeds[name]) for name, _, _ in inputs))
    flat, _ = torch.utils._pytree.tree_flatten(outputs)
    arrays = {f"output{i}": t.detach().numpy() for i, t in enumerate(flat)}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not numpy.isfinite(array).all():
            raise ValueError(f"the model itself gives infinite or undefined values in {name}")
    numpy.savez(path, allow_pickle=False, **arrays)
    return str(path)


def _check_weights(module: Any, kept: int) -> int:
    """The model's parameter count. Raises FoldedAway when matrices did not arrive."""
    sizes = {id(p): (p.numel(), p.dim()) for p in module.parameters()}
    matrices = sum(n for n, dims in sizes.values() if dims >= 2)
    total = sum(n for n, _ in sizes.values())
    if kept < KEPT_SHARE * matrices:
        raise FoldedAway(
            f"the artifact holds {kept:,} weights, the model's matrices alone {matrices:,}: "
            "the exporter folded a part of the network away"
        )
    return total
