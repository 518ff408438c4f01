"""How often is a verdict wrong? Networks compared with themselves, and with one that is 3 % slower.

    python -m benchmarks.verdicts [--pairs N] [--rounds N] [--on TARGET] [--store DIR]

One network has 33 equal blocks, the other 34: 3.0 % more, by what they are. Copies of both are
timed in shared rounds, as those of any comparison, and every copy takes part in one comparison
only. A wrong verdict is FASTER or SLOWER between copies of one network, and anything but SLOWER
for the longer one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from profiler import devices, exporting, formats, measure
from profiler.collection import Collection, Item
from profiler.errors import WorkloadFailed
from profiler.exporting import Request
from profiler.rounds import ratios
from profiler.statistics import Comparison, judge
from profiler.store import Store
from profiler.types import Artifact, Protocol, Target, Workload

BLOCKS = 33
# So many copies share their rounds.
TOGETHER = 12


def chain(blocks: int) -> Any:
    """Equal convolutions, each with weights of its own. Input (1, 32, 14, 14)."""
    import torch
    from torch import nn

    layers = [nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()) for _ in range(blocks)]
    return nn.Sequential(*layers), torch.randn(1, 32, 14, 14)


def artifacts(store: Store, target: Target) -> list[tuple[Workload, Artifact]]:
    """The network and the longer one. Raises WorkloadFailed when one cannot be made."""
    wanted = [
        Workload("benchmarks.verdicts:chain", {"blocks": n}, f"{n} blocks")
        for n in (BLOCKS, BLOCKS + 1)
    ]
    requests = {w.key: Request(w, formats.executed_by(target)) for w in wanted}
    built = exporting.build(store, requests, lambda *_: None, lambda: None, limit_s=600, hands=1)
    made = []
    for workload in wanted:
        result = built[workload.key]
        if not isinstance(result, Artifact):
            raise WorkloadFailed(f"{workload.name}: {result.message}")
        made.append((workload, result))
    return made


def batch(
    store: Store, target: Target, protocol: Protocol, first: int, copies: int, seed: int
) -> list[tuple[str, Comparison]]:
    """Comparisons of so many copies of each kind, in shared rounds: like with like, and unlike."""
    (short, short_file), (long, long_file) = artifacts(store, target)

    def item(workload: Workload, artifact: Artifact, number: int) -> Item:
        return Item.of(workload, artifact, target, protocol, replica=first + number)

    # Three short ones for a long one: two are a pair, the third stands beside the long one.
    shorts = [item(short, short_file, n) for n in range(3 * copies)]
    longs = [item(long, long_file, n) for n in range(copies)]
    run = Collection(store, target, protocol, [*shorts, *longs], None, seed=seed)
    measure.collect(run)

    def verdict(one: Item, other: Item) -> Comparison:
        first, second = (measure.measurement(store, i, target, protocol) for i in (one, other))
        return judge(ratios(first, second) if first and second else [])

    found = []
    for number in range(copies):
        one, two, three = shorts[3 * number : 3 * number + 3]
        found.append(("itself", verdict(one, two)))
        found.append(("3 % slower", verdict(three, longs[number])))
    return found


def main() -> None:
    """Print how often each verdict was given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=100, metavar="N", help="of each kind")
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="of each batch")
    parser.add_argument("--on", default="host/onnxruntime", metavar="TARGET")
    parser.add_argument("--store", type=Path, default=Path(".opclock"), metavar="DIR")
    options = parser.parse_args()
    target = devices.target(options.on)
    protocol = Protocol(min_rounds=options.rounds, max_rounds=options.rounds)
    counts: Counter[tuple[str, str]] = Counter()
    seen: dict[str, list[float]] = {}
    with Store(options.store) as store:
        for start in range(0, options.pairs, TOGETHER):
            copies = min(TOGETHER, options.pairs - start)
            for kind, found in batch(store, target, protocol, 1000 + 3 * start, copies, start):
                counts[kind, found.verdict] += 1
                seen.setdefault(kind, []).append(found.ratio)
            for kind, values in seen.items():
                said = {v: n for (k, v), n in sorted(counts.items()) if k == kind}
                low, high = min(values), max(values)
                print(f"{kind}: {len(values)} pairs, {said}, ratios {low:.4f} to {high:.4f}")
            print(flush=True)


if __name__ == "__main__":
    main()
