"""Build a table: export, compose, measure in shared rounds, estimate, close.

The chains of the table, a few reference networks that fix its scale, and the networks of the
closure, which take no part in it, share processes and shuffled rounds: processes drift by some
percent together, and nothing else would divide that out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import profiler
from profiler import devices, environment, plugins
from profiler.encoding import to_json
from profiler.errors import WorkloadFailed
from profiler.statistics import errors, median
from profiler.store import now
from profiler.tables import estimate, networks
from profiler.tables.estimate import Estimated, Polished, Term
from profiler.tables.interpolation import interpolate, margin
from profiler.tables.networks import Bench
from profiler.tables.table import Closure, Entry, LatencyTable, Network, interpolated
from profiler.types import Workload

REFERENCES = 5
CLOSURE_NETWORKS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build measures: chains for the entries, networks for scale and closure.

    `real` are networks that go through the exporter whole, measured beside the rest.
    """

    grid: Any
    references: tuple[Any, ...]
    closure: tuple[Any, ...]
    real: Mapping[str, Workload]


def plan(
    space: Any, seed: int, count: int, grid: Any, largest: Any = None, real: Sequence[str] = ()
) -> Plan:
    """Draw the reference and closure networks of a build. They never overlap."""
    drawn = space.draw(random.Random(seed), REFERENCES + count, largest)
    return Plan(
        grid,
        tuple(drawn[:REFERENCES]),
        tuple(drawn[REFERENCES:]),
        {name: space.network(name) for name in real},
    )


def build(bench: Bench, wanted: Plan) -> tuple[LatencyTable, dict[str, Network]]:
    """Build a table, and compare the plan's real networks with its predictions.

    Raises WorkloadFailed when too little could be measured to make a table.
    """
    space = bench.space
    chains = {networks.sequence_name(c.blocks): c for c in space.chains(wanted.grid)}
    wholes = {str(a): space.rows(a) for a in (*wanted.references, *wanted.closure)}
    every = {k for c in chains.values() for k in c.blocks} | {k for r in wholes.values() for k in r}
    blocks = networks.export_blocks(bench, every)
    sequences = {**{n: c.blocks for n, c in chains.items()}, **wholes}
    cold = {n for n, c in chains.items() if c.cold}
    items = networks.compose(bench, sequences, blocks, cold)
    items |= networks.real(bench, wanted.real)
    canary = next((items[str(a)] for a in wanted.references if str(a) in items), None)
    try:
        observed = networks.take_rounds(bench, list(items.values()), canary)
    finally:
        networks.tidy(bench)
    bench.on_stage("estimating")
    names = {i.key: n for n, i in items.items()}
    by_name = {names[k]: rounds for k, rounds in observed.items()}
    terms = estimate.determined(
        [Term(n, c.scaffold, c.counted) for n, c in chains.items() if n in by_name]
    )
    if not any(t.scaffold == "overhead" and not t.counted for t in terms):
        raise WorkloadFailed(_why(bench, "nothing was measured from which a table could be made"))
    table = _table(bench, wanted, by_name, terms)
    polished = estimate.polish(by_name)
    compared = {
        n: against(n, table.predict(n, space.rows(space.parse(n))).latency_ns, polished)
        for n in wanted.real
        if n in by_name
    }
    return table, compared


def _why(bench: Bench, what: str) -> str:
    first = bench.failures[0] if bench.failures else None
    return f"{what}; first failure: {first.workload.name}: {first.message}" if first else what


def _table(
    bench: Bench, wanted: Plan, observed: estimate.Observed, terms: Sequence[Term]
) -> LatencyTable:
    chains = {t.chain for t in terms}
    found = estimate.entries({c: r for c, r in observed.items() if c in chains}, terms, bench.seed)
    counted = {k for t in terms for k in t.counted}
    rounds = min(len(observed[t.chain]) for t in terms)
    held = {k: _entry(k, v, rounds) for k, v in found.items() if k in counted}
    held = fill(bench.space.keys(), held)
    polished = estimate.polish(observed)
    overhead = max(0, round(found["overhead"].ns))
    device = devices.device(bench.target.device)
    draft = LatencyTable(
        space=bench.space.__name__.rpartition(".")[2],
        target=str(bench.target),
        device=to_json(device),
        runtime_version=plugins.load("profiler.runtimes", bench.target.runtime).version(),
        created=now(),
        overhead_ns=overhead,
        scale=1.0,
        entries=held,
        provenance=_provenance(bench, polished, found),
    )
    return _closed(bench, wanted, draft, polished)


