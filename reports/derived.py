"""Commands that make a result again, made up from what it holds, where none was recorded."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from profiler.tables.table import LatencyTable


def command(kind: str, content: Any, path: Path) -> str:
    """The command line for a file's content of a kind; `path` is where it is written to."""
    made = {
        "comparison": _compare,
        "table check": _check,
        "breakdown": _breakdown,
        "bench": _bench,
        "measurement": _measure,
        "observations": _observations,
    }[kind]
    return _line(*made(content), "-o", path.name)


def _compare(content: Any) -> list[str]:
    words = ["compare", *content.networks, "--on", *content.targets]
    return [*words, "--baseline", content.baseline]


def _check(content: Any) -> list[str]:
    return ["table", "check", "TABLE", "--archs", *(n.architecture for n in content.networks)]


def _breakdown(content: Any) -> list[str]:
    networks = _each(b.workload.name for b in content)
    return ["breakdown", *networks, "--on", *_each(str(b.target) for b in content)]


def _bench(content: Any) -> list[str]:
    return ["bench", content.experiment, "--on", *_each(r.target for r in content.results)]


def _measure(content: Any) -> list[str]:
    return ["measure", *(m.name for m in content.measurements), "--on", content.target]


def _observations(content: Any) -> list[str]:
    return ["observations", "--on", *content.targets]


def of_table(table: LatencyTable, path: Path) -> str:
    """The command line for a table."""
    seed = str(table.provenance.get("seed", 0))
    words = ["table", "build", table.space, "--on", table.target, "--seed", seed]
    return _line(*words, "-o", path.name)


def _line(*words: str) -> str:
    return shlex.join(["opclock", *words])


def _each(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
