"""How many predictions a second a search gets, and what a large table costs to load.

    python -m benchmarks.predictions [--architectures N] [--entries N]

Entries are made up, nothing is measured but the time of our own arithmetic; a second is one of the
processor's, so that what else runs here does not count.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from profiler import environment, plugins
from profiler.spaces import Space
from profiler.tables.table import Entry, LatencyTable, Size, load, save

SPACES = ("efficientformer", "efficientformerv2")
# Different ones; they are repeated, since drawing takes far longer than predicting.
DRAWN = 5000


def made_up(space: str, keys: Iterable[str]) -> LatencyTable:
    """A table with an entry for each key, of random latency and size."""
    generator = random.Random(0)
    entries = {}
    for key in keys:
        ns = generator.randrange(10_000, 10_000_000)
        size = Size(*(generator.randrange(1, 10**8) for _ in range(4)))
        entries[key] = Entry(key, ns, ns - ns // 50, ns + ns // 50, "measured", 8, (), size)
    return LatencyTable(space, "host/none", {}, "none", "now", 5000, 1.0, entries)


def predictions_per_second(space: Space, count: int) -> float:
    """Architectures a second on one core, intervals and coverage included."""
    import numpy

    from profiler.tables.predictor import Predictor

    predictor = Predictor(made_up(space.name, space.keys), space)
    drawn = numpy.array(space.draw(random.Random(0), DRAWN))
    architectures = numpy.tile(drawn, (-(-count // DRAWN), 1))[:count]
    predictor.predict(drawn)
    started = time.process_time()
    predictor.predict(architectures)
    return count / (time.process_time() - started)


def report_loading(path: Path) -> None:
    """Load a table, and say what it took; this process has done nothing else."""
    started = time.process_time()
    table = load(path)
    took_s = time.process_time() - started
    held_bytes = environment.peak_bytes() or 0
    print(
        f"a table of {len(table.entries):,} entries, {path.stat().st_size / 1e6:.0f} MB: "
        f"loaded in {took_s:.2f} s, the process holds {held_bytes / 1e6:.0f} MB at most"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--architectures", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        report_loading(options.load)
        return
    # NumPy reads it when it is imported, further down.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for name in SPACES:
        space = plugins.load("benchmarks.spaces", name).SPACE
        rate = predictions_per_second(space, options.architectures)
        print(f"{name}: {rate:,.0f} predictions a second")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.table.json"
        keys = (f"ffn/{n % 97 + 1}/{n}-{n % 7 + 1}" for n in range(1, options.entries + 1))
        save(made_up("none", keys), path)
        # A process of its own: this one holds tables already.
        sys.stdout.flush()
        command = [sys.executable, "-m", "benchmarks.predictions", "--load", str(path)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
