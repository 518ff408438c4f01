"""Build a table: export, compose, measure in shared rounds, estimate, close.

The chains of the table, a few reference networks that fix its scale, and the networks of the
closure, which take no part in it, share processes and shuffled rounds: processes drift by some
percent together, and nothing else would divide that out.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import profiler
from profiler import devices, drift, environment, plugins
from profiler.encoding import to_json
from profiler.errors import WorkloadFailed
from profiler.spaces import Architecture, Space
from profiler.statistics import errors, median
from profiler.store import now
from profiler.tables import baselines, boundaries, calibrate, circles, estimate, networks, refine
from profiler.tables import plan as planning
from profiler.tables import sizes as counting
from profiler.tables.baselines import Alone
from profiler.tables.estimate import Estimated, Polished, Term
from profiler.tables.interpolation import Interpolation, family
from profiler.tables.networks import Bench
from profiler.tables.plan import Chain
from profiler.tables.table import Closure, Entry, LatencyTable, Network, Size, interpolated
from profiler.types import Round, Workload

REFERENCES = 10
# In little time exporting is most of the work: fewer references, and of so many networks those of
# which the most blocks are exported already.
BRIEF_REFERENCES, CANDIDATES = 6, 1000
CLOSURE_NETWORKS, BRIEF_CLOSURE_NETWORKS = 16, 8
# Networks drawn to see how large those are that a row occurs in.
TYPICAL, TYPICAL_SEED = 200, 7
# Rows themselves repeat to one or two percent.
SAMPLING_TARGET = 0.02
# Chains that only show whether latency is linear in the number of blocks have fewer rounds.
STRAIGHT_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build measures: chains for the entries, networks for scale and closure.

    `typical` are networks by which it is seen how large those are that a row occurs in. `real` are
    networks that go through the exporter whole, measured beside the rest; with `baselines` so are
    the closure's blocks and operators, each alone.
    """

    chains: tuple[Chain, ...]
    references: tuple[Architecture, ...]
    closure: tuple[Architecture, ...]
    typical: tuple[Architecture, ...] = ()
    real: Mapping[str, Workload] = field(default_factory=dict)
    estimator: str = "families"
    baselines: bool = False
    sizes: bool = False


