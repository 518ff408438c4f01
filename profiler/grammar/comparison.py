"""What may stand on the command line of `compare` and `baseline`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from profiler.grammar import command, measuring, output, shapes


def targets(text: str) -> list[str]:
    """One or several targets from 'host/a:threads=2,host/b': a comma also separates their parts.

    What begins with a device and a slash begins a target.
    """
    found: list[str] = []
    for part in text.split(","):
        if found and not re.match(r"\s*[\w-]+/", part):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return [t.strip() for t in found]


def slower(text: str) -> float:
    """The share from 'slower:3%'."""
    match = re.fullmatch(r"slower:(\d+(?:\.\d+)?)%", text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not such as slower:3%")
    return float(match[1]) / 100


def add(commands: Any) -> None:
    """Add both commands."""
    compare = command(
        commands,
        "compare",
        "networks on several targets, in shared rounds, against one of the targets",
        "opclock compare mobilenetv2_100 levit_256 --on host/onnxruntime host/openvino",
    )
    _models_and_targets(compare)
    compare.add_argument(
        "--baseline", metavar="TARGET", help="one of the targets (default: the first)"
    )
    compare.add_argument(
        "--published", action="store_true", help="show what others published beside ours"
    )
    compare.add_argument("--csv", type=Path, metavar="FILE", help="write a row per cell to FILE")
    compare.add_argument("--markdown", type=Path, metavar="FILE", help="write tables to FILE")
    compare.add_argument("--plot", type=Path, metavar="FILE", help="draw a .png, .svg or .pdf")
    measuring(compare, "take exactly N rounds (default: until the intervals are narrow)")
    output(compare, "the result as JSON")
    baseline = commands.add_parser("baseline", help="comparisons that are kept: save, check")
    actions = baseline.add_subparsers(dest="action", metavar="ACTION", required=True)
    save = command(
        actions,
        "save",
        "measure and keep the result, to be checked against later",
        "opclock baseline save base.json mobilenetv2_100 --on host/onnxruntime",
    )
    save.add_argument("file", type=Path, metavar="FILE", help="where to keep it")
    _models_and_targets(save)
    measuring(save, "take exactly N rounds (default: until the intervals are narrow)")
    check = command(
        actions,
        "check",
        "measure anew what a baseline holds, and compare",
        "opclock baseline check base.json --fail-on slower:3%",
    )
    check.add_argument("file", type=Path, metavar="FILE", help="what `baseline save` wrote")
    check.add_argument("--force", action="store_true", help="check on another machine too")
    measuring(check, "take exactly N rounds (default: as many as the baseline's rules say)")
    output(check, "the result as JSON")
    for parser in (compare, check):
        parser.add_argument(
            "--fail-on",
            type=slower,
            metavar="slower:N%",
            help="exit code 1 when something is SLOWER, by at least N %%",
        )
    for name, parser in (("save", save), ("check", check)):
        parser.set_defaults(run=f"profiler.commands.baseline:run_baseline_{name}")


def _models_and_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="timm name, module:function, .onnx, .pt2, or an operator benchmark",
    )
    parser.add_argument(
        "--on", nargs="+", type=targets, required=True, metavar="TARGET", help="where to measure"
    )
    shapes(parser)
