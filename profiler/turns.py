"""Whose turn it is: while one opclock times, no other one on this machine works.

Timing takes an exclusive turn, exporting a shared one. The turns are file locks, so the system
gives them back when a process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Where a system has no locks of files (Windows), everybody has a turn at once.
AVAILABLE = importlib.util.find_spec("fcntl") is not None
LOOK_S = 0.05


def _lock_file() -> Path:
    owner = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"opclock-turns-{owner}"


def turn(exclusive: bool, on_wait: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    """Hold a turn on this machine; `on_wait` is called once if somebody else has it."""
    return hold(_lock_file(), exclusive, on_wait)


@contextlib.contextmanager
def hold(path: Path, exclusive: bool, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a file, made if it is not there."""
    if not AVAILABLE:
        yield
        return
    import fcntl

    with path.open("a") as file:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, kind)
        yield


class Clock:
    """Processes that load at the same time, and are timed one after the other, some times over.

    Who is timed for the last time keeps the clock until its process is gone: giving back what was
    loaded takes a core for a second. `path` is a file that all `members` share, which holds a byte
    for each time that one of them was timed; without one there is nobody else.
    """

    def __init__(self, path: str, members: int, while_waiting: Callable[[], None]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        # Open as long as the process lives.
        self._file = os.open(path, flags) if path and AVAILABLE else None
        self._members = members
        self._while_waiting = while_waiting
        self._timed = 0

    def load(self) -> None:
        """Wait until all were timed as often as oneself, and nobody is; none will be before
        `start`."""
        while self._file is not None and os.fstat(self._file).st_size < self._timed * self._members:
            self._wait()
        self._take(exclusive=False)

    def start(self) -> None:
        """Wait until nobody loads and nobody is timed any more."""
        self._take(exclusive=True)

    def stop(self) -> None:
        """Let the next be timed."""
        if self._file is None:
            return
        import fcntl

        self._timed += 1
        os.write(self._file, b".")
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def _take(self, exclusive: bool) -> None:
        if self._file is None:
            return
        import fcntl

        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        while True:
            try:
                # Who held it shared and does not get it holds nothing, and waits like anybody.
                fcntl.flock(self._file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                self._wait()
            else:
                return

    def _wait(self) -> None:
        self._while_waiting()
        time.sleep(LOOK_S)


def leave(path: str, times: int) -> None:
    """Count a process that is gone as timed so often: nobody waits for it any more."""
    if path:
        with Path(path).open("ab") as file:
            file.write(b"." * times)
