"""The command line: parse, call, turn errors into exit codes.

0: done. 1: a measured thing failed. 2: wrong usage. 130: interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import profiler
from profiler import (
    breakdown_grammar,
    comparison_grammar,
    exchange_grammar,
    experiment_grammar,
)
from profiler.errors import OpclockError

DEFAULT_TARGET = "host/onnxruntime"
# Which file of profiler/commands holds a command, where it has another name.
ROOMS = {"doctor": "examine", "list": "examine", "export": "measuring", "measure": "measuring"}
EPILOG = """\
examples:
  opclock doctor
  opclock measure mobilenetv2_100 --on host/onnxruntime:cpu,fp32,threads=1
  opclock measure mynets:build_a mynets:build_b --json
  opclock measure model.onnx --shape input=1,3,224,224
  opclock measure mobilenetv2_100 --on host/openvino:fp32
  opclock inspect levit_256 --format onnx coreml litert
  opclock table build efficientformer -o v1.json
  opclock table predict v1.json --archs l1 64-128-320-512/4-4-12-6/4
  opclock table check v1.json --archs l1 l3 --seed 7 --count 20
  opclock breakdown efficientformer_l1 --by category --plot l1.png
  opclock bench activation --on host/onnxruntime host/openvino
  opclock observations --on host/onnxruntime
  opclock demo -o demo.html

exit codes: 0 done, 1 a measured thing failed, 2 wrong usage, 130 interrupted.
A target is device/runtime:unit,precision,option=value; parts may be left out.
"""


def default_store() -> Path:
    """Where measurements are kept unless --store says otherwise."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return Path(data) / "opclock"


def budget(text: str) -> float:
    """Seconds from '90', '90s', '10m' or '1.5h'."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text.strip())
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 10m or 1h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """An input's name and its whole shape, from 'input=1,3,224,224'."""
    name, _, numbers = text.partition("=")
    try:
        sizes = tuple(int(n) for n in numbers.split(","))
    except ValueError:
        sizes = ()
    if not name or not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as input=1,3,224,224")
    return name, sizes


