"""Static int8 for ONNX: ONNX Runtime's own quantiser, QDQ form, weights per channel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profiler.errors import BadModelFile, MissingPackage

INSTALL = "pip install onnxruntime==1.31.1"
RANDOM_BATCHES = 4
# Their weights are scales that are reshaped first, which the quantiser does not see through.
LEFT_IN_FLOAT = ("InstanceNormalization", "LayerNormalization")


def quantize(path: Path, calibration: str) -> None:
    """Quantise a float32 file in place.

    `calibration` is "random" (normal inputs of a fixed seed: good for a latency, not for an
    accuracy) or an .npz file with one array per input, whose first axis counts the batches.
    """
    try:
        import onnx
        from onnxruntime import quantization as q
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingPackage(f"int8 needs ONNX Runtime's quantiser: {INSTALL}") from error
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        prepared, done = Path(name, "prepared.onnx"), Path(name, "int8.onnx")
        # Symbolic inference adds nothing to static shapes, and fails on newer opsets.
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        q.quantize_static(
            str(prepared),
            str(done),
            _reader(prepared, calibration),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QInt8,
            weight_type=q.QuantType.QInt8,
            op_types_to_quantize=_operators_to_quantize(),
        )
        onnx.save_model(onnx.shape_inference.infer_shapes(onnx.load(str(done))), str(path))


def _operators_to_quantize() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    known = {*QDQRegistry, *QLinearOpsRegistry}
    return sorted(known - set(LEFT_IN_FLOAT))


def _reader(path: Path, calibration: str) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = _random(path) if calibration == "random" else _given(path, calibration)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._batches, None)

    return Reader()


def _inputs(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    known = {t.name for t in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name not in known:
            kind = value.type.tensor_type
            sizes = tuple(d.dim_value for d in kind.shape.dim)
            found[value.name] = (sizes, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name)
    return found


def _random(path: Path) -> Iterator[dict[str, Any]]:
    import numpy

    generator = numpy.random.default_rng(1)
    for _ in range(RANDOM_BATCHES):
        yield {
            name: generator.standard_normal(sizes).astype(kind)
            if kind.startswith("float")
            else generator.integers(0, 8, sizes).astype(kind)
            for name, (sizes, kind) in _inputs(path).items()
        }


def _given(path: Path, calibration: str) -> Iterator[dict[str, Any]]:
    import numpy

    wanted = _inputs(path)
    try:
        with numpy.load(calibration, allow_pickle=False) as file:
            arrays = {name: file[name] for name in wanted}
    except (OSError, ValueError, KeyError) as error:
        raise BadModelFile(
            f"calibration file {calibration}: {error}; it needs an array for each of "
            f"{', '.join(wanted)}"
        ) from error
    for name, (sizes, _) in wanted.items():
        if arrays[name].shape[1:] != sizes:
            raise BadModelFile(
                f"calibration file {calibration}: {name} has shape {arrays[name].shape}, "
                f"not (batches, {', '.join(map(str, sizes))})"
            )
    for number in range(min(len(a) for a in arrays.values())):
        yield {n: arrays[n][number].astype(kind) for n, (_, kind) in wanted.items()}
