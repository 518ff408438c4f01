"""`doctor`, `list`, `export`, `measure`, `inspect`, `agree`, `matrix` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.grammar import (
    DEFAULT_TARGET,
    command,
    export_limits,
    measuring,
    output,
    positive,
    shapes,
)


def add(commands: Any) -> None:
    """Add all of them."""
    _add_doctor_and_list(commands)
    _add_export_and_measure(commands)
    _add_inspect_and_matrix(commands)
    demo = command(
        commands,
        "demo",
        "a small table, EfficientFormer-L1 predicted and measured, one page",
        "opclock demo -o demo.html",
    )
    measuring(demo)
    demo.add_argument("--on", default=DEFAULT_TARGET, metavar="TARGET", help="where to measure")
    output(demo, "the page", default=Path("opclock-demo.html"))


def _add_doctor_and_list(commands: Any) -> None:
    output(
        command(
            commands,
            "doctor",
            "what this machine can run, and what would change what it cannot",
            "opclock doctor",
        ),
        "the result as JSON",
    )
    listing = command(
        commands, "list", "names of everything", "opclock list models --filter efficientformer"
    )
    listing.add_argument(
        "kind",
        nargs="?",
        choices=("models", "benchmarks", "blocks", "spaces", "targets", "formats"),
        help="one kind only (all but the models by default)",
    )
    listing.add_argument("--filter", default="", metavar="TEXT", help="only names with this text")
    output(listing, "the result as JSON")


def _add_inspect_and_matrix(commands: Any) -> None:
    inspect = command(
        commands,
        "inspect",
        "what artifacts hold: operators, weights, what was folded, what phones would make of it",
        "opclock inspect levit_256 --format onnx coreml litert",
    )
    inspect.add_argument(
        "things", nargs="+", metavar="THING", help="artifacts by file, or models by name"
    )
    inspect.add_argument(
        "--format", nargs="+", default=[], metavar="FORMAT", help="of models (default: onnx)"
    )
    inspect.add_argument("--batch", type=positive, default=1, metavar="N", help="of named models")
    export_limits(inspect)
    output(inspect, "the result as JSON")
    agree = command(
        commands,
        "agree",
        "our latency beside the one of the runtime's own tool, in turns",
        "opclock agree mobilenetv2_100 --on host/openvino host/litert",
    )
    agree.add_argument("models", nargs="+", metavar="MODEL", help="models by name")
    agree.add_argument("--on", nargs="+", default=[DEFAULT_TARGET], metavar="TARGET", help="where")
    agree.add_argument("--count", type=positive, default=3, metavar="N", help="turns (default: 3)")
    export_limits(agree)
    output(agree, "the result as JSON")
    matrix = command(
        commands,
        "matrix",
        "every network through every format and every runtime that runs here",
        "opclock matrix --csv support.csv -o SUPPORT.md",
    )
    matrix.add_argument(
        "networks", nargs="*", metavar="MODEL", help="default: the networks of the papers"
    )
    matrix.add_argument("--formats", nargs="+", metavar="FORMAT", help="default: all of them")
    matrix.add_argument(
        "--on", nargs="*", metavar="TARGET", help="where to measure (default: what runs here)"
    )
    matrix.add_argument("--csv", type=Path, metavar="FILE", help="write the cells to FILE")
    matrix.add_argument("--again", action="store_true", help="try anew what failed before")
    export_limits(matrix)
    output(matrix, "the matrix as Markdown")


def _add_export_and_measure(commands: Any) -> None:
    export = command(
        commands,
        "export",
        "write a model in a compiler's format",
        "opclock export efficientformer_l1 --format onnx -o l1.onnx",
    )
    export.add_argument("model", metavar="MODEL", help="timm name, module:function, .onnx, .pt2")
    export.add_argument(
        "--format",
        default="onnx",
        metavar="FORMAT",
        help="name:precision,option=value, as in onnx:fp16,opset=18 (default: onnx)",
    )
    export_limits(export)
    output(export, "the artifact")
    measure = command(
        commands,
        "measure",
        "the latency of models, compared with the first of them",
        "opclock measure mobilenetv2_100 efficientformer_l1 --on host/onnxruntime:threads=2",
    )
    measure.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="timm name, module:function, .onnx, .pt2, or an operator benchmark",
    )
    measure.add_argument("--on", default=DEFAULT_TARGET, metavar="TARGET", help="where to measure")
    measuring(measure, "take exactly N rounds (default: until the interval is narrow)")
    output(measure, "the result as JSON")
    for one in (export, measure):
        shapes(one)