def plan(
    bench: Bench,
    rows: Iterable[str],
    count: int = CLOSURE_NETWORKS,
    grid: Space | None = None,
    real: Sequence[str] = (),
    counts: Sequence[int] = planning.STRAIGHTNESS,
    estimator: str = "families",
    beside: bool = False,
    sizes: bool = False,
    many: bool = False,
) -> Plan:
    """Chains for these rows, and a build's reference and closure networks, which never overlap.

    `grid` is a narrower space from which networks are drawn. `real` names networks that are
    measured beside them, with all their rows; `beside` asks for the baselines, `sizes` for what
    each row is besides its latency. Chains have `counts` repeats: three where there is time to see
    whether they lie on a line.
    """
    counts = counts or (planning.SLOPE if bench.brief else planning.STRAIGHTNESS)
    space = grid or bench.space
    wanted = dict.fromkeys(rows)
    for name in real:
        wanted.update(dict.fromkeys(bench.space.rows(bench.space.parse(name))))
    if bench.brief or many:
        counts = planning.SLOPE if bench.brief else planning.SHORT
    chains, _ = planning.chains(bench.space, wanted, counts)
    most = BRIEF_REFERENCES if bench.brief else REFERENCES
    references = min(most, max(1, space.size // 4))
    drawn = space.draw(random.Random(bench.seed), min(references + count, space.size))
    first, closure = drawn[:references], drawn[references:]
    if bench.brief or many:
        first = _cheapest(bench.seed, space, chains, closure, references)
    found = {name: bench.space.network(name) for name in real}
    return Plan(
        tuple(chains),
        tuple(first),
        tuple(closure),
        tuple(space.draw(random.Random(TYPICAL_SEED), min(TYPICAL, space.size))),
        {n: w for n, w in found.items() if w is not None},
        estimator,
        beside,
        sizes,
    )


def smallest_released(space: Space, rows: Iterable[str]) -> list[str]:
    """The smallest released network that has only these rows, if any."""
    known = set(rows)
    found = {n: space.rows(space.parse(n)) for n in space.named}
    whole = [n for n, own in found.items() if known.issuperset(own) and space.network(n)]
    return sorted(whole, key=lambda n: len(found[n]))[:1]


def _cheapest(
    seed: int,
    space: Space,
    chains: Iterable[Chain],
    besides: Sequence[Architecture],
    count: int,
) -> list[Architecture]:
    """Networks, none of those `besides`, of which the fewest blocks are in no chain."""
    exported = {k for c in chains for k in c.blocks}
    drawn = space.draw(random.Random(f"references {seed}"), min(CANDIDATES, space.size))
    rest = [a for a in drawn if a not in besides]
    return sorted(rest, key=lambda a: len(set(space.rows(a)) - exported))[:count]


def build_sampled(
    bench: Bench,
    make: Callable[[list[str]], Plan],
    space: Space,
    target: float = SAMPLING_TARGET,
) -> LatencyTable:
    """Build with few rows, then with more, until rows that were left out beforehand are predicted
    to within `target` on average, or the bench's budget does not allow for another step.

    `make` gives the plan for a list of rows. What was measured for one step serves the next.
    """
    rows = refine.first(space, bench.budget_s)
    judged = refine.left_out(space, rows)
    weights = refine.uses(space)
    while True:
        before = time.monotonic()
        table = build(bench, make([*rows, *judged]))
        known = {k: float(e.ns) for k, e in table.entries.items() if e.source == "measured"}
        missed = refine.error(known, judged)
        more = refine.following(space, known, weights)
        figures = {
            "left_out": len(judged),
            "error_percent": None if missed is None else round(100 * missed, 2),
            "target_percent": round(100 * target, 2),
        }
        table = replace(table, provenance={**table.provenance, "sampling": figures})
        ahead_s = (time.monotonic() - before) * (0.5 + len(more) / len(rows))
        if missed is None or missed <= target or not more:
            return table
        if bench.left_s is not None and ahead_s > bench.left_s:
            return table
        rows += more


def build(bench: Bench, wanted: Plan) -> LatencyTable:
    """Build a table, and compare the plan's real networks with its predictions.

    Raises WorkloadFailed when too little could be measured to make a table.
    """
    space = bench.space
    chains = {networks.sequence_name(c.blocks): c for c in wanted.chains}
    wholes = {space.text(a): space.rows(a) for a in (*wanted.references, *wanted.closure)}
    every = {k for c in chains.values() for k in c.blocks} | {k for r in wholes.values() for k in r}
    blocks, real_items = networks.export(bench, every, wanted.real)
    sequences = {**{n: c.blocks for n, c in chains.items()}, **wholes}
    drawn = [space.rows(a) for a in wanted.typical]
    within = circles.within(chains, drawn, {k: a.size_bytes for k, a in blocks.items()})
    items = networks.compose(bench, sequences, blocks, within)
    between = {n for n, c in chains.items() if c.between}
    items |= {n: replace(items[n], most_rounds=STRAIGHT_ROUNDS) for n in between & set(items)}
    items |= real_items
    alone = Alone()
    if wanted.baselines:
        rows = [k for a in wanted.closure for k in space.rows(a)]
        alone = baselines.isolate(bench, rows, blocks)
        items |= alone.items
    references = [space.text(a) for a in wanted.references]
    canary = next((items[n] for n in references if n in items), None)
    counted = {k for c in wanted.chains for k in c.counted}
    try:
        # All this before the rounds, which have what a budget leaves.
        sizes = _sizes(bench, counted) if wanted.sizes else {}
        profiles = boundaries.profiles(bench, {n: items[n] for n in references if n in items})
        observed = networks.take_rounds(bench, list(items.values()), canary)
    finally:
        networks.tidy(bench)
    bench.on_stage("estimating")
    names = {i.key: n for n, i in items.items()}
    rounds = {names[k]: taken for k, taken in observed.items()}
    by_name = drift.levels_ns(rounds)
    terms = estimate.determined(
        [Term(n, c.scaffold, c.counted) for n, c in chains.items() if n in by_name]
    )
    if not any(t.scaffold == "overhead" and not t.counted for t in terms):
        raise WorkloadFailed(_why(bench, "nothing was measured from which a table could be made"))
    table = _table(bench, wanted, by_name, terms)
    spent = {
        "circle_bytes": sorted(set(within.values())),
        "speed_moved": round(drift.moved(rounds), 4),
        **_spent(bench, rounds),
    }
    sized = {k: replace(e, size=sizes.get(k)) for k, e in table.entries.items()}
    table = replace(table, entries=sized, provenance={**table.provenance, **spent})
    polished = estimate.polish(by_name)
    if wanted.baselines:
        whole = {space.text(a): space.rows(a) for a in wanted.closure}
        beside = baselines.compare(alone, polished.latency_ns, whole)
        table = replace(table, provenance={**table.provenance, "baselines": to_json(beside)})
    seen = boundaries.of(profiles, wholes, polished.latency_ns)
    real = [
        against(n, table.predict(n, space.rows(space.parse(n))).latency_ns, polished)
        for n in wanted.real
        if n in by_name
    ]
    return replace(table, released=tuple(real), boundaries=seen)


def _spent(bench: Bench, rounds: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """How long the build has taken, and how much of that was timed inference."""
    fresh = [r for taken in rounds.values() for r in taken if r.started_at >= bench.begun_at]
    timed_ns = sum(sum(r.samples_ns) * r.batch for r in fresh)
    return {
        "wall_s": round(time.monotonic() - bench.begun_s, 1),
        "timed_s": round(timed_ns / 1e9, 1),
    }


def _sizes(bench: Bench, rows: Set[str]) -> Mapping[str, Size]:
    """What the rows are, and all that lie between them: parameters, multiply-adds, memory."""
    between = Interpolation(dict.fromkeys(rows, 1.0))
    keys = {*rows, *(k for k in bench.space.keys if between.at(k) is not None)}
    bench.on_stage("counting sizes")
    found = counting.sizes(bench.space, sorted(keys - bench.sizes.keys()), hands=networks.HANDS)
    bench.failures += [v for v in found.values() if not isinstance(v, Size)]
    bench.sizes |= {k: v for k, v in found.items() if isinstance(v, Size)}
    return bench.sizes


def _why(bench: Bench, what: str) -> str:
    first = bench.failures[0] if bench.failures else None
    return f"{what}; first failure: {first.workload.name}: {first.message}" if first else what


def _table(
    bench: Bench, wanted: Plan, observed: estimate.Observed, terms: Sequence[Term]
) -> LatencyTable:
    between = {networks.sequence_name(c.blocks) for c in wanted.chains if c.between}
    # Where a longer or a shorter chain has failed, what lies between has to do.
    ends = [t for t in terms if t.chain not in between]
    ends = ends if estimate.determine(ends, terms) else list(terms)
    chains = {t.chain for t in ends}
    found = estimate.entries({c: r for c, r in observed.items() if c in chains}, ends, bench.seed)
    counted = {k for t in terms for k in t.counted}
    rounds = min(len(observed[c]) for c in chains)
    bent = estimate.bends(observed, terms)
    held = {k: _entry(k, v, rounds, k in bent) for k, v in found.items() if k in counted}
    held = fill(bench.space.keys, held)
    polished = estimate.polish(observed)
    overhead = max(0, round(found["overhead"].ns))
    device = devices.device(bench.target.device)
    draft = LatencyTable(
        space=bench.space.name,
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


def _entry(key: str, value: Estimated, rounds: int, bent: bool) -> Entry:
    """A measured entry. Noise may exceed a tiny block: then it is 1 ns, its interval says why."""
    low, high = max(0, round(value.low_ns)), max(1, round(value.high_ns))
    flags = ("bends",) if bent else ()
    return Entry(key, max(1, round(value.ns)), low, high, "measured", rounds, flags)


def fill(keys: Sequence[str], held: Mapping[str, Entry]) -> dict[str, Entry]:
    """The measured entries and, between them, interpolated ones for the rest of the space."""
    known = Interpolation({k: float(e.ns) for k, e in held.items()})
    whole = dict(held)
    for key in keys:
        value = None if key in held else known.at(key)
        if value is not None:
            whole[key] = interpolated(key, value, known.margin(key))
    return whole


def _closed(bench: Bench, wanted: Plan, draft: LatencyTable, polished: Polished) -> LatencyTable:
    """The table with its scale from the reference networks, and its closure."""
    space = bench.space

    def lines(table: LatencyTable, architectures: Sequence[Architecture]) -> list[Network]:
        pairs = [(space.text(a), space.rows(a)) for a in architectures]
        return [
            against(n, table.predict(n, rows).latency_ns, polished)
            for n, rows in pairs
            if n in polished.latency_ns and all(k in table.entries for k in rows)
        ]

    beside = [(a, n) for a in wanted.references for n in lines(draft, [a])]
    references = [_reference(draft, space.rows(a), n, polished) for a, n in beside]
    scales = calibrate.Scales(calibrate.scale(references), {})
    if wanted.estimator == "families":
        scales = calibrate.family_scales(references)
    scaled = replace(
        draft,
        scale=round(scales.common, 6),
        family_scales={f: round(v, 6) for f, v in scales.families.items()},
        provenance={**draft.provenance, "family_covariance": scales.covariance},
    )
    closure = tuple(lines(scaled, wanted.closure))
    drawn = {space.text(a): space.rows(a) for a in (*wanted.references, *wanted.closure)}
    beyond = [n for n, rows in drawn.items() if any(k not in scaled.entries for k in rows)]
    return replace(
        scaled,
        provenance={**scaled.provenance, "networks_beyond": beyond},
        references=tuple(lines(scaled, wanted.references)),
        closure_networks=closure,
        closure=close(closure, bench.seed) if closure else None,
    )


def _reference(
    table: LatencyTable, rows: Sequence[str], line: Network, polished: Polished
) -> calibrate.Reference:
    parts: dict[str, float] = {}
    for key in rows:
        parts[family(key)] = parts.get(family(key), 0.0) + table.entries[key].ns
    name = line.architecture
    noise = polished.scatter[name] / math.sqrt(polished.rounds[name])
    return calibrate.Reference(parts, line.measured_ns - table.overhead_ns, noise)


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
