"""The demonstration: a small table, EfficientFormer-L1 predicted and measured, in minutes."""

from __future__ import annotations

from dataclasses import dataclass

from profiler import breakdown
from profiler.errors import WorkloadFailed
from profiler.spaces import Space
from profiler.tables import build
from profiler.tables import plan as planning
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


def around(space: Space) -> Space:
    """The space's networks that are at most as wide and deep as L1, of fewer widths."""
    largest = space.values(space.parse(NETWORK))
    bounds = {
        name: [v for v in values if v <= largest[name]] for name, values in space.fields.items()
    }
    for stage in (3, 4):
        name = f"widths{stage}"
        bounds[name] = bounds[name][::-2]
    for stage in range(1, 5):
        name = f"depths{stage}"
        bounds[name] = [v for v in bounds[name] if 2 * v >= largest[name]]
    return space.narrowed(bounds)


def demonstrate(bench: Bench) -> Demonstration:
    """Build the reduced table and compare it with timm's L1, all in the same rounds.

    Raises WorkloadFailed when L1 itself could not be measured.
    """
    space = bench.space
    grid = around(space)
    rows = planning.chosen(grid)
    wanted = build.plan(bench, rows, CLOSURE_NETWORKS, grid, [NETWORK], planning.SLOPE)
    table = build.build(bench, wanted)
    if not table.released:
        reasons = [f.message for f in bench.failures] or ["no rounds"]
        raise WorkloadFailed(f"EfficientFormer-L1 could not be measured: {reasons[0]}")
    blocks = space.rows(space.parse(NETWORK))
    parts = breakdown.by_block(
        table, wanted.real[NETWORK], bench.target, blocks, table.released[0].measured_ns
    )
    return Demonstration(table, table.predict(NETWORK, blocks), table.released[0], parts)
