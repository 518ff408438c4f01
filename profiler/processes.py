"""Child processes that do the dangerous work: export and time.

The contract is the same for every child: a job file goes in, lines of JSON come out on its
standard output, and before it touches an item it announces that item in a file, so that the
parent knows whom to blame when the child dies. Whatever else the child prints goes to a log.
The parent sleeps until a line comes; a child whose parent is gone ends itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOG_TAIL_BYTES = 4000
BEAT_S = 0.5
LOOK_S = 0.5
# Threads whose children were ended get so long to notice.
STOP_S = 5.0
EXCEEDED = ("timeout", "memory-limit")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096

Line = dict[str, Any]
OnLine = Callable[[Line], None]


@dataclass(frozen=True, slots=True)
class Death:
    """A child that ended before its work did; `item` is what it had announced last."""

    kind: str
    message: str
    item: str | None
    log: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use: seconds without a sign of life, bytes of memory (None: all)."""

    silence_s: float
    memory_bytes: int | None = None


# The parent's side -----------------------------------------------------------------------------


def run(entry: str, job: Mapping[str, Any], on_line: OnLine, limits: Limits) -> Death | None:
    """Run the child `entry` ("package.module:function") on a job until it ends.

    A child that goes beyond its limits is ended with its whole process group.
    Returns None when it finished its work.
    """
    group: _Group | None = getattr(_here, "group", None)
    if group:
        group.check()
    with tempfile.TemporaryDirectory(prefix="opclock-job-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        (folder / "announced").touch()
        kills_before = _oom_kills()
        with (folder / "log").open("wb") as log, _child(entry, folder, log) as child:
            finished, exceeded = _listen(child, on_line, limits)
            if exceeded:
                end(child)
            code = child.wait()
        if finished and code == 0:
            return None
        text = _tail(folder / "log")
        item = (folder / "announced").read_text().strip() or None
        if exceeded:
            return Death(*exceeded, item, text)
        kind, message = _cause(code, _oom_kills() > kills_before, text)
        return Death(kind, message, item, text)


def run_surviving(
    entry: str,
    items: Mapping[str, Any],
    make_job: Callable[[list[str]], Mapping[str, Any]],
    on_line: OnLine,
    on_death: Callable[[str, Death], None],
    limits: Limits,
) -> None:
    """Run the child over all items; an item that kills it does not take the others along.

    A line {"done": key} strikes an item off. The item announced at a death is tried once more
    alone, except after it went beyond its limits; if it kills again, `on_death` is told. The
    others go on in a fresh child, and so do those that a child left when it ended in peace. A child
    that dies before it announces anything is started once more.
    """
    pending = list(items)
    unannounced = 0

    def listen(line: Line) -> None:
        if line.get("done") in pending:
            pending.remove(line["done"])
        on_line(line)

    while pending:
        left = len(pending)
        death = run(entry, make_job(list(pending)), listen, limits)
        if death is None and len(pending) < left:
            continue
        if death is None:
            return
        victim = death.item if death.item in pending else None
        if victim is None:
            unannounced += 1
            if unannounced == 1 and death.kind not in EXCEEDED:
                continue
            for key in list(pending):
                on_death(key, death)
            return
        if death.kind not in EXCEEDED:
            death = run(entry, make_job([victim]), listen, limits)
        if death is not None:
            on_death(victim, death)
        if victim in pending:
            pending.remove(victim)


class Stopped(Exception):
    """Whoever waited for this work does not wait any more."""


class _Group:
    """Threads that wait for children, and these children."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []
        self.stopped = False

    def add(self, child: subprocess.Popen[bytes]) -> None:
        """A child was started. Raises Stopped when nobody waits for it."""
        with self._lock:
            self._children.append(child)
        self.check()

    def check(self) -> None:
        """Raise Stopped when nobody waits any more."""
        if self.stopped:
            raise Stopped

    def stop(self) -> None:
        """End all children; none will be started in their place."""
        with self._lock:
            self.stopped = True
            for child in self._children:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if child.poll() is None:
                        os.killpg(child.pid, signal.SIGKILL)


_here = threading.local()


def together(tasks: Sequence[Callable[[], object]]) -> None:
    """Run tasks, each in a thread of its own, to their ends; then raise the first error of any.

    Whoever is interrupted while it waits (Ctrl-C) ends what their children do.
    """
    errors: list[BaseException] = []
    group = _Group()

    def work(task: Callable[[], object]) -> None:
        _here.group = group
        try:
            task()
        except BaseException as error:  # carried to the caller's thread, raised there
            errors.append(error)

    if len(tasks) == 1:
        tasks[0]()
        return
    threads = [threading.Thread(target=work, args=(t,), daemon=True) for t in tasks]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        # Some still run only if the waiting was broken off.
        if any(t.is_alive() for t in threads):
            group.stop()
            for thread in threads:
                thread.join(STOP_S)
    if errors:
        raise errors[0]


@contextlib.contextmanager
def _child(entry: str, folder: Path, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    # -P keeps the current directory out of the import path, so that a user's file named like a
    # standard module (our own profile.py among them) cannot stand before it; what the user may
    # import is appended instead.
    paths = [str(ROOT), os.getcwd()]
    boot = (
        f"import sys; sys.path += [p for p in {paths!r} if p not in sys.path]; "
        f"from profiler.processes import serve; serve({entry!r}, {str(folder)!r})"
    )
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", boot],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        env={
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        },
    )
    try:
        if group := getattr(_here, "group", None):
            group.add(child)
        yield child
    finally:
        end(child)
        for stream in (child.stdin, child.stdout):
            if stream:
                stream.close()


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child and its whole process group; harmless when they are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _listen(
    child: subprocess.Popen[bytes], on_line: OnLine, limits: Limits
) -> tuple[bool, tuple[str, str] | None]:
    """Pass lines on until the child closes its output.

    Returns whether it finished, and which limit it exceeded: its kind and a sentence.
    """
    assert child.stdout is not None
    finished = False
    rest = b""
    descriptor = child.stdout.fileno()
    silent_since = time.monotonic()
    # Only who limits memory has to look: a parent that wakes disturbs what is timed.
    wait_s = LOOK_S if limits.memory_bytes else limits.silence_s
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            ready = selector.select(min(wait_s, limits.silence_s))
            exceeded = _exceeded(child.pid, time.monotonic() - silent_since, limits)
            if not ready and exceeded:
                return finished, exceeded
            if not ready:
                continue
            silent_since = time.monotonic()
            data = os.read(descriptor, 1 << 20)
            if not data:
                return finished, None
            *lines, rest = (rest + data).split(b"\n")
            for text in lines:
                line = json.loads(text)
                if line.get("finished"):
                    finished = True
                else:
                    on_line(line)


def _exceeded(pid: int, silent_s: float, limits: Limits) -> tuple[str, str] | None:
    if silent_s >= limits.silence_s:
        return "timeout", f"no sign of life within {limits.silence_s:g} s"
    if limits.memory_bytes and (used := _resident_bytes(pid)) > limits.memory_bytes:
        return "memory-limit", (
            f"{used / 1e9:.1f} GB of memory, more than the {limits.memory_bytes / 1e9:.1f} GB "
            "that it may use"
        )
    return None


def _resident_bytes(pid: int) -> int:
    """What a process holds in memory (Linux; elsewhere 0, so that no limit is enforced)."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return 0


def _cause(code: int, out_of_memory: bool, log: str) -> tuple[str, str]:
    if code < 0:
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL and out_of_memory:
            return "out-of-memory", "the system ended the process because memory ran out"
        if -code == signal.SIGKILL:
            return "killed", "the process was killed (SIGKILL) from outside"
        return "crash", f"the process died of {name}"
    last = log.strip().splitlines()[-1:] or ["it said nothing"]
    return "exit", f"the process ended with exit code {code}; {last[0][:300]}"


def _oom_kills() -> int:
    """How many processes the system has ended for want of memory so far (Linux)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _tail(path: Path) -> str:
    return path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


# The child's side ------------------------------------------------------------------------------


class Channel:
    """The child's way to its parent: lines out, and the announcement of the current item."""

    def __init__(self, lines: int, announced: int) -> None:
        self._lines = lines
        self._announced = announced
        self._beaten_s = 0.0

    def announce(self, key: str) -> None:
        """Say which item comes next, without waking the parent."""
        os.ftruncate(self._announced, 0)
        os.pwrite(self._announced, key.encode(), 0)

    def send(self, line: Mapping[str, Any]) -> None:
        """Send one line."""
        data = (json.dumps(line) + "\n").encode()
        while data:
            data = data[os.write(self._lines, data) :]

    def beat(self, share: float) -> None:
        """Tell how far the job is, at most twice a second: waking the parent costs a core."""
        now = time.monotonic()
        if now - self._beaten_s >= BEAT_S:
            self._beaten_s = now
            self.send({"share": share})


def serve(entry: str, folder: str) -> None:
    """Run a child: the function `entry` takes the job and the channel."""
    channel = Channel(os.dup(1), os.open(os.path.join(folder, "announced"), os.O_RDWR))
    parent = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    _prefer_as_victim()
    module, _, function = entry.partition(":")
    job = json.loads(Path(folder, "job.json").read_text())
    getattr(importlib.import_module(module), function)(job, channel)
    channel.send({"finished": True})
    sys.stdout.flush()
    sys.stderr.flush()
    # Frameworks have been seen to crash while they unload; the work is done and said.
    os._exit(0)


def _end_with_parent(parent: int) -> None:
    with contextlib.suppress(OSError):
        os.read(parent, 1)
    os._exit(1)


def _prefer_as_victim() -> None:
    """When memory runs out, the child shall go, not its parent or the user's shell."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def one_line(error: BaseException) -> str:
    """One line for an exception, its type first, then what it says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def chunks(keys: Sequence[str], count: int) -> list[list[str]]:
    """Deal the keys out to at most `count` hands."""
    return [list(keys[i::count]) for i in range(min(count, len(keys)))]
