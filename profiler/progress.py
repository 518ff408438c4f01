"""A live line on the terminal: stage, share, time left. Quiet when nobody watches."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from profiler.collection import Progress
from profiler.environment import installed

# Drawing takes a core for a moment, beside the measurement: twice a second is enough.
REDRAW_S = 0.5


class Display:
    """Shows stages and their progress on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._drawn_s = 0.0
        if sys.stderr.isatty() and installed("rich"):
            self._bar = _make_bar()

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def stage(self, name: str) -> None:
        """Start a stage."""
        if not self._bar:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=None)
        self._bar.refresh()

    def update(self, progress: Progress) -> None:
        """Show how far the stage is, at most twice a second."""
        if not self._bar or self._task is None:
            return
        text = f"  ({progress.note})" if progress.note else ""
        self._bar.update(
            self._task, completed=progress.done, total=progress.total, note=text, refresh=False
        )
        if time.monotonic() - self._drawn_s >= REDRAW_S or progress.note:
            self._drawn_s = time.monotonic()
            self._bar.refresh()

    def say(self, text: str) -> None:
        """A line above the bar, or plainly on standard error."""
        if self._bar:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr)


def _make_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )

    class Noted(Bar):
        """A bar whose tasks have a note from the start."""

        def add_task(self, description: str, *args: Any, **fields: Any) -> Any:
            return super().add_task(description, *args, **{"note": "", **fields})

    return Noted(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
