"""A closure speaks of all networks that were drawn: those that it cannot judge are named."""

from __future__ import annotations

from pathlib import Path

from profiler import devices
from profiler.commands import tables as commands
from profiler.store import Store
from profiler.tables import build, networks
from profiler.tables.estimate import Polished
from profiler.tables.table import LatencyTable
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
