"""The process that exports: torch is loaded here, and nowhere near the clock."""

from __future__ import annotations

import gc
import hashlib
import importlib
import itertools
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from profiler import environment, plugins
from profiler.encoding import from_json, to_json
from profiler.errors import BadModelFile, MissingPackage, Skipped, UnsupportedOperator
from profiler.processes import Channel, one_line
from profiler.types import Artifact, Format, Graph, Model, Structure
from profiler.worker import random_feeds

WEIGHT_SEED = 0
# So many small blocks are exported in one go; more of them would take hardly less time for each.
TOGETHER = 8
# What takes seconds to build is large, and gains nothing.
SLOW_S = 4.0
# Folding a normalisation into its neighbour takes its vectors away; matrices and kernels must
# all arrive. Anything below this share of them means that a branch was folded away.
KEPT_SHARE = 0.98
# What is zero stays so.
SMALLEST_SQUARE = 1e-2
# A framework is a million objects that a collection of garbage goes through in vain: a quarter of a
# small block's export went there.
OBJECTS_PER_COLLECTION = 50_000
# Files of the user's own come with weights of their own.
KEEPS_WEIGHTS = "benchmarks.models.files:"


class FoldedAway(Exception):
    """The artifact holds fewer weights than the model."""


SAID_BY_US = {
    "bad-model": BadModelFile,
    "missing-package": MissingPackage,
    "unsupported-operator": UnsupportedOperator,
    "folded-away": FoldedAway,
    "skipped": Skipped,
}


def export_job(job: Mapping[str, Any], channel: Channel) -> None:
    """Export or compose every item of a job, a line for each.

    Converters keep what they once allocated: a process that holds more than the job allows ends
    itself, and leaves what is not done to a fresh one.
    """
    environment.keep_memory()
    for number, entries in enumerate(_groups(job["items"])):
        for line in _done_together(entries, channel) or _done_alone(entries, channel):
            channel.send(line)
        if (environment.held_bytes() or 0) > job["most_bytes"]:
            return
        if not number:
            gc.collect()
            gc.freeze()
            gc.set_threshold(OBJECTS_PER_COLLECTION)


