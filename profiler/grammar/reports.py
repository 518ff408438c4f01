"""What may stand on the command line of `report`, `table page` and `table plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.grammar import command, output


def add(commands: Any) -> None:
    """Add `report`."""
    report = command(
        commands,
        "report",
        "one page from the JSON files that other commands wrote, and from tables",
        "opclock report compared.json breakdown.json v1.json -o report.html",
    )
    report.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="JSON of compare, baseline, breakdown, bench, observations, measure or table check "
        "(-o), or a table",
    )
    report.add_argument(
        "--force", action="store_true", help="put runs of different machines on one page, marked"
    )
    report.add_argument("--title", default="", metavar="TEXT", help="what stands above the page")
    output(report, "the page", default=Path("report.html"))


def add_table_actions(actions: Any) -> None:
    """Add `table page` and `table plot`."""
    page = command(
        actions,
        "page",
        "a table whole as one page: closure, time over width, entries, what is wrong",
        "opclock table page v1.json -o v1.html",
    )
    output(page, "the page")
    plot = command(
        actions,
        "plot",
        "time over width of a family as a picture",
        "opclock table plot v1.json --family mb4d/14 -o mb4d.pdf",
    )
    plot.add_argument(
        "--family", required=True, metavar="TEXT", help="families that begin so: mb4d/14"
    )
    plot.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .png, .svg or .pdf"
    )
    for name, one in (("page", page), ("plot", plot)):
        one.add_argument("table", type=Path, metavar="TABLE", help="a table file")
        one.set_defaults(run=f"profiler.commands.table_pages:run_table_{name}")
