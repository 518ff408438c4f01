"""`table` and its actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.grammar import (
    DEFAULT_TARGET,
    command,
    exchange,
    field_values,
    measuring,
    output,
    positive,
    reports,
    share,
)


def add(commands: Any) -> None:
    """Add `table`."""
    table = commands.add_parser("table", help="latency tables: build, show, predict, check")
    actions = table.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = command(
        actions,
        "build",
        "measure a space's blocks and check them against networks",
        "opclock table build efficientformer --on host/onnxruntime:threads=1 -o v1.json",
    )
    build.add_argument(
        "space",
        nargs="+",
        metavar="SPACE",
        help="see `opclock list spaces`, or your own file.py; several make a table each",
    )
    build.add_argument(
        "--on",
        nargs="+",
        default=[DEFAULT_TARGET],
        metavar="TARGET",
        help="where to measure; several make a table each",
    )
    rows = build.add_mutually_exclusive_group()
    rows.add_argument(
        "--every",
        type=positive,
        metavar="N",
        help="measure every N-th width of rows that repeat (1: all of them)",
    )
    rows.add_argument("--full", action="store_true", help="measure every row of the space")
    rows.add_argument(
        "--target",
        type=share,
        default=0.02,
        metavar="SHARE",
        help="measure rows until others are predicted so well, as in 2%% (the default)",
    )
    build.add_argument(
        "--estimator",
        choices=("scale", "families"),
        default="families",
        help="from the reference networks: one scale, or one for each family (default: families)",
    )
    build.add_argument(
        "--baselines", action="store_true", help="measure isolated blocks and operators beside"
    )
    build.add_argument(
        "--no-sizes", action="store_true", help="leave out parameters, multiply-adds and memory"
    )
    build.add_argument(
        "--grid",
        type=field_values,
        action="append",
        default=[],
        metavar="FIELD=VALUES",
        help="only these values of a field, as in widths1=48,64; rows and networks alike",
    )
    measuring(build, "networks of the closure (default: 16; 8 in at most 3 minutes)")
    output(build, "the table; the folder of several")
    show = command(actions, "show", "a table's head and entries", "opclock table show v1.json")
    show.add_argument("--family", default="", metavar="TEXT", help="entries that begin so: mb4d/14")
    output(show, "the result as JSON")
    predict = command(
        actions,
        "predict",
        "latencies from a table; nothing is measured",
        "opclock table predict v1.json --archs l1 48-96-224-448/3-2-6-4/1",
    )
    predict.add_argument("--interpolate", action="store_true", help="fill gaps between neighbours")
    predict.add_argument("--seed", type=int, default=0, metavar="N", help="of the random networks")
    predict.add_argument("--count", type=positive, metavar="N", help="random networks")
    output(predict, "the result as JSON")
    check = command(
        actions,
        "check",
        "measure networks and compare them with a table",
        "opclock table check v1.json --archs l1 l3 --seed 7 --count 20",
    )
    check.add_argument("--on", metavar="TARGET", help="default: the table's own")
    check.add_argument(
        "--force", action="store_true", help="check on another target, device or version too"
    )
    measuring(check, "random networks (default: 8 when none are named)")
    output(check, "the result as JSON")
    for one in (show, predict, check):
        one.add_argument("table", type=Path, metavar="TABLE", help="a table file")
    for one in (predict, check):
        one.add_argument(
            "--archs",
            nargs="+",
            default=[],
            metavar="ARCH",
            help="architectures by name or in writing, or a file with one a line",
        )
    exchange.add(actions)
    reports.add_table_actions(actions)
    for name, one in (("build", build), ("show", show), ("predict", predict), ("check", check)):
        one.set_defaults(run=f"profiler.commands.tables:run_table_{name}")
