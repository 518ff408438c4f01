"""What may stand on the command line of `breakdown`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.grammar import DEFAULT_TARGET, budget, command, output, positive, shapes
from profiler.grammar.comparison import targets

GROUPINGS = ("operator", "category", "type", "module", "block", "stage")


def add(commands: Any) -> None:
    """Add the command."""
    breakdown = command(
        commands,
        "breakdown",
        "where a network's time goes: executed operators with the modules that they come from",
        "opclock breakdown efficientformer_l1 --on host/onnxruntime host/openvino --by block",
    )
    breakdown.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="timm name, module:function, .onnx, .pt2, or a .json that -o wrote",
    )
    breakdown.add_argument(
        "--on", nargs="+", type=targets, default=[[DEFAULT_TARGET]], metavar="TARGET", help="where"
    )
    breakdown.add_argument(
        "--by",
        choices=GROUPINGS,
        help="what a line of the table is (default: an operator; a module where two are compared)",
    )
    breakdown.add_argument(
        "--depth", type=positive, metavar="N", help="cut modules' paths to N names"
    )
    breakdown.add_argument(
        "--sort",
        choices=("time", "network", "category", "module"),
        default="time",
        help="order of the lines (default: the longest first)",
    )
    breakdown.add_argument("--top", type=positive, metavar="N", help="only the first N lines")
    breakdown.add_argument("--csv", type=Path, metavar="FILE", help="write all rows to FILE")
    breakdown.add_argument(
        "--trace", type=Path, metavar="FILE", help="write a timeline in Chrome's trace format"
    )
    breakdown.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw categories as bars: .png, .svg or .pdf"
    )
    breakdown.add_argument(
        "--sunburst", type=Path, metavar="FILE", help="draw modules in rings: .png, .svg or .pdf"
    )
    breakdown.add_argument(
        "--force", action="store_true", help="compare breakdowns of different machines too"
    )
    breakdown.add_argument(
        "--count",
        type=positive,
        metavar="N",
        help="measure and profile in N processes each (default: 3, or 5 where two are compared)",
    )
    breakdown.add_argument("--seed", type=int, default=0, metavar="N", help="of the order")
    breakdown.add_argument(
        "--limit",
        type=budget,
        default=120.0,
        metavar="TIME",
        help="end a process that shows no sign of life for so long (default: 2m)",
    )
    shapes(breakdown)
    output(breakdown, "the result as JSON")
