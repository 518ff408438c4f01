"""How targets and formats are written: words and options between commas."""

from __future__ import annotations

from collections.abc import Mapping

from profiler.errors import BadTarget


def split_target(text: str) -> tuple[str, str, list[str]]:
    """The device, the runtime and the remaining words of a written target."""
    place, words = _split(f"target {text!r}", text)
    device, slash, runtime = place.partition("/")
    if not slash:
        device, runtime = "host", device
    if not device or not runtime:
        raise BadTarget(
            f"target {text!r} is not device/runtime:unit,precision,option=value; "
            "for example host/onnxruntime:cpu,fp32,threads=1"
        )
    return device, runtime, words


def split_format(text: str) -> tuple[str, list[str]]:
    """The name and the remaining words of a written format."""
    name, words = _split(f"format {text!r}", text)
    if not name:
        raise BadTarget(f"format {text!r} is not name:precision,option=value, as in onnx:fp16")
    return name, words


def _split(what: str, text: str) -> tuple[str, list[str]]:
    place, _, rest = text.strip().partition(":")
    words = [w.strip() for w in rest.split(",")] if rest.strip() else []
    if any(not w for w in words):
        raise BadTarget(f"{what} has an empty part between commas")
    return place, words


def read_words(
    what: str, words: list[str], kinds: Mapping[str, tuple[str, ...]], owner: str
) -> tuple[list[str], dict[str, str]]:
    """For each kind the word that was given or "", and the options."""
    found = dict.fromkeys(kinds, "")
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            if not name or not value:
                raise BadTarget(f"{what}: option {word!r} is not name=value")
            if name in options:
                raise BadTarget(f"{what}: option {name!r} is given twice")
            options[name] = value
            continue
        kind = next((k for k in kinds if word in kinds[k] and not found[k]), None)
        if kind is None:
            known = " nor a ".join(f"{k} ({', '.join(kinds[k])})" for k in kinds)
            verb = "is neither a" if len(kinds) > 1 else "is not a"
            raise BadTarget(f"{what}: {word!r} {verb} {known} of {owner}, or is given twice")
        found[kind] = word
    return list(found.values()), options


def suffix(*words: str, options: Mapping[str, str]) -> str:
    """Words and sorted options, behind a colon if there are any."""
    parts = [w for w in words if w] + [f"{name}={options[name]}" for name in sorted(options)]
    return ":" + ",".join(parts) if parts else ""
