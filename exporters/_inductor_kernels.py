"""Which operators torch's compiler made into which kernel, as it notes while it compiles.

The names of these notes are private to torch; where they are gone, kernels have no operators.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from profiler.errors import BadModelFile

SETTINGS = {"cpp.enable_kernel_profile": True, "trace.provenance_tracking_level": 1}


@contextlib.contextmanager
def kept(package: Path) -> Iterator[None]:
    """Write down beside a package what the compiler notes of its kernels meanwhile."""
    from torch._inductor import debug

    notes: dict[str, Any] = {}
    told = getattr(debug, "dump_inductor_provenance_info", None)

    def keep() -> Any:
        found = told() if told else {}
        notes.update(found)
        return found

    debug.dump_inductor_provenance_info = keep
    try:
        yield
    finally:
        debug.dump_inductor_provenance_info = told  # type: ignore[assignment]
    beside(package).write_text(json.dumps(in_order(notes)))


def in_order(notes: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Kernels in the order of their numbers, each operator with the first that it went into.

    A later kernel is noted to come from all that its inputs come from, too.
    """
    source = notes.get("postToPre", {})
    numbered = [(*name.rpartition(":")[::2], made) for name, made in _kernels(notes).items()]
    taken: set[str] = set()
    found = []
    for name, _, made in sorted(numbered, key=lambda k: int(k[1])):
        new = [n for n in made if n not in taken]
        taken.update(made)
        operators = dict.fromkeys(o for n in new for o in source.get(n, ()))
        found.append((name, list(operators)))
    return found


def _kernels(notes: Mapping[str, Any]) -> dict[str, list[str]]:
    found = notes.get("cppCodeToPost", {})
    return {name: made for name, made in found.items() if name.rpartition(":")[2].isdigit()}


def beside(package: Path) -> Path:
    """Where the kernels of a package are written down."""
    return package.with_name(package.name + ".kernels.json")


def read(package: Path) -> list[tuple[str, list[str]]]:
    """What `kept` wrote; nothing where it did not. Raises BadModelFile on a damaged file."""
    if not beside(package).is_file():
        return []
    try:
        return [
            (str(n), [str(o) for o in made]) for n, made in json.loads(beside(package).read_text())
        ]
    except (ValueError, TypeError) as error:
        raise BadModelFile(f"{beside(package)} does not hold kernels: {error}") from error
