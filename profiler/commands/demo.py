"""`demo`: the whole of it in a few minutes."""

from __future__ import annotations

import argparse
import json

from profiler.commands import DONE, open_bench, open_store, print_failures, probe
from profiler.commands.tables import closure_line, summary_of
from profiler.encoding import to_json
from profiler.progress import Display
from profiler.store import write_whole
from profiler.tables import demo
from reports import page
from reports.text import latency


def run_demo(options: argparse.Namespace) -> int:
    """Build a small table, predict and measure EfficientFormer-L1, write the page."""
    probe(options.output)
    with open_store(options) as store, Display() as display:
        bench = open_bench(options, store, display, "efficientformer", options.on)
        shown = demo.demonstrate(bench)
    html = page.render(shown)
    write_whole(options.output, lambda path: path.write_text(html, encoding="utf-8"))
    network = shown.network
    text = "\n".join(
        [
            f"EfficientFormer-L1 on {shown.table.target}",
            f"  predicted {latency(network.predicted_ns)}, "
            f"measured {latency(network.measured_ns)}: {network.error_percent:+.2f} % apart",
            f"  {closure_line(to_json(shown.table.closure))}" if shown.table.closure else "",
            f"  the page: {options.output}",
        ]
    )
    record = {
        "page": str(options.output),
        "network": network,
        "prediction": shown.prediction,
        "breakdown": shown.parts,
        "table": summary_of(shown.table),
        "failures": bench.failures,
    }
    print(json.dumps(to_json(record), indent=1) if options.json else text)
    return print_failures(bench.failures) if bench.failures else DONE
