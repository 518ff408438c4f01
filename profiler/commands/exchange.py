"""`table lint`, `diff`, `merge`, `export` and `import`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler.commands import DONE, FAILED, emit, probe
from profiler.commands.tables import summary_of
from profiler.encoding import to_json
from profiler.tables import exchange, table
from profiler.tables.diff import Difference, diff
from profiler.tables.lint import copied_between, lint
from profiler.tables.merge import DROPPED, merge
from profiler.tables.suspicions import ERROR, Finding
from reports.text import columns, latency, printable

# Of a fact of provenance no more than this is shown, in characters.
SHOWN = 40


def run_table_lint(options: argparse.Namespace) -> int:
    """Print what is wrong with tables. Exit code 1 when something is an error."""
    between = copied_between(options.tables)
    found = {path: lint(path) + between[path] for path in options.tables}
    counts = Counter(f.severity for findings in found.values() for f in findings)
    record = {
        "tables": [{"path": str(p), "findings": findings} for p, findings in found.items()],
        "errors": counts[ERROR],
        "warnings": counts.total() - counts[ERROR],
    }
    emit(options, record, "\n".join(_findings(p, f) for p, f in found.items()))
    return FAILED if counts[ERROR] else DONE


def _findings(path: Path, findings: Sequence[Finding]) -> str:
    if not findings:
        return f"{path}: nothing is wrong"
    rows = [
        (str(f.line or "-"), f.severity, f.rule, printable(f.key), printable(f.message))
        for f in findings
    ]
    head = ("line", "", "rule", "entry", "what is wrong")
    return f"{path}:\n{columns(head, rows)}"


def run_table_diff(options: argparse.Namespace) -> int:
    """Print how two tables differ."""
    found = diff(table.load(options.old), table.load(options.new))
    record = {"old": str(options.old), "new": str(options.new), **to_json(found)}
    emit(options, record, _difference(options, found))
    return DONE


def _difference(options: argparse.Namespace, found: Difference) -> str:
    lines = [f"{options.old} -> {options.new}"]
    if found.median_ratio is None:
        lines.append("no key is in both")
    else:
        lines.append(
            f"{found.common} entries in both: median ratio {found.median_ratio:.3f}; "
            f"{found.moved_share:.1%} moved by more than 10 %, "
            f"{found.moved_beside_share:.1%} beside the median; "
            f"{found.outside_share:.1%} outside both intervals"
        )
    for name, keys in (("old", found.only_old), ("new", found.only_new)):
        if keys:
            shown = ", ".join(map(printable, keys[:5])) + (", ..." if len(keys) > 5 else "")
            lines.append(f"only in the {name} table: {len(keys)} entries: {shown}")
    lines += [
        f"{name}: {_short(old)} -> {_short(new)}" for name, (old, new) in found.changed.items()
    ]
    rows = [
        (
            printable(m.key),
            latency(m.old_ns),
            latency(m.new_ns),
            f"{(m.ratio - 1) * 100:+.1f} %",
            "outside both intervals" if m.outside else "",
        )
        for m in found.moves[: max(0, options.rows)]
        if m.old_ns != m.new_ns
    ]
    body = columns(("entry", "old", "new", "moved", ""), rows)
    return "\n".join([*lines, "", body] if body else lines)


def _short(value: Any) -> str:
    text = "nothing" if value is None else printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def run_table_merge(options: argparse.Namespace) -> int:
    """Merge tables and write the result."""
    probe(options.output)
    merged = merge([table.load(p) for p in options.tables])
    table.save(merged, options.output)
    taken = [m["entries_taken"] for m in merged.provenance["merged"]]
    shares = ", ".join(f"{n} from {p}" for n, p in zip(taken, options.tables, strict=True))
    lines = [
        f"{options.output}: {len(merged.entries)} entries; measured: {shares}",
        f"unvalidated: {DROPPED}",
    ]
    return _say(options, {**summary_of(merged), "provenance": merged.provenance}, "\n".join(lines))


def run_table_export(options: argparse.Namespace) -> int:
    """Write a table in a format of others."""
    probe(options.output)
    loaded = table.load(options.table)
    exchange.write(loaded, options.output, options.format)
    record = {"format": options.format, "entries": len(loaded.entries)}
    return _say(
        options, record, f"{options.output}: {len(loaded.entries)} entries as {options.format}"
    )


def run_table_import(options: argparse.Namespace) -> int:
    """Read a table of others and write it as ours."""
    probe(options.output)
    found = exchange.read(options.file, options.format, options.space, options.on)
    table.save(found, options.output)
    lines = [
        f"{options.output}: {found.space} on {found.target}",
        f"{len(found.entries)} imported entries; overhead {latency(found.overhead_ns)}",
        *found.provenance["flags"],
        "unvalidated: nobody here knows how it was measured",
    ]
    return _say(options, {**summary_of(found), "provenance": found.provenance}, "\n".join(lines))


def _say(options: argparse.Namespace, record: Mapping[str, Any], text: str) -> int:
    whole = {"path": str(options.output), **to_json(record)}
    print(json.dumps(whole, indent=1) if options.json else text)
    return DONE
