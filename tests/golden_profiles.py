"""What each runtime's profiler itself gives, taken down for the golden files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from profiler.runtimes import _litert_profile, _openvino_profile
from profiler.types import Target

WARMUP, RUNS = 1, 2


def onnxruntime(path: str, target: Target, example: Any) -> dict[str, Any]:
    """The trace as it is, and the optimised graph's nodes."""
    import onnx
    from onnxruntime import InferenceSession

    from profiler.runtimes import onnxruntime as runtime

    options = runtime.session_options(target)
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        options.optimized_model_filepath = f"{folder}/optimised.onnx"
        session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(WARMUP + RUNS):
            session.run(None, {session.get_inputs()[0].name: example})
        trace = Path(session.end_profiling()).read_text()
        nodes = onnx.load(f"{folder}/optimised.onnx").graph.node
    told = [{"name": n.name, "op_type": n.op_type, "input": list(n.input)} for n in nodes]
    for entry, node in zip(told, nodes, strict=True):
        entry["output"] = list(node.output)
    return {"trace": trace, "nodes": told}


def openvino(path: str, target: Target, example: Any) -> dict[str, Any]:
    """Two readings of the counters, and the runtime model's nodes."""
    from profiler.runtimes import openvino as runtime

    session = runtime.Session(path, target, counters=True)
    call = session.bind({session.inputs[0][0]: example})
    readings = []
    for runs in (WARMUP, RUNS):
        for _ in range(runs):
            call()
        readings.append(_openvino_profile.counters(session.request))
    graph = _openvino_profile.read_graph(session.compiled.get_runtime_model())
    return {"nodes": graph, "readings": [{n: list(v) for n, v in r.items()} for r in readings]}


def executorch(path: str, target: Target, example: Any) -> dict[str, Any]:
    """The events of every inference, as ExecuTorch's own reader gives them."""
    import torch
    from executorch.devtools.etdump.serialize import deserialize_from_etdump_flatcc

    from profiler.runtimes import executorch as runtime

    module = runtime._engine()._load_for_executorch(path, enable_etdump=True)
    for _ in range(WARMUP + RUNS):
        module.forward([torch.from_numpy(example)], clone_outputs=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.etdp")
        module.write_etdump_result_to_file(str(file), str(Path(folder, "debug.bin")))
        dumped = deserialize_from_etdump_flatcc(file.read_bytes())
    fields = ("name", "instruction_id", "delegate_debug_id_str", "start_time", "end_time")
    return {
        "runs": [
            [
                {f: getattr(e.profile_event, f) for f in fields}
                for e in run.events
                if e.profile_event
            ]
            for run in dumped.run_data
        ]
    }


def litert(path: str, target: Target, example: Any) -> dict[str, Any]:
    """The events of every inference."""
    model = _litert_profile.Model(path, int(target.options["threads"]))
    model.write([example])
    model.run()
    return {"runs": [model.record()[1] for _ in range(RUNS)]}
