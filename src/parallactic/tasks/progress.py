"""Progress of the units of a task: on a terminal, in a notebook, or not at all."""

from __future__ import annotations

import sys
import time
from typing import Protocol, Self

from parallactic import notebook

__all__ = ["BAR_AFTER", "Progress"]

BAR_AFTER = 2.0
"""Seconds of silence before a bar appears."""

_REDRAW_SECONDS = 0.2


class _Shown(Protocol):
    def show(self, done: int) -> None:
        """Say how many have ended."""

    def stop(self) -> None:
        """Take the bar away."""


class Progress:
    """A progress bar, if a person looks at a terminal or a notebook and it takes more than a moment."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total = label, total
        self._start = time.monotonic()
        self._drawn = 0.0
        self._bar: _Shown | None = None
        self._wanted = sys.stderr.isatty() or notebook.in_notebook()

    def show(self, done: int) -> None:
        """Say how many have ended."""
        if not self._wanted:
            return
        now = time.monotonic()
        if self._bar is None:
            if now - self._start < BAR_AFTER:
                return
            kind = notebook.Bar if notebook.in_notebook() else _TerminalBar
            self._bar = kind(self._label, self._total)
        if now - self._drawn >= _REDRAW_SECONDS or done == self._total:
            self._drawn = now
            self._bar.show(done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class _TerminalBar:
    def __init__(self, label: str, total: int) -> None:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._row = self._progress.add_task(label, total=total)
        self._progress.start()

    def show(self, done: int) -> None:
        self._progress.update(self._row, completed=done)

    def stop(self) -> None:
        self._progress.stop()
