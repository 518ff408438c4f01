"""The commands: each calls the library and prints its result. No other modules print."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler import devices, environment, exporting, plugins, spaces
from profiler.collection import Progress
from profiler.encoding import to_json
from profiler.errors import MissingPackage, OutputError
from profiler.exporting import Request
from profiler.progress import Display
from profiler.store import Store, now, write_whole
from profiler.tables.networks import BRIEF, PROTOCOL, Bench
from profiler.types import Artifact, Failure, Target

DONE, FAILED = 0, 1


def open_store(options: argparse.Namespace) -> Store:
    """The store of this run; what a person should hear about it goes to standard error."""
    store = Store(options.store)
    for note in store.notes:
        print(f"note: {note}", file=sys.stderr)
    return store


def emit(options: argparse.Namespace, record: Any, text: str) -> None:
    """Print a result as text or JSON; with -o also write its JSON to a file."""
    whole = to_json(record)
    if isinstance(whole, dict):
        whole = {**whole, "made": made(options)}
    written = json.dumps(whole, indent=1)
    if getattr(options, "output", None):
        write_whole(options.output, lambda path: path.write_text(written + "\n"))
    print(written if options.json else text)


def made(options: argparse.Namespace) -> dict[str, Any]:
    """How a result came about: the command as typed, less its store; when, where, with what."""
    words = list(getattr(options, "typed", ()))
    words = [w for w in words if not w.startswith("--store=")]
    if "--store" in words:
        place = words.index("--store")
        del words[place : place + 2]
    return {
        "command": shlex.join(["opclock", *words]),
        "created": now(),
        "device": to_json(environment.host()),
        "environment": environment.describe(),
    }


def print_failures(failures: Sequence[Failure]) -> int:
    """Print failures with the end of their logs, to standard error. Returns the exit code."""
    for failure in failures:
        print(
            f"failed: {failure.workload.name} ({failure.stage}, {failure.kind}): {failure.message}",
            file=sys.stderr,
        )
        for line in failure.log.strip().splitlines()[-5:]:
            print(f"  {line}", file=sys.stderr)
    return FAILED


def require_runtime(target: Target) -> None:
    """Raise MissingPackage, with what it needs, when a target's runtime cannot run here."""
    missing = plugins.load("profiler.runtimes", target.runtime).missing()
    if missing:
        raise MissingPackage(f"{target.runtime} cannot run here: {missing}")


def probe(out: Path) -> None:
    """Find out that a place cannot be written before an hour of work, not after."""
    if out.is_dir():
        raise OutputError(f"{out} is a folder; give a file's name with -o")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}") from error


def export_all(
    store: Store,
    requests: Mapping[str, Request],
    display: Display,
    limit_s: float,
    memory_bytes: int | None = None,
    recall_failures: bool = False,
) -> dict[str, Artifact | Failure]:
    """Artifacts or failures for all requests, with progress."""
    display.stage("exporting")
    done = 0

    def on_result(*_: object) -> None:
        nonlocal done
        done += 1
        display.update(Progress(done, len(requests)))

    waiting = Progress(0, len(requests), "another opclock is timing; waiting for it")
    return exporting.build(
        store,
        requests,
        on_result,
        lambda: display.update(waiting),
        limit_s,
        hands=2,
        memory_bytes=memory_bytes,
        recall_failures=recall_failures,
    )


def open_bench(
    options: argparse.Namespace, store: Store, display: Display, space: str, on: str
) -> Bench:
    """The place where tables are built and checked, as the command line describes it."""
    target = devices.target(on)
    require_runtime(target)
    bench = Bench(
        store,
        spaces.load(space),
        target,
        dataclasses.replace(PROTOCOL, limit_s=options.limit),
        seed=options.seed,
        budget_s=options.budget,
        again=options.again,
        on_stage=display.stage,
        on_progress=display.update,
    )
    if bench.brief:
        bench.protocol = dataclasses.replace(BRIEF, limit_s=options.limit)
    return bench
