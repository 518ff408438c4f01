"""What an engine file holds.

An engine can be opened only on a GPU that it was built for. So the network that it was built from
is described beside it, in `<engine>.json`, with the engine's size and digest: nobody is told about
one engine what holds for another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporters._nvidia import MODULES, TITLES, gpu, load_library, log_of
from profiler.encoding import from_json, to_json
from profiler.environment import installed
from profiler.errors import BadModelFile
from profiler.types import Structure

# The first bytes of an engine, and who built it.
MAGIC = {b"vtrt": "rtx", b"ptrt": "tensorrt", b"ftrt": "tensorrt"}
HEADER_BYTES = 64
TYPES = {
    "FLOAT": "fp32",
    "HALF": "fp16",
    "BF16": "bf16",
    "FP8": "fp8",
    "FP4": "fp4",
    "INT4": "int4",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
NUMPY_TYPES = {"float32": "fp32", "float16": "fp16"}
# What these multiply does not follow from their shapes alone.
UNCOUNTED = {"PLUGIN", "PLUGIN_V2", "PLUGIN_V3", "LOOP_OUTPUT", "CONDITIONAL_OUTPUT"}
UNCOUNTED |= {"ATTENTION_OUTPUT", "MOE"}


def sidecar(engine: Path) -> Path:
    """The description beside an engine."""
    return engine.with_name(engine.name + ".json")


def write_sidecar(engine: Path, network: Structure, facts: Mapping[str, str]) -> None:
    """Describe an engine: the network that it was built from, and by whom for what (`facts`)."""
    described = {
        "size_bytes": engine.stat().st_size,
        "sha256": _digest(engine),
        **facts,
        "network": to_json(network),
    }
    sidecar(engine).write_text(json.dumps(described, indent=1) + "\n")


def read_sidecar(engine: Path) -> dict[str, Any] | None:
    """The description of this very engine; None when there is none, or one of another engine."""
    try:
        described: dict[str, Any] = json.loads(sidecar(engine).read_text())
        fits = described["sha256"] == _digest(engine)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return described if fits else None


def built_by(engine: Path) -> str:
    """Which library an engine belongs to. Raises BadModelFile when it is none, or cut short."""
    try:
        with engine.open("rb") as stream:
            head = stream.read(HEADER_BYTES)
    except OSError as error:
        raise BadModelFile(f"{engine}: {error.strerror or error}") from error
    library = MAGIC.get(head[:4])
    if library is None:
        raise BadModelFile(f"{engine} is not a TensorRT engine")
    size = engine.stat().st_size
    # TensorRT for RTX writes the whole length at byte 16; TensorRT's header is not documented.
    whole = int.from_bytes(head[16:24], "little") if library == "rtx" else _described_size(engine)
    if len(head) < HEADER_BYTES or (whole is not None and size < whole):
        raise BadModelFile(f"{engine} is cut short: {size} of {whole or '?'} bytes")
    return library


def structure(engine: Path) -> Structure:
    """What an engine holds, from its description and, on a GPU, from the engine itself.

    Raises BadModelFile when the file is not an engine, or truncated.
    """
    library = built_by(engine)
    described = read_sidecar(engine)
    inspected = _inspect(engine, library)
    compiled = [f"runs as {counted(inspected)}, read on this GPU"] if inspected else []
    if described is None:
        why = "describes another engine" if sidecar(engine).exists() else "is absent"
        note = f"{TITLES[library]} engine; {sidecar(engine).name}, which would describe it, {why}"
        return Structure(dict(Counter(inspected)), {}, notes=(note, *compiled))
    network: Structure = from_json(Structure, described["network"])
    if compiled:
        notes = tuple(n for n in network.notes if not n.startswith("compiled into"))
        network = dataclasses.replace(network, notes=(*notes, *compiled))
    return network


def counted(layers: Iterable[str]) -> str:
    """`5 layers: kgen 4, correlation 1`."""
    counts = Counter(layers)
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
    return f"{counts.total()} layers: {kinds}"


def compiled_layers(log: str) -> list[str]:
    """The kinds of the layers that the builder says it has compiled."""
    return re.findall(r"^Name: .*?, LayerType: (\w+)", log, flags=re.MULTILINE)


def of_network(trt: Any, network: Any) -> Structure:
    """Operators, weights and multiply-adds of a parsed network of static shapes."""
    operators: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    macs: int | None = 0
    for layer in map(network.get_layer, range(network.num_layers)):
        kind = layer.type.name
        _specialize(trt, layer)
        _count_weights(layer, weights)
        if kind != "CONSTANT":
            operators[kind] += 1
        macs = None if macs is None or kind in UNCOUNTED else macs + _macs(trt, layer)
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    return Structure(
        dict(operators),
        dict(weights),
        macs,
        tuple(map(_signature, inputs)),
        tuple(map(_signature, outputs)),
    )


def _specialize(trt: Any, layer: Any) -> None:
    """A layer comes as its base class; its own class has the attributes of its kind."""
    kinds = {
        "CONVOLUTION": "IConvolutionLayer",
        "DECONVOLUTION": "IDeconvolutionLayer",
        "MATRIX_MULTIPLY": "IMatrixMultiplyLayer",
        "EINSUM": "IEinsumLayer",
        "CONSTANT": "IConstantLayer",
        "SCALE": "IScaleLayer",
    }
    if layer.type.name in kinds:
        layer.__class__ = getattr(trt, kinds[layer.type.name])


def _signature(tensor: Any) -> str:
    kind = TYPES.get(tensor.dtype.name, tensor.dtype.name.lower())
    return f"{tensor.name}: {kind}[{','.join(map(str, tensor.shape))}]"


def _count_weights(layer: Any, counts: Counter[str]) -> None:
    held = {
        "CONVOLUTION": ("kernel", "bias"),
        "DECONVOLUTION": ("kernel", "bias"),
        "SCALE": ("shift", "scale", "power"),
        "CONSTANT": ("weights",),
    }
    # The parser's own constants, axes and shapes, have no name of the model's.
    if layer.name.startswith("(Unnamed Layer"):
        return
    for name in held.get(layer.type.name, ()):
        values = getattr(layer, name)
        if values is not None and values.size:
            # An array, or the library's own type where numpy has none (bf16).
            kind = getattr(values.dtype, "name", str(values.dtype))
            counts[NUMPY_TYPES.get(kind, TYPES.get(kind, kind))] += int(values.size)


def _macs(trt: Any, layer: Any) -> int:
    kind = layer.type.name
    if kind not in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM"):
        return 0
    shapes = [tuple(layer.get_input(number).shape) for number in range(layer.num_inputs)]
    result = tuple(layer.get_output(0).shape)
    if kind == "EINSUM":
        return _einsum_macs(layer.equation, shapes)
    if kind == "MATRIX_MULTIPLY":
        turned = layer.op0 == trt.MatrixOperation.TRANSPOSE
        return int(math.prod(result) * shapes[0][-2 if turned else -1])
    kernel = math.prod(layer.kernel_size_nd)
    if kind == "CONVOLUTION":
        return int(math.prod(result) * kernel * shapes[0][1] // layer.num_groups)
    return int(math.prod(shapes[0]) * kernel * result[1] // layer.num_groups)


def _einsum_macs(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """One multiply-add for every combination of indices; a single operand is not multiplied."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        sizes.update(zip(term, shape, strict=True))
    return math.prod(sizes.values()) if len(terms) > 1 else 0


def layer_information(trt: Any, engine: Any, context: Any = None) -> list[dict[str, Any]]:
    """The layers of a loaded engine as its inspector tells them (not run: it needs a GPU)."""
    inspector = engine.create_engine_inspector()
    if context is not None:
        inspector.execution_context = context
    told = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    # An engine built without detailed verbosity has bare names.
    return [one if isinstance(one, dict) else {"Name": one} for one in told["Layers"]]


def _inspect(engine: Path, library: str) -> list[str]:
    """The kinds of an engine's layers, where a GPU can load it (not run here)."""
    if gpu() is None or not installed(MODULES[library]):
        return []
    trt = load_library(library)
    loaded = trt.Runtime(log_of(library)).deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        return []
    return [one.get("LayerType", "unknown") for one in layer_information(trt, loaded)]


def _described_size(engine: Path) -> int | None:
    try:
        return int(json.loads(sidecar(engine).read_text())["size_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
