"""A closure speaks of all networks that were drawn: those that it cannot judge are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from profiler import devices, spaces
from profiler.commands import tables as commands
from profiler.store import Store
from profiler.tables import build, networks
from profiler.tables import plan as planning
from profiler.tables.estimate import Polished, Term
from profiler.tables.table import LatencyTable, Network
from tests.synthetic_tables import of_keys
from tests.tiny_space import SPACE


def closed(folder: Path, lacking: str) -> LatencyTable:
    """The tiny space's table without some rows, closed on networks of 16 and of 32 channels."""
    drawn = tuple(SPACE.parse(f"{w}/{d}") for w in (16, 32) for d in (1, 3, 5, 7))
    draft = of_keys([k for k in SPACE.keys if k != lacking], lambda n: 1000 * (n + 1), space="tiny")
    names = [SPACE.text(a) for a in drawn]
    alike = dict.fromkeys(names, 8)
    polished = Polished(
        {n: 5000.0 + 900.0 * i for i, n in enumerate(names)},
        {},
        dict.fromkeys(names, 0.01),
        alike,
    )
    wanted = build.Plan((), drawn[::2], drawn[1::2], estimator="scale")
    with Store(folder) as store:
        bench = networks.Bench(store, SPACE, devices.target("host/onnxruntime"), networks.PROTOCOL)
        return build._closed(bench, wanted, draft, polished)


def test_networks_with_rows_that_the_table_lacks_are_named(tmp_path: Path) -> None:
    whole = closed(tmp_path, "")
    assert whole.closure is not None
    assert (whole.closure.networks, whole.provenance["networks_beyond"]) == (4, [])
    assert "lacks" not in commands._say(tmp_path, commands.summary_of(whole))
    partial = closed(tmp_path, "closing/32")
    assert partial.closure is not None
    assert partial.closure.networks == 2
    assert partial.provenance["networks_beyond"] == ["32/1", "32/5", "32/3", "32/7"]
    said = commands._say(tmp_path, commands.summary_of(partial))
    assert (
        "4 networks have rows that the table lacks, and took no part: 32/1, 32/5, 32/3 ..." in said
    )


def test_a_released_network_that_is_far_off_is_a_warning(tmp_path: Path) -> None:
    for error, warned in ((0.44, False), (-5.1, True), (40.5, True)):
        network = Network("small", 1_404_700, 1_000_000, error, 0.3)
        table = replace(closed(tmp_path, ""), released=(network,))
        said = commands._say(tmp_path, commands.summary_of(table))
        assert f"small exported whole: predicted 1.405 ms, measured 1 ms, {error:+.2f} %" in said
        assert ("do not trust this table" in said) == warned


def test_the_smallest_released_network_is_one_that_is_known_and_has_only_these_rows() -> None:
    v1 = spaces.load("efficientformer")
    rows = v1.rows(v1.parse("l1"))
    assert build.smallest_released(v1, [*rows, *v1.rows(v1.parse("l3"))]) == ["l1"]
    assert build.smallest_released(v1, v1.rows(v1.parse("l3"))) == ["l3"]
    assert build.smallest_released(v1, rows[1:]) == []
    unknown = replace(SPACE, network=lambda _: None)
    assert build.smallest_released(SPACE, SPACE.keys) == ["small"]
    assert build.smallest_released(unknown, SPACE.keys) == []


def test_a_chain_between_others_bends_a_row_and_leaves_its_slope_alone(tmp_path: Path) -> None:
    chains, _ = planning.chains(SPACE, SPACE.keys)
    drawn = tuple(SPACE.parse(f"{w}/{d}") for w in (16, 32) for d in (5, 7))
    true_ns = {k: 1000.0 * (n + 1) for n, k in enumerate(SPACE.keys)}
    latency = {
        networks.sequence_name(c.blocks): 9000.0 * (1 + c.between)
        + sum(true_ns[k] for k in c.counted)
        for c in chains
    }
    latency |= {SPACE.text(a): 9000.0 + sum(true_ns[k] for k in SPACE.rows(a)) for a in drawn}
    observed = {n: {f"p{i}": ns for i in range(8)} for n, ns in latency.items()}
    terms = [Term(networks.sequence_name(c.blocks), c.scaffold, c.counted) for c in chains]
    wanted = build.Plan(tuple(chains), drawn[::2], drawn[1::2], estimator="scale")
    with Store(tmp_path) as store:
        bench = networks.Bench(store, SPACE, devices.target("host/onnxruntime"), networks.PROTOCOL)
        table = build._table(bench, wanted, observed, terms)
    middle = [k for k in SPACE.keys if k.startswith("middle")]
    for key in middle:
        assert table.entries[key].ns == round(true_ns[key])
        assert table.entries[key].flags == ("bends",)