def _groups(entries: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """What is to be exported in one go."""
    for (together, _), run in itertools.groupby(entries, lambda e: (e["together"], e["format"])):
        alike, size = list(run), TOGETHER if together else 1
        yield from (alike[place : place + size] for place in range(0, len(alike), size))


def _done_together(
    entries: Sequence[Mapping[str, Any]], channel: Channel
) -> list[dict[str, Any]] | None:
    """The lines of items that are exported in one go; None where they cannot be.

    Whose fault it was if they could not, exporting them one by one will tell.
    """
    exporter = plugins.load("exporters", entries[0]["format"]["name"])
    if not entries[0]["together"] or not hasattr(exporter, "export_together"):
        return None
    try:
        built: list[tuple[Model | Graph, str]] = []
        begun_s = math.inf
        for entry in entries:
            channel.announce(entry["key"])
            built.append(_built(entry))
            channel.beat(len(built) / len(entries))
            # The first one waits for libraries.
            begun_s = min(begun_s, time.monotonic())
            if time.monotonic() - begun_s > SLOW_S:
                return None
        models = [m for m, _ in built if isinstance(m, Model)]
        wanted = from_json(Format, entries[0]["format"])
        outs = [_out(e) for e in entries]
        started = time.perf_counter_ns()
        exporter.export_together(models, outs, wanted)
        each_ns = (time.perf_counter_ns() - started) // len(entries)
        return [
            {"done": e["key"], "artifact": _described(e, *of, each_ns)}
            for e, of in zip(entries, built, strict=True)
        ]
    except KeyboardInterrupt:
        raise
    except BaseException:  # told below, of each alone
        return None


def _done_alone(entries: Iterable[Mapping[str, Any]], channel: Channel) -> Iterator[dict[str, Any]]:
    for entry in entries:
        channel.announce(entry["key"])
        try:
            artifact = _export(entry)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a builder may raise anything, SystemExit included
            kind, message = _describe(error)
            yield {"done": entry["key"], "failure": kind, "message": message[:2000]}
        else:
            yield {"done": entry["key"], "artifact": artifact}


def _describe(error: BaseException) -> tuple[str, str]:
    """The kind of a failure, and one sentence."""
    for kind, said in SAID_BY_US.items():
        if isinstance(error, said):
            return kind, str(error)
    if isinstance(error, MemoryError):
        return "out-of-memory", "memory ran out while the model was built or exported"
    if isinstance(error, SystemExit):
        return "exit", f"the builder called exit ({error.code})"
    chain = _causes(error)
    for cause in chain:
        if type(cause).__name__ == "GuardOnDataDependentSymNode":
            return "dynamic-control-flow", _data_dependent(str(cause))
    # torch wraps what went wrong in pages of advice; the innermost cause says it.
    return "error", one_line(chain[-1])


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what caused it, innermost last; an error may be its own cause."""
    chain = [error]
    while chain[-1].__cause__ is not None and chain[-1].__cause__ not in chain:
        chain.append(chain[-1].__cause__)
    return chain


def _data_dependent(said: str) -> str:
    """One sentence for a path that depends on values, with the line where torch found it."""
    found = re.findall(r'File "([^"]+)", line (\d+), in \w+\n\s*(.+)', said)
    place = f": {Path(found[-1][0]).name}, line {found[-1][1]}: {found[-1][2]}" if found else ""
    return f"the network's path depends on its input's values, which no static graph holds{place}"


def _export(entry: Mapping[str, Any]) -> dict[str, Any]:
    wanted, out = from_json(Format, entry["format"]), _out(entry)
    exporter = plugins.load("exporters", wanted.name)
    if entry["parts"]:
        started = time.perf_counter_ns()
        structure = exporter.compose([Path(p) for p in entry["parts"]], out)
        took_ns = time.perf_counter_ns() - started
        return _artifact(entry, structure, entry["model_parameters"], "", took_ns)
    built, reference = _built(entry)
    started = time.perf_counter_ns()
    if isinstance(built, Graph):
        exporter.adopt(built, out, wanted)
    else:
        exporter.export(built, out, wanted)
    return _described(entry, built, reference, time.perf_counter_ns() - started)


def _out(entry: Mapping[str, Any]) -> Path:
    exporter = plugins.load("exporters", entry["format"]["name"])
    return Path(entry["folder"]) / f"model{exporter.SUFFIX}"


def _built(entry: Mapping[str, Any]) -> tuple[Model | Graph, str]:
    """A model with weights of ours, and the file of what torch computes with it."""
    built = call_builder(entry["builder"], entry["parameters"])
    if isinstance(built, Graph):
        return built, ""
    if not entry["builder"].startswith(KEEPS_WEIGHTS):
        built.module.eval()
        randomize(built.module)
        settle(built)
    return built, _write_reference(built, Path(entry["folder"]) / "reference.npz")


def _described(
    entry: Mapping[str, Any], built: Model | Graph, reference: str, took_ns: int
) -> dict[str, Any]:
    """The artifact that was exported, with what the weights in it show. Raises FoldedAway."""
    structure = plugins.load("exporters", entry["format"]["name"]).structure(_out(entry))
    expected = structure.parameters
    if isinstance(built, Model):
        expected = _check_weights(built.module, structure.parameters)
    return _artifact(entry, structure, expected, reference, took_ns)


def _artifact(
    entry: Mapping[str, Any], structure: Structure, expected: int, reference: str, took_ns: int
) -> dict[str, Any]:
    out = _out(entry)
    files = sorted(p for p in out.parent.rglob("*") if p.is_file() and p.name != "reference.npz")
    artifact = Artifact(
        path=str(out),
        format=from_json(Format, entry["format"]),
        # The chains of a table are gigabytes, which nobody has to read for this.
        digest=entry["digest"] or _content_digest(out.parent, files),
        size_bytes=sum(f.stat().st_size for f in files),
        model_parameters=expected,
        structure=structure,
        exporter=plugins.load("exporters", entry["format"]["name"]).versions(),
        reference=reference,
        export_ns=took_ns,
    )
    return cast(dict[str, Any], to_json(artifact))


def _content_digest(folder: Path, files: list[Path]) -> str:
    state = hashlib.sha256()
    for file in files:
        state.update(str(file.relative_to(folder)).encode())
        with file.open("rb") as stream:
            while data := stream.read(1 << 20):
                state.update(data)
    return state.hexdigest()[:24]


def call_builder(builder: str, parameters: Mapping[str, Any]) -> Model | Graph:
    """What a builder, `package.module:function`, makes of its parameters. Raises BadModelFile."""
    module, _, function = builder.partition(":")
    found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise BadModelFile(f"{module} has no function {function!r}")
    shapes = {}
    if not builder.startswith("benchmarks."):
        parameters = dict(parameters)
        shapes = parameters.pop("shapes", {})
    return _as_model(found(**parameters), shapes)


def sequence(blocks: Sequence[Mapping[str, Any]]) -> Model:
    """Blocks, {builder, parameters} each, one after the other as a single model.

    Every tensor that a block gives is one that the next takes; the first block's inputs are the
    model's.
    """
    import torch

    built = [call_builder(b["builder"], b["parameters"]) for b in blocks]
    models = [b for b in built if isinstance(b, Model)]
    if len(models) < len(built):
        raise BadModelFile("a file cannot be a block of a sequence")

    class Chained(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = torch.nn.ModuleList(m.module for m in models)

        def forward(self, *flowing: Any) -> Any:
            for block in self.blocks:
                gives = block(*flowing)
                flowing = gives if isinstance(gives, tuple) else (gives,)
            return flowing if len(flowing) > 1 else flowing[0]

    return Model(Chained().eval(), models[0].inputs)


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
    1/sqrt(fan-in), gains 0.5 to 1.5, biases 0.1. Layer scales get 0.02 to 0.1, because a deep
    network would blow up otherwise.
    """
    import torch

    generator = torch.Generator().manual_seed(WEIGHT_SEED)
    parameters = {name for name, _ in module.named_parameters()}
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point():
                continue
            leaf = name.rpartition(".")[2]
            if name in parameters and _scales_a_branch(leaf, value):
                value.copy_(torch.rand(value.shape, generator=generator) * 0.08 + 0.02)
            elif leaf == "running_var" or (
                value.dim() < 2 and "bias" not in leaf and "mean" not in leaf
            ):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.dim() < 2:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
            elif name in parameters:
                scale = 1 / math.sqrt(max(1, value[0].numel()))
                value.copy_(torch.randn(value.shape, generator=generator) * scale)


def _scales_a_branch(leaf: str, value: Any) -> bool:
    """Whether a parameter is a layer scale (Touvron et al., arXiv 2103.17239): by its name, or
    because it has a number for each channel of a map."""
    return leaf.startswith(("gamma", "layer_scale")) or (value.dim() > 1 and value[0].numel() == 1)


def settle(model: Model) -> None:
    """Let batch normalisations bring what they read to a mean square of 1, over all channels.

    Without that activations grow from block to block until a softmax is 1 at one place and at all
    others a number so small that some processors take 15 times as long to multiply with it. Each
    channel's own mean and variance, as in training, would not do: over one random input many
    channels hardly vary, and what would bring those to 1 makes rounding errors grow from block to
    block as well (LeViT's outputs were 3 % off in float32).
    """
    import torch

    def read(module: Any, inputs: tuple[Any, ...]) -> None:
        if module.running_var is not None:
            module.running_var.fill_(max(SMALLEST_SQUARE, float(inputs[0].square().mean())))

    norms = [
        m for m in model.module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    ]
    handles = [m.register_forward_pre_hook(read) for m in norms]
    try:
        with torch.no_grad():
            if norms:
                model.module(*_feeds(model))
    finally:
        for handle in handles:
            handle.remove()


def _feeds(model: Model) -> list[Any]:
    """The inputs that the worker will make, as tensors."""
    import torch

    inputs = [
        (str(i), tuple(x.shape), str(x.dtype).removeprefix("torch."))
        for i, x in enumerate(model.inputs)
    ]
    feeds = random_feeds(inputs)
    return [torch.from_numpy(feeds[name]) for name, _, _ in inputs]


def _write_reference(model: Model, path: Path) -> str:
    """Torch's own outputs in float32 for the inputs that the worker will make."""
    import numpy
    import torch

    with torch.no_grad():
        outputs = model.module(*_feeds(model))
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
    total = int(sum(n for n, _ in sizes.values()))
    if kept < KEPT_SHARE * matrices:
        raise FoldedAway(
            f"the artifact holds {kept:,} weights, the model's matrices alone {matrices:,}: "
            "the exporter folded a part of the network away"
        )
    return total
