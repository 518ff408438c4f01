"""What may stand on the command line of `table lint`, `diff`, `merge`, `export` and `import`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from profiler.grammar import command, output


def add(actions: Any) -> None:
    """Add all five."""
    lint = command(
        actions,
        "lint",
        "what is wrong with tables, line by line; exit code 1 when an entry must not be used",
        "opclock table lint v1.json",
    )
    lint.add_argument("tables", nargs="+", type=Path, metavar="TABLE", help="table files")
    output(lint, "the result as JSON")
    diff = command(
        actions,
        "diff",
        "how a table differs from an older one",
        "opclock table diff old.json v1.json",
    )
    for name in ("old", "new"):
        diff.add_argument(name, type=Path, metavar=name.upper(), help="a table file")
    diff.add_argument(
        "--rows", type=int, default=20, metavar="N", help="show the N largest moves (default: 20)"
    )
    output(diff, "the result as JSON")
    merge = command(
        actions,
        "merge",
        "one table from several of the same space, target, device and version",
        "opclock table merge monday.json tuesday.json -o v1.json",
    )
    merge.add_argument("tables", nargs="+", type=Path, metavar="TABLE", help="table files")
    merge.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the table")
    for name, parser in (("lint", lint), ("diff", diff), ("merge", merge)):
        _run(parser, name)
    _add_export_and_import(actions)


def _add_export_and_import(actions: Any) -> None:
    export = command(
        actions,
        "export",
        "write a table as others read it",
        "opclock table export v1.json --format once_for_all -o v1.yaml",
    )
    export.add_argument("table", type=Path, metavar="TABLE", help="a table file")
    bring = command(
        actions,
        "import",
        "read a table of others; its entries are marked as imported",
        "opclock table import note10.yaml --format once_for_all --space mobilenet "
        "--on note10/tflite -o note10.json",
    )
    bring.add_argument("file", type=Path, metavar="FILE", help="a file of that format")
    bring.add_argument("--space", required=True, metavar="SPACE", help="what its rows mean")
    bring.add_argument(
        "--on", required=True, metavar="TARGET", help="where it was measured: device/runtime:..."
    )
    for name, parser, what in (("export", export, "the file"), ("import", bring, "the table")):
        parser.add_argument(
            "--format",
            required=True,
            metavar="FORMAT",
            help="name:option=value, as in hw_nas_bench:metric=raspi4_latency; docs/TABLES.md",
        )
        parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=what)
        _run(parser, name)


def _run(parser: argparse.ArgumentParser, name: str) -> None:
    parser.set_defaults(run=f"profiler.commands.exchange:run_table_{name}")
