"""Whose turn it is: while one opclock times, no other one on this machine works.

Timing takes an exclusive turn, exporting a shared one. The turns are file locks, so the system
gives them back when a process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def _lock_file() -> Path:
    owner = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"opclock-turns-{owner}"


def turn(exclusive: bool, on_wait: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    """Hold a turn on this machine; `on_wait` is called once if somebody else has it."""
    return hold(_lock_file(), exclusive, on_wait)


@contextlib.contextmanager
def hold(path: Path, exclusive: bool, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a file, made if it is not there.

    Where the system has no such locks (Windows) everybody has a turn at once.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("a") as file:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, kind)
        yield