def _entry(key: str, value: Estimated, rounds: int) -> Entry:
    """A measured entry. Noise may exceed a tiny block: then it is 1 ns, its interval says why."""
    low, high = max(0, round(value.low_ns)), max(1, round(value.high_ns))
    return Entry(key, max(1, round(value.ns)), low, high, "measured", rounds)


def fill(keys: Sequence[str], held: Mapping[str, Entry]) -> dict[str, Entry]:
    """The measured entries and, between them, interpolated ones for the rest of the space."""
    known = {k: float(e.ns) for k, e in held.items()}
    whole = dict(held)
    for key in keys:
        if key in held:
            continue
        value = interpolate(key, known)
        if value is not None:
            whole[key] = interpolated(key, value, margin(key, known))
    return whole


def _closed(bench: Bench, wanted: Plan, draft: LatencyTable, polished: Polished) -> LatencyTable:
    """The table with its scale from the reference networks, and its closure."""
    space = bench.space

    def lines(table: LatencyTable, architectures: Sequence[Any]) -> list[Network]:
        names = [str(a) for a in architectures]
        pairs = [(n, space.rows(space.parse(n))) for n in names if n in polished.latency_ns]
        return [
            against(n, table.predict(n, rows).latency_ns, polished)
            for n, rows in pairs
            if all(k in table.entries for k in rows)
        ]

    ratios = [
        (n.measured_ns - draft.overhead_ns) / (n.predicted_ns - draft.overhead_ns)
        for n in lines(draft, wanted.references)
    ]
    facts = {f: getattr(draft, f) for f in LatencyTable.__dataclass_fields__}
    facts["scale"] = round(median(ratios), 6) if ratios else 1.0
    scaled = LatencyTable(**facts)
    facts["references"] = tuple(lines(scaled, wanted.references))
    facts["closure_networks"] = tuple(lines(scaled, wanted.closure))
    if facts["closure_networks"]:
        facts["closure"] = close(facts["closure_networks"], bench.seed)
    return LatencyTable(**facts)


def against(name: str, predicted_ns: float, polished: Polished) -> Network:
    """A network's measured latency beside a prediction."""
    measured = polished.latency_ns[name]
    return Network(
        architecture=name,
        predicted_ns=round(predicted_ns),
        measured_ns=round(measured),
        error_percent=round((predicted_ns / measured - 1) * 100, 3),
        repeatability_percent=round(polished.scatter[name] * 100, 3),
    )


def close(lines: Sequence[Network], seed: int) -> Closure:
    """The figures of a closure, from its networks."""
    figures = errors([n.predicted_ns for n in lines], [n.measured_ns for n in lines])
    squares = sum(n.error_percent**2 for n in lines) / len(lines)
    rho, tau = figures.spearman, figures.kendall
    return Closure(
        seed=seed,
        networks=len(lines),
        mape_percent=round(figures.mape_percent, 3),
        p95_percent=round(figures.p95_percent, 3),
        max_percent=round(figures.max_percent, 3),
        bias_percent=round(figures.bias_percent, 3),
        rms_percent=round(squares**0.5, 3),
        spearman=None if rho is None else round(rho, 4),
        kendall=None if tau is None else round(tau, 4),
        repeatability_percent=round(median([n.repeatability_percent for n in lines]), 3),
    )


def _provenance(bench: Bench, polished: Polished, found: Mapping[str, Estimated]) -> dict[str, Any]:
    speeds = sorted(polished.speed.values())
    return {
        "opclock": profiler.__version__,
        "method": "slopes and differences of composed chains; one scale from reference networks",
        "protocol": to_json(bench.protocol),
        "environment": environment.describe(),
        "seed": bench.seed,
        "processes": len(speeds),
        "process_speed_range": [round(speeds[0], 4), round(speeds[-1], 4)],
        "overhead_interval_ns": [round(found["overhead"].low_ns), round(found["overhead"].high_ns)],
        "failures": [f"{f.workload.name}: {f.kind}: {f.message}" for f in bench.failures],
    }
