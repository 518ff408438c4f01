"""The command line: parse, call, turn errors into exit codes.

0: done. 1: a measured thing failed. 2: wrong usage. 130: interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import profiler
from profiler.errors import OpclockError
from profiler.grammar import breakdown, comparison, experiments, reports, single, tables

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
  opclock report compared.json breakdown.json v1.json -o report.html
  opclock demo -o demo.html

exit codes: 0 done, 1 a measured thing failed, 2 wrong usage, 130 interrupted.
A target is device/runtime:unit,precision,option=value; parts may be left out.
"""


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
    for grammar in (single, tables, comparison, experiments, breakdown, reports):
        grammar.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    options = parser().parse_args(arguments)
    options.typed = list(sys.argv[1:] if arguments is None else arguments)
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
