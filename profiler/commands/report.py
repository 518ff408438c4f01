"""`report`: what several commands found out, as one page."""

from __future__ import annotations

import argparse

from profiler.commands import DONE, probe
from profiler.store import write_whole
from reports import report, runs


def run_report(options: argparse.Namespace) -> int:
    """Read the runs and write their page."""
    probe(options.output)
    found = [runs.read(path) for path in options.runs]
    html = report.render(found, options.title, options.force)
    write_whole(options.output, lambda path: path.write_text(html, encoding="ascii"))
    print(f"{options.output}: {len(found)} runs, {len(html):,} bytes")
    return DONE
