"""What is wrong with a table's file, line by line, also where `table.load` refuses the file.

Errors are what no honest build writes. Warnings are reasons for care.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.encoding import from_json, to_json
from profiler.tables import suspicions
from profiler.tables.suspicions import ERROR, WARNING, Finding, Line
from profiler.tables.table import SCHEMA, LatencyTable, faults

# So many entries that two tables of different things share are no chance.
SHARED = 3
# What makes two tables speak of the same.
IDENTITY = ("space", "target", "device", "runtime_version", "batch")


def lint(path: Path) -> list[Finding]:
    """All that is wrong with a table's file, in the order of its lines."""
    text, found = _text(path)
    return found + lint_text(text) if text is not None else found


def _text(path: Path) -> tuple[str | None, list[Finding]]:
    try:
        return path.read_text(encoding="utf-8"), []
    except (OSError, UnicodeDecodeError) as error:
        return None, [Finding(ERROR, "unreadable", 0, "", f"it cannot be read: {error}")]


def lint_text(text: str) -> list[Finding]:
    """The same for the text of a file."""
    record, found = _head(text)
    lines = []
    seen: dict[str, int] = {}
    for number, entry in _entries(text, record):
        problems = _problems(number, entry)
        key = entry.get("key") if isinstance(entry, dict) else None
        if isinstance(key, str):
            if key in seen:
                where = f", first on line {seen[key]}" if seen[key] else ""
                message = f"is there twice{where}"
                problems.append(Finding(ERROR, "duplicated", number, key, message))
            elif not problems and _tells(entry):
                ns, low, high = (float(entry[n]) for n in ("ns", "low_ns", "high_ns"))
                lines.append(Line(number, key, ns, low, high, entry["source"]))
            seen.setdefault(key, number)
        found += problems
    for rule in (
        suspicions.copied,
        suspicions.straight,
        suspicions.shuffled,
        suspicions.coarse,
    ):
        found += rule(lines)
    return sorted(found, key=lambda f: f.line)


def _problems(number: int, entry: Any) -> list[Finding]:
    if entry is None:
        return [Finding(ERROR, "truncated", number, "", "the line is no whole entry")]
    key = entry.get("key") if isinstance(entry, dict) else ""
    key = key if isinstance(key, str) else ""
    found = []
    for fault in faults([entry]):
        message = fault.removeprefix(key).lstrip(": ") if key else "the entry has no key"
        found.append(Finding(ERROR, _rule(message), number, key, message))
    return found


def _rule(message: str) -> str:
    """A word for one of the sentences of `table.faults`."""
    words = {
        "no key": "no-key",
        "missing": "no-number",
        "is nan": "nan",
        "inf": "nan",
        "far too large": "too-large",
        " is -": "negative",
        "is 0;": "zero",
        "interval": "interval",
        "source": "source",
    }
    return next((rule for text, rule in words.items() if text in message), "entry")


def _tells(entry: Mapping[str, Any]) -> bool:
    """Whether an entry claims more than to lie between others, and is not lost in its noise."""
    noise = entry["high_ns"] - entry["low_ns"]
    return bool(entry["source"] != "interpolated" and noise < entry["ns"])


# The file -----------------------------------------------------------------------------------------


def _head(text: str) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The file's content where it is whole, and what is wrong with it as a whole."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return None, [Finding(ERROR, "truncated", 0, "", f"it is no whole JSON: {error}")]
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None, [Finding(ERROR, "schema", 0, "", f"it is no table of the form {SCHEMA}")]
    if not isinstance(record.get("entries"), list):
        return None, [Finding(ERROR, "schema", 0, "", "it has no list of entries")]
    facts = {k: v for k, v in record.items() if k not in ("schema", "entries")}
    try:
        return record, _facts(from_json(LatencyTable, {**facts, "entries": {}}))
    except ValueError as error:
        return record, [Finding(ERROR, "head", 0, "", str(error))]


def _facts(head: LatencyTable) -> list[Finding]:
    found = []
    scales = (head.scale, *head.family_scales.values())
    if not all(math.isfinite(s) and s > 0 for s in scales) or head.overhead_ns < 0:
        message = "its scale or overhead is not a positive number"
        found.append(Finding(ERROR, "head", 0, "", message))
    if head.closure is None:
        message = "unvalidated: no network was measured against it"
        found.append(Finding(WARNING, "unvalidated", 0, "", message))
    elif not all(math.isfinite(v) for v in to_json(head.closure).values() if v is not None):
        found.append(Finding(ERROR, "head", 0, "", "its closure has a figure that is no number"))
    return found


def _entries(text: str, record: Mapping[str, Any] | None) -> list[tuple[int, Any]]:
    """The entries with their lines, 0 where they cannot be told.

    Of a file that is not whole, those lines that are.
    """
    lines = [x.strip() for x in text.split("\n")]
    start = next((n for n, x in enumerate(lines, 1) if x.startswith('"entries"')), len(lines))
    stop = next((n for n, x in enumerate(lines[start:], start) if x.startswith("]")), len(lines))
    body = [(n, x) for n, x in enumerate(lines[start:stop], start + 1) if x]
    if record is None:
        return [(n, _entry(x.removesuffix(","))) for n, x in body]
    entries = record["entries"]
    # Ours have a line each; others begin them on a line.
    for numbers in ([n for n, _ in body], [n for n, x in body if x.startswith("{")]):
        if len(numbers) == len(entries):
            return list(zip(numbers, entries, strict=True))
    return [(0, e) for e in entries]


def _entry(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


# Between tables -----------------------------------------------------------------------------------


def copied_between(paths: Sequence[Path]) -> dict[Path, list[Finding]]:
    """Entries that a table shares, interval and all, with an earlier one of something else."""
    found: dict[Path, list[Finding]] = {path: [] for path in paths}
    known: list[tuple[Path, object, dict[str, tuple[Any, ...]]]] = []
    for path in paths:
        text, _ = _text(path)
        record, _ = _head(text) if text is not None else (None, [])
        if text is None or record is None:
            continue
        held = {e["key"]: (n, e) for n, e in _entries(text, record) if not faults([e])}
        figures = {k: (e["ns"], e["low_ns"], e["high_ns"]) for k, (_, e) in held.items()}
        identity = [record.get(name) for name in IDENTITY]
        for other, its, theirs in known:
            same = [k for k, f in figures.items() if theirs.get(k) == f and _tells(held[k][1])]
            if its != identity and len(same) >= SHARED:
                message = f"has the figures of {other}, which is a table of something else"
                found[path] += [Finding(ERROR, "copied", held[k][0], k, message) for k in same]
        known.append((path, identity, figures))
    return found
