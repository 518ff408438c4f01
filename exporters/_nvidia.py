"""The Nvidia GPU of this machine, and the libraries that build and run engines for it."""

from __future__ import annotations

import ctypes
import functools
import importlib
from dataclasses import dataclass
from typing import Any

from profiler.environment import installed, package_version
from profiler.errors import MissingPackage

NEEDS_GPU = "needs an Nvidia GPU and its driver"
INSTALL = "pip install tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116"
TITLES = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx_bindings"}
PACKAGES = {
    "tensorrt": ("tensorrt", "tensorrt_cu13", "tensorrt_cu12"),
    "rtx": ("tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu12_bindings"),
}
# Attributes of the driver's interface: the two halves of a compute capability.
MAJOR, MINOR = 75, 76


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU; `compute` is written sm86, `driver` is the CUDA version that it supports, 13.0."""

    name: str
    compute: str
    driver: str

    def __str__(self) -> str:
        return f"{self.name}, {self.compute}, driver {self.driver}"


@functools.cache
def gpu(driver: str = "libcuda.so.1") -> Gpu | None:
    """The first GPU, as Nvidia's driver tells it; None without a driver or a GPU."""
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return None
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    name, major, minor = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return Gpu(
        name.value.decode(errors="replace"),
        f"sm{major.value}{minor.value}",
        f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def version_of(library: str) -> str | None:
    """The installed version of `tensorrt` or `rtx`, without importing it."""
    return next((v for p in PACKAGES[library] if (v := package_version(p))), None)


def choose(library: str) -> str:
    """Which library `auto` is here: TensorRT where it can build, else TensorRT for RTX.

    Raises MissingPackage when the one asked for is not installed.
    """
    if library == "auto":
        whole = installed(MODULES["tensorrt"]) and (gpu() or not installed(MODULES["rtx"]))
        library = "tensorrt" if whole else "rtx"
    if not installed(MODULES[library]):
        remedy = {"rtx": INSTALL, "tensorrt": "pip install tensorrt"}[library]
        raise MissingPackage(f"{TITLES[library]} is not installed: {remedy}")
    return library


def load_library(library: str) -> Any:
    """Import `tensorrt` or `rtx`: two modules of one interface."""
    return importlib.import_module(MODULES[library])


@functools.cache
def log_of(library: str) -> Any:
    """The logger of a library, which keeps the first that it is given for good.

    `problems` are its errors and warnings, `layers` is the builder's list of what it compiled.
    """
    trt = load_library(library)
    base: Any = trt.ILogger

    class Log(base):  # type: ignore[misc]
        """Keeps what a failure has to be explained with."""

        def __init__(self) -> None:
            base.__init__(self)
            self.clear()

        def clear(self) -> None:
            self.problems: list[str] = []
            self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= base.Severity.WARNING:
                self.problems.append(message)
            elif message.startswith("Layers:\n"):
                self.layers = message

    return Log()


def last_problems(log: Any, count: int = 3) -> str:
    """The last things that went wrong, in one line."""
    return "; ".join(" ".join(p.split())[:300] for p in log.problems[-count:]) or "no reason given"
