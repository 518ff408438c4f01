"""`table page` and `table plot`: a table to look at."""

from __future__ import annotations

import argparse

from profiler.commands import DONE, probe
from profiler.store import write_whole
from profiler.tables import table
from profiler.tables.lint import lint
from reports import breakdown_plots, table_page, table_plots


def run_table_page(options: argparse.Namespace) -> int:
    """Write the page of a whole table."""
    out = options.output or options.table.with_suffix(".html")
    probe(out)
    loaded = table.load(options.table)
    html = table_page.render(loaded, lint(options.table), str(options.table))
    write_whole(out, lambda path: path.write_text(html, encoding="ascii"))
    print(f"{out}: {len(loaded.entries)} entries, {len(html):,} bytes")
    return DONE


def run_table_plot(options: argparse.Namespace) -> int:
    """Write a picture of a family's times over widths."""
    probe(options.output)
    breakdown_plots.check(options.output)
    loaded = table.load(options.table)
    panels = table_plots.draw(loaded, options.family, options.output)
    print(f"{options.output}: {panels} panel{'s' if panels != 1 else ''}")
    return DONE
