"""What artifacts hold, side by side: structures read in a child, since a bad file may crash it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler import plugins, processes
from profiler.encoding import from_json, to_json
from profiler.errors import BadModelFile, MissingPackage
from profiler.operators import CATEGORIES, by_category
from profiler.processes import Channel, Death, Limits, one_line
from profiler.types import Structure

LIMIT_S = 300.0
# Torch's own graph: what every compiler's is compared with.
SOURCE = "exported_program"
# Operators that do nothing at inference stand in torch's graph all the same.
COMPARED = ("normalisation", "activation", "reshape and layout")


@dataclass(frozen=True, slots=True)
class Inspected:
    """One artifact's structure; `verdicts` are sentences on what phones would make of it."""

    name: str
    format: str
    size_bytes: int
    structure: Structure
    verdicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read, and why."""

    name: str
    kind: str
    message: str


def formats_of(path: Path) -> list[str]:
    """The formats whose files end like this one. Raises BadModelFile when there is none."""
    if not path.exists():
        raise BadModelFile(f"{path}: no such file")
    suffixes = {n: plugins.load("exporters", n).SUFFIX for n in plugins.names("exporters")}
    found = [n for n, suffix in suffixes.items() if path.name.endswith(suffix)]
    if not found:
        known = ", ".join(sorted(set(suffixes.values())))
        raise BadModelFile(f"{path}: opclock inspects {known}, not {path.suffix or 'this'}")
    # The longest ending says most: .aoti.pt2 is no exported program.
    return sorted(found, key=lambda name: -len(suffixes[name]))


def read(files: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, Inspected | Unreadable]:
    """Structures of files, by the caller's names: a path, and the formats that it may have."""
    found: dict[str, Inspected | Unreadable] = {}

    def make_job(names: list[str]) -> dict[str, Any]:
        return {"files": {n: [files[n][0], list(files[n][1])] for n in names}}

    def on_line(line: dict[str, Any]) -> None:
        if "inspected" in line:
            found[line["done"]] = from_json(Inspected, line["inspected"])
        elif "failure" in line:
            found[line["done"]] = Unreadable(line["done"], line["failure"], line["message"])

    def on_death(name: str, death: Death) -> None:
        found[name] = Unreadable(name, death.kind, death.message)

    processes.run_surviving(
        "profiler.inspection:inspect_job", files, make_job, on_line, on_death, Limits(LIMIT_S)
    )
    return {name: found[name] for name in files}


def inspect_job(job: Mapping[str, Any], channel: Channel) -> None:
    """In the child: read every file, a line for each."""
    for name, (path, formats) in job["files"].items():
        channel.announce(name)
        try:
            line = {"inspected": to_json(_inspect(name, Path(path), formats))}
        except (BadModelFile, MissingPackage) as error:
            line = {"failure": "bad-model", "message": str(error)}
        except Exception as error:  # a reader of a foreign file may raise anything
            line = {"failure": "error", "message": one_line(error)[:500]}
        channel.send({"done": name, **line})


def _inspect(name: str, path: Path, formats: Sequence[str]) -> Inspected:
    errors = []
    for format_name in formats:
        exporter = plugins.load("exporters", format_name)
        try:
            structure = exporter.structure(path)
        except BadModelFile as error:
            errors.append(error)
            continue
        verdicts = exporter.verdicts(path) if hasattr(exporter, "verdicts") else []
        return Inspected(name, format_name, _size_bytes(path), structure, tuple(verdicts))
    raise errors[0]


def _size_bytes(path: Path) -> int:
    """The size of a file with the weights that lie beside it, or of a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    beside = [path.with_name(path.name + ".data")]
    if path.suffix == ".xml":
        beside.append(path.with_suffix(".bin"))
    return sum(p.stat().st_size for p in [path, *beside] if p.is_file())


def counts(structure: Structure) -> dict[str, int]:
    """Operators by category; those inside delegates count in their own category."""
    own = {n: c for n, c in structure.operators.items() if not n.startswith("delegate")}
    together = dict(own)
    for name, count in structure.delegated.items():
        together[name] = together.get(name, 0) + count
    found = by_category(together)
    return {c: sum(found.get(c, {}).values()) for c in CATEGORIES}


def against_source(source: Structure, other: Structure) -> list[str]:
    """Sentences: what a compiler's graph made of torch's, category by category."""
    before, after = counts(source), counts(other)
    sentences = []
    for category in COMPARED:
        old, new = before[category], after[category]
        if not old and not new:
            continue
        if new < old:
            said = f"{old - new} of {old} folded or fused away"
        elif new == old:
            said = f"all {old} are still there"
        else:
            said = f"{old} became {new}"
        sentences.append(f"{category}: {said}")
    return sentences
