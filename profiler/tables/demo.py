"""The demonstration: a small table, EfficientFormer-L1 predicted and measured, in minutes."""

from __future__ import annotations

from dataclasses import dataclass

from profiler import breakdown
from profiler.errors import WorkloadFailed
from profiler.tables import build
from profiler.tables.networks import Bench
from profiler.tables.table import LatencyTable, Network, Prediction
from profiler.types import Breakdown

NETWORK = "l1"
CLOSURE_NETWORKS = 8


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A table, and one real network predicted from it, measured beside it and taken apart."""

    table: LatencyTable
    prediction: Prediction
    network: Network
    parts: Breakdown


def demonstrate(bench: Bench) -> Demonstration:
    """Build the reduced table and compare it with timm's L1, all in the same rounds.

    Raises WorkloadFailed when L1 itself could not be measured.
    """
    space = bench.space
    largest = space.parse(NETWORK)
    wanted = build.plan(
        space, bench.seed, CLOSURE_NETWORKS, space.reduced_grid(largest), largest, [NETWORK]
    )
    table, compared = build.build(bench, wanted)
    if NETWORK not in compared:
        reasons = [f.message for f in bench.failures] or ["no rounds"]
        raise WorkloadFailed(f"EfficientFormer-L1 could not be measured: {reasons[0]}")
    rows = space.rows(largest)
    parts = breakdown.by_block(
        table, wanted.real[NETWORK], bench.target, rows, compared[NETWORK].measured_ns
    )
    return Demonstration(table, table.predict(NETWORK, rows), compared[NETWORK], parts)
