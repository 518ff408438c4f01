"""Artifact formats in full: from what a user writes, or from what a target executes."""

from __future__ import annotations

from profiler import plugins
from profiler.errors import BadTarget, UnknownName
from profiler.types import Format, Target
from profiler.written import split_format


def parse(text: str) -> Format:
    """A whole format from a written one: what is left out gets the exporter's defaults.

    Raises UnknownName on an unknown format or option, BadTarget on anything else.
    """
    name, _ = split_format(text)
    exporter = plugins.load("exporters", name)
    return complete(Format.parse(text, exporter.PRECISIONS))


def complete(wanted: Format) -> Format:
    """A format with all its options, checked by its exporter."""
    exporter = plugins.load("exporters", wanted.name)
    for name in wanted.options:
        if name not in exporter.OPTIONS:
            raise BadTarget(f"format {wanted}: {UnknownName('option', name, exporter.OPTIONS)}")
    precision = wanted.precision or exporter.PRECISIONS[0]
    if precision not in exporter.PRECISIONS:
        known = ", ".join(exporter.PRECISIONS)
        raise BadTarget(f"format {wanted}: {precision} is not one of its precisions ({known})")
    whole = Format(wanted.name, precision, {**exporter.OPTIONS, **wanted.options})
    exporter.check(whole)
    return whole


def executed_by(target: Target) -> Format:
    """The format of the artifacts that a target executes.

    A runtime may take several formats (`format=` chooses), and may compute in another precision
    than its artifact holds. Options that both the runtime and the exporter have are passed on,
    and the unit where the exporter must know it.
    """
    runtime = plugins.load("profiler.runtimes", target.runtime)
    name = target.options.get("format", runtime.FORMATS[0])
    if name not in runtime.FORMATS:
        known = ", ".join(runtime.FORMATS)
        raise BadTarget(f"target {target}: {target.runtime} takes {known}, not {name}")
    exporter = plugins.load("exporters", name)
    options = {k: v for k, v in target.options.items() if k in exporter.OPTIONS}
    if "unit" in exporter.OPTIONS:
        options["unit"] = target.unit
    precision = getattr(runtime, "EXPORTED", {}).get(target.precision, target.precision)
    return complete(Format(name, precision, options))


def options_of(runtime_name: str) -> set[str]:
    """All options that a target of this runtime may have: its own, and its exporters'."""
    runtime = plugins.load("profiler.runtimes", runtime_name)
    found = {"format", *runtime.OPTIONS}
    for name in runtime.FORMATS:
        found |= set(plugins.load("exporters", name).OPTIONS)
    return found
