"""YAML of others, by the safe loader only: a file that asks for an object is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.environment import installed
from profiler.errors import MissingPackage, TableError
from profiler.tables.foreign import once, text_of

INSTALL = 'pip install "opclock[tables]"'


def write(record: Any, path: Path) -> None:
    """Write plain data, a line for each entry."""
    yaml = _module()
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(record, Dumper=dumper, sort_keys=False, default_flow_style=None, width=10_000)
    path.write_text(text, encoding="utf-8")


def read(path: Path) -> Any:
    """Plain data. Raises TableError on anything else, and on a key that is there twice."""
    yaml = _module()

    # The same safe loader in C where it was built: a large table takes seconds instead of minutes.
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            once((self.construct_object(key, deep=True), None) for key, _ in node.value)
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    try:
        return yaml.load(text_of(path), Loader=Loader)
    except yaml.constructor.ConstructorError as error:
        raise TableError(f"it asks for more than plain data: {error.problem}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise TableError(f"it is not YAML: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _module() -> Any:
    if not installed("yaml"):
        raise MissingPackage(f"YAML needs PyYAML: {INSTALL}")
    import yaml

    return yaml
