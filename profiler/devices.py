"""Which devices exist. Only the machine that opclock runs on, for now: a phone needs a phone."""

from __future__ import annotations

from profiler import environment, formats, plugins
from profiler.errors import BadTarget, UnknownName
from profiler.types import Device, Target
from profiler.written import split_target

DEFAULT_TARGET = "host/onnxruntime"


def names() -> list[str]:
    """The devices that a target may name."""
    return ["host"]


def device(name: str) -> Device:
    """A device by name. Raises UnknownName."""
    if name not in names():
        raise UnknownName("device", name, names())
    return environment.host()


def target(text: str) -> Target:
    """A whole target from a written one: what is left out gets the runtime's defaults.

    Raises UnknownName on an unknown device or runtime, BadTarget on anything else.
    """
    device_name, runtime_name, _ = split_target(text)
    device(device_name)
    runtime = plugins.load("profiler.runtimes", runtime_name)
    parsed = Target.parse(text, runtime.UNITS, runtime.PRECISIONS)
    known = formats.options_of(runtime_name)
    for name in parsed.options:
        if name not in known:
            raise BadTarget(f"target {text!r}: {UnknownName('option', name, known)}")
    whole = Target(
        parsed.device,
        parsed.runtime,
        parsed.unit or runtime.UNITS[0],
        parsed.precision or runtime.PRECISIONS[0],
        {**runtime.OPTIONS, **parsed.options},
    )
    runtime.check(whole)
    formats.executed_by(whole)
    return whole
