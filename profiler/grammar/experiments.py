"""What may stand on the command line of `bench` and `observations`."""

from __future__ import annotations

import argparse
from typing import Any

from profiler.grammar import DEFAULT_TARGET, command, measuring, output


def axis(text: str) -> tuple[str, list[str]]:
    """An axis' name and its values, from 'channels=64,128,256'."""
    name, _, written = text.partition("=")
    values = [v.strip() for v in written.split(",")]
    if not name.isidentifier() or not all(values):
        raise argparse.ArgumentTypeError(f"{text!r} is not such as channels=64,128,256")
    return name, values


def add(commands: Any) -> None:
    """Add both commands."""
    bench = command(
        commands,
        "bench",
        "alternatives of an operator, each by what it costs inside a network",
        "opclock bench activation --on host/onnxruntime host/openvino --axis channels=64,128",
    )
    bench.add_argument("name", metavar="NAME", help="see `opclock list benchmarks`")
    bench.add_argument(
        "--axis",
        type=axis,
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="other values of an axis, as in channels=64,128,256",
    )
    bench.add_argument(
        "--no-roofline", action="store_true", help="leave out the machine's peak and bandwidth"
    )
    observations = command(
        commands,
        "observations",
        "the four observations of EfficientFormer on your targets: confirmed or refuted",
        "opclock observations --on host/onnxruntime host/openvino",
    )
    for one in (bench, observations):
        one.add_argument(
            "--on", nargs="+", default=[DEFAULT_TARGET], metavar="TARGET", help="where"
        )
        measuring(one, "take exactly N rounds (default: 12)")
        output(one, "the result as JSON")
