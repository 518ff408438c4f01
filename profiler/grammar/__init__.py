"""What may stand on the command line: the flags and readers that commands share.

Each file of this package adds some commands with `add(commands)`.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

DEFAULT_TARGET = "host/onnxruntime"
# Which file of profiler/commands holds a command, where it has another name.
ROOMS = {"doctor": "examine", "list": "examine", "export": "measuring", "measure": "measuring"}


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


def share(text: str) -> float:
    """A share from '2%' or '0.02'."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = 0.0
    if rest or not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 2% or 0.02")
    return value


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def command(commands: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    """A command with what all have: help with an example, --json, --store."""
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=f"profiler.commands.{ROOMS.get(name, name)}:run_{name}")
    made.add_argument("--json", action="store_true", help="print the result as JSON")
    made.add_argument(
        "--store",
        type=Path,
        default=default_store(),
        metavar="DIR",
        help="where measurements are kept (default: %(default)s)",
    )
    return made


def output(command: argparse.ArgumentParser, what: str, default: Path | None = None) -> None:
    """Add -o."""
    command.add_argument(
        "-o", "--output", type=Path, default=default, metavar="FILE", help=f"write {what} to FILE"
    )


def measuring(command: argparse.ArgumentParser, count: str = "") -> None:
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


def export_limits(command: argparse.ArgumentParser) -> None:
    """Add limits of commands that export and do not measure."""
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


def shapes(command: argparse.ArgumentParser) -> None:
    """Add what fixes the shapes of models."""
    command.add_argument("--batch", type=positive, default=1, metavar="N", help="of timm models")
    command.add_argument(
        "--shape",
        type=shape,
        action="append",
        default=[],
        metavar="NAME=SHAPE",
        help="fix an input's dynamic shape, as in input=1,3,224,224",
    )
