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
LOOK_S = 0.25


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
    """Processes that load at the same time, and are timed one after the other.

    Who has the clock keeps it until its process is gone: giving back what was loaded takes a core
    for a second. `path` is a file that they share; without one there is nobody else.
    """

    def __init__(self, path: str, while_waiting: Callable[[], None]) -> None:
        # Open as long as the process lives.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT) if path and AVAILABLE else None
        self._while_waiting = while_waiting

    def load(self) -> None:
        """Wait until nobody is timed; from then on nobody will be before `start`."""
        self._take(exclusive=False)

    def start(self) -> None:
        """Wait until nobody loads and nobody is timed any more."""
        self._take(exclusive=True)

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
                self._while_waiting()
                time.sleep(LOOK_S)
            else:
                return
