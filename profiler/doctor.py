"""What this machine can run and, for each thing that it cannot, what would change it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler import environment, plugins, processes
from profiler.errors import OpclockError
from profiler.processes import ROOT, Channel, Limits, one_line
from profiler.store import Store

IMPORT_LIMIT_S = 120.0
OUR_PACKAGES = ("profiler", "exporters", "benchmarks", "reports")
OUT_OF_REACH = (
    ("iPhone", "opclock has no transport to phones yet; a run needs a Mac and the phone"),
    ("Android, NNAPI", "opclock has no transport to phones yet; a run needs the phone"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing: whether it is there, what was seen, and what would change it."""

    name: str
    state: str
    detail: str
    remedy: str = ""


def examine(store: Path) -> list[Finding]:
    """All findings; frameworks are imported in a child, so a broken one cannot hurt."""
    found = [_python(), _machine(), _store(store)]
    imports = _imports()
    for package, kind in (("profiler.runtimes", "runtime"), ("exporters", "exporter")):
        found += [_plugin(package, kind, name) for name in plugins.names(package)]
    for name, (install, purpose) in _frameworks().items():
        problem = imports.get(name)
        if problem == "absent":
            found.append(Finding(name, "absent", purpose, install))
        elif problem:
            found.append(Finding(name, "broken", problem, install))
        else:
            version = environment.package_version(name) or "installed"
            found.append(Finding(name, "ok", f"{version}: {purpose}"))
    found += _shadows()
    found += [Finding(name, "not yet", "", remedy) for name, remedy in OUT_OF_REACH]
    return found


def _plugin(package: str, kind: str, name: str) -> Finding:
    module = plugins.load(package, name)
    title = f"{kind} {name}"
    missing = module.missing()
    if missing:
        return Finding(title, "absent", f"extra {module.EXTRA}", missing)
    version = plugins_version(package, name)
    others = environment.untested(module.INSTALL)
    if others:
        return Finding(title, "untested", f"{version}; {'; '.join(others)}", module.INSTALL)
    return Finding(title, "ok", version)


def plugins_version(package: str, name: str) -> str:
    """The version of what a plug-in drives."""
    module = plugins.load(package, name)
    if hasattr(module, "version"):
        return str(module.version())
    return ", ".join(f"{k} {v}" for k, v in module.versions().items())


def _frameworks() -> dict[str, tuple[str, str]]:
    """Packages that open something up: how they are installed, and what for."""
    return {
        "torch": ("pip install torch==2.13.0", "building and exporting networks"),
        "timm": (
            "pip install torch==2.13.0 torchvision==0.28.0 timm==1.0.31",
            "networks by name and the blocks of tables",
        ),
        "onnx": ("pip install onnx==1.23.2", "reading and composing ONNX files"),
        "onnxruntime": ("pip install onnxruntime==1.31.1", "running ONNX files"),
        "numpy": ("pip install numpy==2.3.5", "tables"),
        "openvino": ("pip install openvino==2026.4.1", "OpenVINO"),
        "coremltools": ("pip install coremltools==9.0 numpy==2.3.5", "writing Core ML packages"),
        "ai_edge_litert": ("pip install litert-torch==0.10.0", "running LiteRT files"),
        "executorch": ("pip install executorch==1.5.1", "writing and running .pte files"),
        "matplotlib": ("pip install matplotlib==3.11.2", "the demo's page"),
        "rich": ("pip install rich==15.0.0", "progress on the terminal"),
    }


def _imports() -> dict[str, str]:
    """For each framework nothing, "absent", or what its import said. Imports run in a child."""
    problems: dict[str, str] = {}
    waiting = [n for n in _frameworks() if environment.installed(n)]
    problems.update({n: "absent" for n in _frameworks() if n not in waiting})

    def on_line(line: dict[str, Any]) -> None:
        if line.get("problem"):
            problems[line["done"]] = line["problem"]

    processes.run_surviving(
        "profiler.doctor:try_imports",
        dict.fromkeys(waiting),
        lambda keys: {"names": keys},
        on_line,
        lambda key, death: problems.update({key: death.message}),
        Limits(IMPORT_LIMIT_S),
    )
    return problems


def try_imports(job: Mapping[str, Any], channel: Channel) -> None:
    """In the child: import each, a line for each."""
    for name in job["names"]:
        channel.announce(name)
        problem = ""
        try:
            if name == "timm":
                importlib.import_module("benchmarks.timm_library").timm()
            else:
                importlib.import_module(name)
        except Exception as error:  # a broken package raises anything
            problem = one_line(error)[:300]
        channel.send({"done": name, "problem": problem})


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", version)


def _machine() -> Finding:
    device = environment.host()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        detail = f"{device.description}; load {load:.2f}"
        return Finding("device host", "busy", detail, "stop what else runs before measuring")
    return Finding("device host", "ok", f"{device.description}; quiet (load {load:.2f})")


def _store(folder: Path) -> Finding:
    try:
        with Store(folder) as store:
            count = len(store.measurements())
            notes = "; ".join([f"{count} measurements", *store.notes])
    except OpclockError as error:
        return Finding("store", "broken", str(error), "choose another folder with --store")
    return Finding("store", "ok", f"{folder}: {notes}")


def _shadows() -> list[Finding]:
    """Our packages have plain names: another distribution's may stand in front of them."""
    found = []
    for name in OUR_PACKAGES:
        file = importlib.import_module(name).__file__
        place = Path(file).resolve().parent.parent if file else None
        if place != ROOT:
            remedy = f"remove the other {name} from the environment, or use a fresh one"
            found.append(Finding(f"package {name}", "broken", f"found at {place}", remedy))
    return found
