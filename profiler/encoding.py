"""Nouns to plain data and back: JSON, canonical text, digests."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(*values: Any) -> str:
    """A name for content: 24 hexadecimal digits of SHA-256 over the canonical texts."""
    return hashlib.sha256("\x00".join(canonical(v) for v in values).encode()).hexdigest()[:24]


def to_json(value: Any) -> Any:
    """Plain dictionaries, lists, strings and numbers for a noun."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value


def from_json(kind: type[T], value: Any) -> T:
    """A noun from plain data. Raises ValueError on an unknown field or a wrong type."""
    return typing.cast(T, _decode(kind, value, kind.__name__))


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _decode(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object, found {type(value).__name__}")
        fields = _fields(typing.cast(type, kind))
        unknown = sorted(set(value) - set(fields))
        if unknown:
            raise ValueError(f"{where}: unknown field {unknown[0]!r}")
        parts = {k: _decode(fields[k], v, f"{where}.{k}") for k, v in value.items()}
        try:
            return typing.cast(Any, kind)(**parts)
        except TypeError as error:
            raise ValueError(f"{where}: {error}") from None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list, found {type(value).__name__}")
        return tuple(_decode(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(_origin_type(origin), Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object, found {type(value).__name__}")
        return {k: _decode(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if arguments and type(None) in arguments:
        (kind,) = [a for a in arguments if a is not type(None)]
        return None if value is None else _decode(kind, value, where)
    return _scalar(kind, value, where)


def _origin_type(origin: Any) -> type:
    return origin if isinstance(origin, type) else type(None)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (str, int, float, bool) and type(value) is not kind:
        raise ValueError(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
    return value
