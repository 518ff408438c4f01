"""AOTInductor packages: torch's own compiler, ahead of time, for this machine's processor."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporters import _inductor_kernels, _sources, _torch_graph, exported_program
from profiler import choices, environment
from profiler.encoding import from_json, to_json
from profiler.environment import installed, package_version
from profiler.errors import BadModelFile, MissingPackage
from profiler.types import Format, Graph, Model, Source, Structure

SUFFIX = ".aoti.pt2"
PRECISIONS = ("fp32", "fp16", "bf16")
# The number of threads is compiled in. `freezing` makes the weights constants of the program, so
# that they can be laid out for the processor. `marks` has every kernel tell torch's profiler of
# itself, which takes time: such a package is profiled, not measured.
OPTIONS = {"threads": "1", "freezing": "1", "unit": "cpu", "marks": "0"}
CHOICES = {
    "threads": choices.THREADS,
    "freezing": choices.FLAG,
    "unit": ("cpu", "cuda"),
    "marks": choices.FLAG,
}
EXTRA = "torch"
INSTALL = "pip install torch==2.13.0"
COMPILERS = ("g++", "clang++")


def missing() -> str | None:
    """The one line that would make this exporter available, or None when it is."""
    if not installed("torch"):
        return INSTALL
    if not any(shutil.which(c) for c in COMPILERS):
        return "install a C++ compiler, such as Debian's package g++"
    place = importlib.util.find_spec("torch")
    if place and place.origin and " " in place.origin:
        # Inductor does not quote the paths of torch's headers.
        return f"install torch where no folder's name has a space; it is in {place.origin}"
    return None


def versions() -> dict[str, str]:
    """What decides the compiled program: torch, and the processor it is compiled for."""
    return {
        "torch": package_version("torch") or "not installed",
        "processor": environment.host().fingerprint,
    }


def check(wanted: Format) -> None:
    """Raise BadTarget on an option value that does not exist."""
    choices.check(wanted, CHOICES)


def export(model: Model, out: Path, wanted: Format) -> None:
    """Compile a torch module; what torch exported of it is described in a file beside it."""
    if missing():
        raise MissingPackage(f"torch's compiler is not available: {missing()}")
    import torch

    unit = wanted.options["unit"]
    if unit == "cuda":
        if not torch.cuda.is_available():
            raise MissingPackage("compiling for CUDA needs an Nvidia GPU and CUDA's build of torch")
        model = Model(model.module.cuda(), tuple(x.cuda() for x in model.inputs))
    program = exported_program.program(model, wanted.precision)
    torch.set_num_threads(int(wanted.options["threads"]))
    settings = {"freezing": wanted.options["freezing"] == "1"}
    marked = wanted.options["marks"] == "1"
    with (
        tempfile.TemporaryDirectory() as cache,
        _caching_in(cache),
        torch.no_grad(),
        _inductor_kernels.kept(out) if marked else contextlib.nullcontext(),
    ):
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(out),
            inductor_configs=settings | (_inductor_kernels.SETTINGS if marked else {}),
        )
    _sources.write(out, _sources.of_program(program))
    note = "operators are those that went into the compiler; kernels are compiled code"
    described = _torch_graph.structure(program, [note, _kernels(out)])
    out.with_name(out.name + ".json").write_text(json.dumps(to_json(described)))


@contextlib.contextmanager
def _caching_in(folder: str) -> Iterator[None]:
    """Inductor leaves sources and objects behind: in a folder that goes away."""
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if before is None:
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]
        else:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


def _kernels(path: Path) -> str:
    """How many kernels the compiler made, as its sources in the package say."""
    with zipfile.ZipFile(path) as archive:
        sources = [n for n in archive.namelist() if n.endswith(".kernel.cpp")]
        texts = [archive.read(n).decode(errors="replace") for n in sources]
    count = sum(t.count('extern "C"') for t in texts)
    return f"{count} fused kernels of its own"


def adopt(graph: Graph, out: Path, wanted: Format) -> None:
    """A user's ONNX file cannot be compiled by torch."""
    raise BadModelFile(f"{graph.path} is an ONNX file; torch needs the torch model instead")


def sources(path: Path) -> list[Source]:
    """The operators that went into the compiler, from the file beside the package."""
    return _sources.read(path)


def kernels(path: Path) -> list[tuple[str, list[str]]]:
    """The kernels of a package with marks, in order: names, and the operators made into each."""
    return _inductor_kernels.read(path)


def structure(path: Path) -> Structure:
    """What went into the compiler, from the file beside the package. Raises BadModelFile."""
    if not zipfile.is_zipfile(path) or not _is_package(path):
        raise BadModelFile(f"{path} is not a whole AOTInductor package")
    described = path.with_name(path.name + ".json")
    if not described.is_file():
        return Structure({}, {}, notes=(f"compiled code; {described.name} is not beside it",))
    return from_json(Structure, _read(described))


def _is_package(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any("aotinductor" in n for n in archive.namelist())


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise BadModelFile(f"{path} is not JSON: {error}") from error