def memory(text: str) -> int:
    """Bytes from '800M' or '8G'."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([MG])", text.strip())
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 800M or 8G")
    return int(float(match[1]) * {"M": 1e6, "G": 1e9}[match[2]])


def field_values(text: str) -> tuple[str, list[float]]:
    """A field of a space and some of its values, from 'widths1=48,64'."""
    name, _, numbers = text.partition("=")
    try:
        values = [float(n) for n in numbers.split(",")]
    except ValueError:
        values = []
    if not name or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is not a field's values such as widths1=48,64")
    return name, values


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    top = argparse.ArgumentParser(
        prog="opclock",
        description="How long a network takes on a device with a compiler, and why.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"opclock {profiler.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_doctor_and_list(commands)
    _add_export_and_measure(commands)
    _add_inspect_and_matrix(commands)
    _add_table(commands)
    comparison_grammar.add(commands, _command, _measuring, _shapes, _output)
    experiment_grammar.add(commands, _command, _measuring, _output, DEFAULT_TARGET)
    breakdown_grammar.add(
        commands, _command, _shapes, _output, positive, budget, DEFAULT_TARGET
    )
    demo = _command(
        commands,
        "demo",
        "a small table, EfficientFormer-L1 predicted and measured, one page",
        "opclock demo -o demo.html",
    )
    _measuring(demo)
    demo.add_argument("--on", default=DEFAULT_TARGET, metavar="TARGET", help="where to measure")
    _output(demo, "the page", default=Path("opclock-demo.html"))
    return top


def _command(commands: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=f"profiler.commands.{ROOMS.get(name, name)}:run_{name}")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument(
        "--store",
        type=Path,
        default=default_store(),
        metavar="DIR",
        help="where measurements are kept (default: %(default)s)",
    )
    return command


def _output(command: argparse.ArgumentParser, what: str, default: Path | None = None) -> None:
    command.add_argument(
        "-o", "--output", type=Path, default=default, metavar="FILE", help=f"write {what} to FILE"
    )


def _measuring(command: argparse.ArgumentParser, count: str = "") -> None:
    """Flags of all commands that measure."""
    command.add_argument(
        "--again", action="store_true", help="measure anew what the store holds already"
    )
    command.add_argument(
        "--budget", type=budget, metavar="TIME", help="stop taking rounds after 90s, 10m, 1h"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is random")
    command.add_argument(
        "--limit",
        type=budget,
        default=120.0,
        metavar="TIME",
        help="end a workload that shows no sign of life for so long (default: 2m)",
    )
    if count:
        command.add_argument("--count", type=positive, metavar="N", help=count)


def _add_doctor_and_list(commands: Any) -> None:
    _output(
        _command(
            commands,
            "doctor",
            "what this machine can run, and what would change what it cannot",
            "opclock doctor",
        ),
        "the result as JSON",
    )
    listing = _command(
        commands, "list", "names of everything", "opclock list models --filter efficientformer"
    )
    listing.add_argument(
        "kind",
        nargs="?",
        choices=("models", "benchmarks", "blocks", "spaces", "targets", "formats"),
        help="one kind only (all but the models by default)",
    )
    listing.add_argument("--filter", default="", metavar="TEXT", help="only names with this text")
    _output(listing, "the result as JSON")


def _export_limits(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--limit",
        type=budget,
        default=600.0,
        metavar="TIME",
        help="end an export that takes longer (default: 10m)",
    )
    command.add_argument(
        "--memory",
        type=memory,
        metavar="SIZE",
        help="end an export that takes more, as in 8G (default: 80 %% of the machine, shared)",
    )


def _add_inspect_and_matrix(commands: Any) -> None:
    inspect = _command(
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
    _export_limits(inspect)
    _output(inspect, "the result as JSON")
    agree = _command(
        commands,
        "agree",
        "our latency beside the one of the runtime's own tool, in turns",
        "opclock agree mobilenetv2_100 --on host/openvino host/litert",
    )
    agree.add_argument("models", nargs="+", metavar="MODEL", help="models by name")
    agree.add_argument("--on", nargs="+", default=[DEFAULT_TARGET], metavar="TARGET", help="where")
    agree.add_argument("--count", type=positive, default=3, metavar="N", help="turns (default: 3)")
    _export_limits(agree)
    _output(agree, "the result as JSON")
    matrix = _command(
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
    _export_limits(matrix)
    _output(matrix, "the matrix as Markdown")


def _add_export_and_measure(commands: Any) -> None:
    export = _command(
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
    _export_limits(export)
    _output(export, "the artifact")
    measure = _command(
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
    _measuring(measure, "take exactly N rounds (default: until the interval is narrow)")
    _output(measure, "the result as JSON")
    for command in (export, measure):
        _shapes(command)


def _shapes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--batch", type=positive, default=1, metavar="N", help="of timm models")
    command.add_argument(
        "--shape",
        type=shape,
        action="append",
        default=[],
        metavar="NAME=SHAPE",
        help="fix an input's dynamic shape, as in input=1,3,224,224",
    )


def _add_table(commands: Any) -> None:
    table = commands.add_parser("table", help="latency tables: build, show, predict, check")
    actions = table.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = _command(
        actions,
        "build",
        "measure a space's blocks and check them against networks",
        "opclock table build efficientformer --on host/onnxruntime:threads=1 -o v1.json",
    )
    build.add_argument(
        "space", metavar="SPACE", help="see `opclock list spaces`, or your own file.py"
    )
    build.add_argument("--on", default=DEFAULT_TARGET, metavar="TARGET", help="where to measure")
    build.add_argument(
        "--every",
        type=positive,
        default=1,
        metavar="N",
        help="measure every N-th width, interpolate between (default: 1)",
    )
    build.add_argument(
        "--estimator",
        choices=("scale", "families"),
        default="scale",
        help="from the reference networks: one scale, or one for each family (default: scale)",
    )
    build.add_argument(
        "--baselines", action="store_true", help="measure isolated blocks and operators beside"
    )
    build.add_argument(
        "--grid",
        type=field_values,
        action="append",
        default=[],
        metavar="FIELD=VALUES",
        help="only these values of a field, as in widths1=48,64; rows and networks alike",
    )
    _measuring(build, "networks of the closure (default: 16)")
    _output(build, "the table")
    show = _command(actions, "show", "a table's head and entries", "opclock table show v1.json")
    show.add_argument("--family", default="", metavar="TEXT", help="entries that begin so: mb4d/14")
    _output(show, "the result as JSON")
    predict = _command(
        actions,
        "predict",
        "latencies from a table; nothing is measured",
        "opclock table predict v1.json --archs l1 48-96-224-448/3-2-6-4/1",
    )
    predict.add_argument("--interpolate", action="store_true", help="fill gaps between neighbours")
    predict.add_argument("--seed", type=int, default=0, metavar="N", help="of the random networks")
    predict.add_argument("--count", type=positive, metavar="N", help="random networks")
    _output(predict, "the result as JSON")
    check = _command(
        actions,
        "check",
        "measure networks and compare them with a table",
        "opclock table check v1.json --archs l1 l3 --seed 7 --count 20",
    )
    check.add_argument("--on", metavar="TARGET", help="default: the table's own")
    check.add_argument(
        "--force", action="store_true", help="check on another target, device or version too"
    )
    _measuring(check, "random networks (default: 8 when none are named)")
    _output(check, "the result as JSON")
    for command in (show, predict, check):
        command.add_argument("table", type=Path, metavar="TABLE", help="a table file")
    for command in (predict, check):
        command.add_argument(
            "--archs",
            nargs="+",
            default=[],
            metavar="ARCH",
            help="architectures by name or in writing, or a file with one a line",
        )
    exchange_grammar.add(actions, _command, _output)
    for name, command in (("build", build), ("show", show), ("predict", predict), ("check", check)):
        command.set_defaults(run=f"profiler.commands.tables:run_table_{name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    options = parser().parse_args(arguments)
    # Loaded only now: --help must not wait for it.
    module, _, function = options.run.partition(":")

    try:
        return int(getattr(importlib.import_module(module), function)(options))
    except OpclockError as error:
        print(f"opclock: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has had enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        again = " without --again" if getattr(options, "again", False) else ""
        print(
            f"\nopclock: interrupted; every finished round is kept in {options.store}. "
            f"The same command{again} goes on from there.",
            file=sys.stderr,
        )
        return 130
