"""JSON of others: as it is, but for a key that is there twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from profiler.errors import TableError
from profiler.tables.foreign import once, text_of


def write(record: Any, path: Path) -> None:
    """Write plain data."""
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Any:
    """Plain data. Raises TableError."""
    return parse(text_of(path))


def parse(text: str) -> Any:
    """Plain data from a text. Raises TableError."""
    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise TableError(f"it is not JSON: {error}") from error
