"""Is a breakdown true? A part is taken out of a network, and the network is measured again.

    python -m benchmarks.removal [--on TARGET] [--store DIR] [CASE ...]

For each case: what the rows of the part sum to in a breakdown of the whole network, beside what
the network takes less when the part is not there (the networks with and without it share their
rounds; the breakdown has its own). Types of operators are ONNX Runtime's. Taken out are

- `norms`: the 25 layer normalisations of DeiT-S, in the ONNX graph: each becomes an identity, and
  the matrix behind it is scaled so that activations stay as large as they were,
- `transposes`: those of LeViT-256, in the ONNX graph: each becomes a reshape to the same shape,
  which moves nothing,
- `stem`: that of PoolFormer-S12; the network begins with its map of 64 x 56 x 56.

The outputs are other ones, the remaining operators are the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler.encoding import from_json
from profiler.statistics import interval, median
from profiler.types import Round
from profiler.worker import random_feeds

ROOT = Path(__file__).resolve().parent.parent
WITHIN = 0.15
ROUNDS = 12


def poolformer_without_stem() -> Any:
    """PoolFormer-S12 from its stem's output on, (1, 64, 56, 56)."""
    import torch
    from torch import nn

    from benchmarks.timm_library import timm

    network = timm().create_model("poolformer_s12", pretrained=False)
    network.stem = nn.Identity()
    return network, torch.randn(1, 64, 56, 56)


def without_norms(model: Any) -> None:
    """Let each layer normalisation of an ONNX graph hand on what it is given.

    The matrix behind it is divided by what it would have divided by: activations must stay as they
    are, because latency depends on them (with unchanged weights DeiT-S was 20 % slower on a Xeon).
    """
    from onnx import numpy_helper

    weights = {t.name: t for t in model.graph.initializer}
    norms = [n for n in model.graph.node if n.op_type == "LayerNormalization"]
    sizes = _sizes(model, [n.input[0] for n in norms])
    for node in norms:
        for reader in model.graph.node:
            if reader.op_type == "MatMul" and node.output[0] in reader.input:
                weight = weights[reader.input[1]]
                smaller = numpy_helper.to_array(weight) / sizes[node.input[0]]
                weight.CopyFrom(numpy_helper.from_array(smaller.astype("float32"), weight.name))
        node.op_type = "Identity"
        del node.attribute[:]
        del node.input[1:]


def _sizes(model: Any, tensors: Sequence[str]) -> dict[str, float]:
    """The root of the mean square of these tensors, for the inputs with which it is timed."""
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {v.name for v in model.graph.output}
    watched.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors) if name not in known
    )
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    inputs = [(i.name, tuple(i.shape), "float32") for i in session.get_inputs()]
    found = session.run(list(tensors), random_feeds(inputs))
    return {n: float((x**2).mean() ** 0.5) for n, x in zip(tensors, found, strict=True)}


def without_transposes(model: Any) -> None:
    """Let each transposition of an ONNX graph be a reshape to the shape of its output."""
    import numpy
    from onnx import numpy_helper, shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    known = [*inferred.value_info, *inferred.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in known}
    for number, node in enumerate(model.graph.node):
        if node.op_type == "Transpose":
            shape = numpy.array(shapes[node.output[0]], dtype=numpy.int64)
            name = f"untransposed{number}"
            model.graph.initializer.append(numpy_helper.from_array(shape, name))
            node.op_type = "Reshape"
            del node.attribute[:]
            node.input.append(name)


def _norms(row: dict[str, Any]) -> bool:
    return bool(row["category"] == "normalisation")


def _transposes(row: dict[str, Any]) -> bool:
    return bool(row["kind"] == "Transpose")


def _stem(row: dict[str, Any]) -> bool:
    return bool(row["module"].split(".")[0] == "stem")


@dataclass(frozen=True, slots=True)
class Case:
    """A network, the rows of the part, and the network without it: a name, or what is done to the
    ONNX graph."""

    network: str
    rows: Callable[[dict[str, Any]], bool]
    without: str | Callable[[Any], None]


CASES = {
    "norms": Case("deit_small_patch16_224", _norms, without_norms),
    "transposes": Case("levit_256", _transposes, without_transposes),
    "stem": Case("poolformer_s12", _stem, "benchmarks.removal:poolformer_without_stem"),
}


def opclock(*arguments: str, store: Path) -> Any:
    """A command's result. Raises CalledProcessError when it fails."""
    command = [sys.executable, str(ROOT / "profile.py"), *arguments, "--store", str(store)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout) if "--json" in arguments else None


def difference(record: Any) -> tuple[float, float, float]:
    """What the first network takes beyond the second, ns: middle and 95 % interval of rounds.

    Of a round it is the median over the passes, in each of which both were visited once.
    """
    whole, rest = (
        {r["process"]: from_json(Round, r).visits for r in m["rounds"] if not r["flags"]}
        for m in record["measurements"]
    )
    less = [
        median([median(a) - median(b) for a, b in zip(whole[p], rest[p], strict=True)])
        for p in sorted(whole.keys() & rest.keys())
    ]
    return (median(less), *interval(less))


def _pair(case: Case, place: Path, store: Path) -> tuple[str, str]:
    """The network and the one without the part, as `opclock measure` takes them."""
    import onnx

    if isinstance(case.without, str):
        return case.network, case.without
    whole, rest = place / "whole.onnx", place / "without.onnx"
    opclock("export", case.network, "--format", "onnx", "-o", str(whole), store=store)
    model = onnx.load(whole)
    case.without(model)
    onnx.save(model, rest)
    return str(whole), str(rest)


def report(name: str, on: str, store: Path) -> str:
    """A line: the part in the breakdown, and by its removal."""
    case = CASES[name]
    parts = opclock("breakdown", case.network, "--on", on, "--count", "8", "--json", store=store)
    (found,) = parts["breakdowns"]
    part_ns = sum(r["time_ns"] for r in found["rows"] if case.rows(r))
    with tempfile.TemporaryDirectory(prefix="opclock-removal-") as place:
        pair = _pair(case, Path(place), store)
        rounds = ("--again", "--count", str(ROUNDS))
        taken = opclock("measure", *pair, "--on", on, *rounds, "--json", store=store)
    removed, low, high = difference(taken)
    near = abs(part_ns / removed - 1) <= WITHIN
    inside = low <= part_ns <= high
    verdict = "within 15 %" if near else "within the interval" if inside else "NOT as removed"
    share = 100 * part_ns / found["total_ns"]
    return (
        f"{name:10s} of {case.network:24s} breakdown {part_ns / 1e6:7.3f} ms ({share:4.1f} %), "
        f"removal {removed / 1e6:7.3f} ms [{low / 1e6:.3f}, {high / 1e6:.3f}]: "
        f"{100 * (part_ns / removed - 1):+5.1f} %, {verdict}"
    )


def main() -> None:
    """Print a line for every case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--on", default="host/onnxruntime", metavar="TARGET")
    parser.add_argument("--store", type=Path, default=Path(".opclock"), metavar="DIR")
    options = parser.parse_args()
    for name in options.cases or CASES:
        if name not in CASES:
            parser.error(f"no case {name!r}; there are {', '.join(CASES)}")
        print(report(name, options.on, options.store.absolute()), flush=True)


if __name__ == "__main__":
    main()
