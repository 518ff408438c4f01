"""Tables to and from the formats of others. Each format is a file in `formats/`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from profiler import plugins
from profiler.errors import BadTarget, TableError
from profiler.store import now, write_whole
from profiler.tables.foreign import Reading
from profiler.tables.table import LatencyTable
from profiler.written import split_format, split_target

PACKAGE = "profiler.tables.formats"
UNKNOWN = "unknown"


def parse(text: str) -> tuple[ModuleType, dict[str, str]]:
    """A format and its options, from `name:option=value`.

    Raises UnknownName or BadTarget; an option whose only values are the user's must be given.
    """
    name, words = split_format(text)
    module = plugins.load(PACKAGE, name)
    known: Mapping[str, tuple[str, ...]] = getattr(module, "OPTIONS", {})
    given: dict[str, str] = {}
    for word in words:
        option, equals, value = word.partition("=")
        if option not in known or not equals or not value or option in given:
            options = ", ".join(f"{o}=..." for o in known) or "no options"
            raise BadTarget(f"format {text!r}: {word!r} is not right; {name} takes {options}")
        if known[option] and value not in known[option]:
            raise BadTarget(f"format {text!r}: {option} is one of {', '.join(known[option])}")
        given[option] = value
    missing = [o for o, values in known.items() if not values and o not in given]
    if missing:
        raise BadTarget(f"format {text!r} needs {missing[0]}, as in {name}:{missing[0]}=...")
    return module, given


def write(table: LatencyTable, path: Path, text: str) -> None:
    """Write a table in a format, whole or not at all. Raises TableError, MissingPackage, ..."""
    module, options = parse(text)
    write_whole(path, lambda place: module.write(table, place, **options))


def read(path: Path, text: str, space: str, on: str) -> LatencyTable:
    """A table from a file of others: what its rows mean (`space`) and where they were measured
    (`on`, `device/runtime:...`) is the user's to say.

    Its entries are marked as imported, it has no closure, and nobody knows how it was measured.
    Raises TableError saying what is wrong with the file.
    """
    module, options = parse(text)
    device, _, _ = split_target(on)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found: Reading = module.read(path, **options)
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error}") from error
    except TableError as error:
        raise TableError(f"{path} as {text}: {error}") from error
    if not found.entries:
        raise TableError(f"{path} as {text}: it has no rows")
    provenance = {
        "protocol": UNKNOWN,
        "format": text,
        "unit": module.UNIT,
        "file": path.name,
        "sha256": digest,
        "flags": list(found.flags),
    }
    return LatencyTable(
        space=space,
        target=on.strip(),
        device={"name": device, "description": UNKNOWN, "fingerprint": UNKNOWN},
        runtime_version=UNKNOWN,
        created=now(),
        overhead_ns=found.overhead_ns,
        scale=1.0,
        entries=found.entries,
        provenance=provenance,
    )
