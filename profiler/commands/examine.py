"""`doctor` and `list`: what there is, here and at all."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from profiler import devices, doctor, plugins, spaces, workloads
from profiler.commands import DONE, FAILED, emit
from reports.text import columns


def run_doctor(options: argparse.Namespace) -> int:
    """Print what this machine can run."""
    findings = doctor.examine(options.store)
    rows = [(f.state, f.name, f.detail, f.remedy) for f in findings]
    emit(options, {"findings": findings}, columns(("state", "what", "seen", "what to do"), rows))
    return FAILED if any(f.state == "broken" for f in findings) else DONE


def run_list(options: argparse.Namespace) -> int:
    """Print names: of models, benchmarks, blocks, spaces, targets or formats."""
    kinds = [options.kind] if options.kind else [k for k in LISTS if k != "models"]
    found = {kind: [n for n in LISTS[kind]() if options.filter in n] for kind in kinds}
    lines = []
    for kind, listed in found.items():
        lines += [f"{kind}:", *(f"  {name}" for name in listed)]
    if not options.kind:
        lines.append(
            "models:\n  see `opclock list models`; any module:function, .onnx and .pt2 too"
        )
    emit(options, found, "\n".join(lines))
    return DONE


def _models() -> list[str]:
    return [name for listed in workloads.families().values() for name in listed]


def _benchmarks() -> list[str]:
    families = plugins.names("benchmarks.operators")
    return [w.label for family in families for w in workloads.resolve(family)]


def _blocks() -> list[str]:
    found = [spaces.load(s) for s in plugins.names("benchmarks.spaces")]
    return [f"{s.name}: {f}" for s in found for f in sorted({k.split("/")[0] for k in s.keys})]


def _spaces() -> list[str]:
    listed = plugins.names("benchmarks.spaces")
    return [f"{s}: {plugins.load('benchmarks.spaces', s).DESCRIPTION}" for s in listed]


def _targets() -> list[str]:
    listed = []
    for device in devices.names():
        for name in plugins.names("profiler.runtimes"):
            runtime = plugins.load("profiler.runtimes", name)
            missing = f"  (not here: {runtime.missing()})" if runtime.missing() else ""
            options = "".join(f",{k}={v}" for k, v in runtime.OPTIONS.items())
            listed += [
                f"{device}/{name}:{unit},{precision}{options}{missing}"
                for unit in runtime.UNITS
                for precision in runtime.PRECISIONS
            ]
    return listed


def _formats() -> list[str]:
    listed = []
    for name in plugins.names("exporters"):
        exporter = plugins.load("exporters", name)
        missing = f"  (not here: {exporter.missing()})" if exporter.missing() else ""
        options = "".join(f",{k}={v}" for k, v in exporter.OPTIONS.items())
        listed += [f"{name}:{precision}{options}{missing}" for precision in exporter.PRECISIONS]
    return listed


LISTS: dict[str, Callable[[], list[str]]] = {
    "models": _models,
    "benchmarks": _benchmarks,
    "blocks": _blocks,
    "spaces": _spaces,
    "targets": _targets,
    "formats": _formats,
}
