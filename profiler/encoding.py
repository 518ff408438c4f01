"""Nouns to plain data and back: JSON, canonical text, digests."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Callable, Mapping
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
    try:
        return typing.cast(T, _decoder(typing.cast(Any, kind))(value))
    except _Mismatch as error:
        raise ValueError(f"{kind.__name__}{''.join(reversed(error.steps))}: {error}") from None


class _Mismatch(ValueError):
    """Data of another type than was expected; `steps` lead to it, the last one first."""

    def __init__(self, message: str, *steps: str) -> None:
        super().__init__(message)
        self.steps = list(steps)


Decoder = Callable[[Any], Any]


# A table has a hundred thousand entries: what a type asks for is found out once, not for each.
@functools.cache
def _decoder(kind: Any) -> Decoder:
    if dataclasses.is_dataclass(kind):
        return _noun(typing.cast(type, kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _row(_decoder(arguments[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_decoder(arguments[1]))
    if type(None) in arguments:
        (other,) = [a for a in arguments if a is not type(None)]
        decode = _decoder(other)
        return lambda value: None if value is None else decode(value)
    return _scalar(kind)


def _noun(kind: type) -> Decoder:
    hints = typing.get_type_hints(kind)
    decoders = {f.name: _decoder(hints[f.name]) for f in dataclasses.fields(kind)}

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(f"expected an object, found {type(value).__name__}")
        parts = {}
        for name, part in value.items():
            decode_one = decoders.get(name)
            if decode_one is None:
                raise _Mismatch(f"unknown field {min(set(value) - set(decoders))!r}")
            try:
                parts[name] = decode_one(part)
            except _Mismatch as error:
                error.steps.append(f".{name}")
                raise
        try:
            return kind(**parts)
        except TypeError as error:
            raise _Mismatch(str(error)) from None

    return decode


def _row(decode_one: Decoder) -> Decoder:
    def decode(value: Any) -> Any:
        if not isinstance(value, list):
            raise _Mismatch(f"expected a list, found {type(value).__name__}")
        found = []
        for place, one in enumerate(value):
            try:
                found.append(decode_one(one))
            except _Mismatch as error:
                error.steps.append(f"[{place}]")
                raise
        return tuple(found)

    return decode


def _mapping(decode_one: Decoder) -> Decoder:
    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(f"expected an object, found {type(value).__name__}")
        found = {}
        for name, one in value.items():
            try:
                found[name] = decode_one(one)
            except _Mismatch as error:
                error.steps.append(f".{name}")
                raise
        return found

    return decode


def _scalar(kind: Any) -> Decoder:
    if kind not in (str, int, float, bool, Path):
        return lambda value: value

    def decode(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind is Path and isinstance(value, str):
            return Path(value)
        if kind is float and type(value) is int:
            return float(value)
        raise _Mismatch(f"expected {kind.__name__}, found {type(value).__name__}")

    return decode
