"""The machine: what it is, which versions it runs, and how quiet it is."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import profiler
from profiler.encoding import digest
from profiler.types import Device, Telemetry

PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime", "numpy")
# glibc's M_MMAP_MAX and M_TRIM_THRESHOLD.
NO_MAPPINGS, TRIM_ABOVE = -4, -1


def host() -> Device:
    """The machine that opclock itself runs on."""
    return device_of(hardware())


def device_of(facts: Mapping[str, Any]) -> Device:
    """The machine that `hardware` describes. Raises KeyError on facts that are not whole."""
    cores = facts["cores"]
    description = f"{facts['cpu']}, {cores} core{'s' if cores != 1 else ''}, {facts['system']}"
    parts = ("cpu", "cores", "machine", "caches", "system")
    return Device("host", description, digest({k: facts[k] for k in parts}))


def describe() -> dict[str, Any]:
    """Machine and versions, as stored with every measurement."""
    return {"opclock": profiler.__version__, "hardware": hardware(), "packages": packages()}


def hardware() -> dict[str, Any]:
    """Processor, cores, caches, memory and system."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "machine": platform.machine(),
        "caches": _caches(),
        "memory_bytes": memory_bytes(),
        "system": platform.system(),
        "kernel": platform.release(),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
        or "unknown",
    }


def packages() -> dict[str, str]:
    """Versions of Python and of the packages that decide a latency, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        version = package_version(name)
        if version:
            found[name] = version
    return found


@functools.cache
def package_version(name: str) -> str | None:
    """The installed version of a package, without importing it; looked up once, for its description
    takes a millisecond to read."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def memory_bytes() -> int | None:
    """The machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def held_bytes() -> int | None:
    """What this process holds in memory now (Linux)."""
    return _own_memory("VmRSS")


def keep_memory() -> None:
    """Let this process keep what memory it gives back, for itself (Linux with glibc).

    Fresh memory has to be cleared, and where the machine is a virtual one its host has to find it
    first: copying gigabytes through fresh buffers takes three times as long.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(NO_MAPPINGS, 0)
        library.mallopt(TRIM_ABOVE, 2**31 - 1)


def restart_peak() -> int | None:
    """What this process holds in memory now, in bytes; `peak_bytes` counts from here on (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return held_bytes()


def peak_bytes() -> int | None:
    """The most that this process has held in memory since `restart_peak` (Linux)."""
    return _own_memory("VmHWM")


def _own_memory(name: str) -> int | None:
    for line in (_read(Path("/proc/self/status")) or "").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def _cpu() -> str:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def last_cache_bytes() -> int | None:
    """The size of the processor's last cache; None where the system does not tell."""
    sizes = [s.removesuffix("K") for s in list(_caches().values())[-1:]]
    return int(sizes[0]) << 10 if sizes and sizes[0].isdigit() else None


def _caches() -> dict[str, str]:
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        if level and kind and size and kind != "Instruction":
            caches[f"L{level}"] = size
    return caches


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of the whole machine and of this process at one moment."""

    wall_s: float
    busy_s: float | None
    steal_s: float | None
    own_s: float
    involuntary_switches: int | None


def read_counters() -> Reading:
    """Take a reading: two system calls and one small file, some 50 us."""
    busy = steal = None
    stat = _read(Path("/proc/stat"))
    if stat:
        ticks = [int(v) for v in stat.splitlines()[0].split()[1:]]
        per_second = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq, stolen = ticks[:8]
        busy = (user + nice + system + irq + softirq) / per_second
        steal = stolen / per_second
    switches = None
    if sys.platform != "win32":
        import resource

        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return Reading(time.perf_counter(), busy, steal, time.process_time(), switches)


def quietness(before: Reading, after: Reading) -> Telemetry:
    """What others did between two readings: cores that they kept busy, share stolen by the host."""
    wall = max(after.wall_s - before.wall_s, 1e-9)
    foreign = steal = switches = None
    if before.busy_s is not None and after.busy_s is not None:
        others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
        foreign = round(max(0.0, others) / wall, 3)
    if before.steal_s is not None and after.steal_s is not None:
        steal = round(max(0.0, after.steal_s - before.steal_s) / wall, 4)
    if before.involuntary_switches is not None and after.involuntary_switches is not None:
        switches = after.involuntary_switches - before.involuntary_switches
    return Telemetry(foreign, steal, switches, _clock_hz(), _temperature_c())


def _clock_hz() -> int | None:
    khz = _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"))
    return int(khz) * 1000 if khz and khz.isdigit() else None


def _temperature_c() -> float | None:
    milli = _read(Path("/sys/class/thermal/thermal_zone0/temp"))
    return int(milli) / 1000 if milli and milli.lstrip("-").isdigit() else None


def disturbances(telemetry: Telemetry, max_foreign_cores: float, max_steal: float) -> list[str]:
    """Reasons why a round should not count, in words."""
    reasons = []
    if telemetry.foreign_cores is not None and telemetry.foreign_cores > max_foreign_cores:
        reasons.append(f"others kept {telemetry.foreign_cores:.2f} cores busy")
    if telemetry.steal is not None and telemetry.steal > max_steal:
        reasons.append(f"the host took {telemetry.steal:.0%} of the time")
    return reasons


def untested(install: str) -> list[str]:
    """For each package that an install line pins: a sentence where another version is installed."""
    found = []
    for word in install.split():
        name, pinned, version = word.partition("==")
        installed_version = package_version(name) if pinned else None
        if installed_version and installed_version.partition("+")[0] != version:
            found.append(f"{name} {installed_version} is installed, {version} was tested")
    return found
