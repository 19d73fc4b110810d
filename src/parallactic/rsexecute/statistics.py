"""How long the functions of a graph took, by function; and when, as a page."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parallactic.errors import InvalidSpec
from parallactic.history import read_run
from parallactic.rsexecute.timeline import page

if TYPE_CHECKING:
    from parallactic.executor import Executor

__all__ = ["Made", "Recorder", "Statistics", "of_executor"]

_JOURNAL_SECONDS = 2.0
"""How long to wait at most for the journal to tell what has ended; it is written every few milliseconds."""


@dataclass(frozen=True, slots=True)
class Made:
    """One call that was made.

    Parameters
    ----------
    name
        Of the function.
    worker
        Where.
    started
        Seconds of the Unix epoch.
    wall, cpu
        Seconds it took.
    state
        ``finished``, ``failed``, ``cancelled`` or ``retry``.
    """

    name: str
    worker: int
    started: float
    wall: float
    cpu: float
    state: str = "finished"


class Statistics(dict[str, dict[str, float]]):
    """The time that each function took, and a summary; it prints as a table.

    For each function: ``time`` and ``cpu`` in seconds, ``fraction`` in per cent, ``number_calls``. For
    ``summary``: ``total`` and ``duration`` in seconds, and ``speedup``.

    Parameters
    ----------
    calls
        What was made.
    since, until
        Seconds of the Unix epoch between which it was.
    backend
        Where.
    """

    def __init__(self, calls: Iterable[Made], since: float, until: float, backend: str) -> None:
        super().__init__()
        self.calls = sorted(calls, key=lambda call: call.started)
        self.since, self.until, self.backend = since, until, backend
        total = sum(call.wall for call in self.calls)
        for call in self.calls:
            of = self.setdefault(call.name, {"time": 0.0, "fraction": 0.0, "number_calls": 0, "cpu": 0.0})
            of["time"] += call.wall
            of["cpu"] += call.cpu
            of["number_calls"] += 1
        for of in self.values():
            of["fraction"] = 100.0 * of["time"] / total if total else 0.0
        duration = max(until - since, 1e-9)
        self["summary"] = {"total": total, "duration": duration, "speedup": total / duration}

    def __rich__(self) -> Table:
        """Return the table, the function that took longest first."""
        s = self["summary"]
        table = Table(
            title=f"functions on {self.backend}",
            caption=f"processor time {s['total']:.3f} s, wall time {s['duration']:.3f} s, "
            f"speed-up {s['speedup']:.2f}",
        )
        for column in ("function", "time s", "%", "calls", "cpu s"):
            table.add_column(column, justify="left" if column == "function" else "right")
        rows = [(name, of) for name, of in self.items() if name != "summary"]
        for name, of in sorted(rows, key=lambda row: -row[1]["time"]):
            cells = (
                f"{of['time']:.3f}",
                f"{of['fraction']:.2f}",
                f"{of['number_calls']:d}",
                f"{of['cpu']:.3f}",
            )
            table.add_row(Text(name), *cells)
        return table

    def __str__(self) -> str:
        console = Console(width=110, no_color=True)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def write(self, name: str | os.PathLike[str]) -> Path:
        """Write the table and the timeline as a page, ``<name>_task_stream.html``; return its path.

        Raises
        ------
        InvalidSpec
            If it cannot be written.
        """
        path = Path(f"{os.fspath(name)}_task_stream.html")
        aside = path.with_name(f".{path.name}.partial-{os.getpid()}")
        try:
            aside.write_text(page(self), encoding="utf-8")
            aside.replace(path)
        except OSError as error:
            raise InvalidSpec(f"{str(path)!r} cannot be written: {error.strerror}.") from error
        return path


class Recorder:
    """Remembers the calls that were made in this process."""

    def __init__(self) -> None:
        self._calls: list[Made] = []
        self._depth = threading.local()

    def timed(self, function: Callable[..., Any], name: str | None) -> Callable[..., Any]:
        """Return `function` so that its calls are remembered; a call inside another counts for that one."""
        label = name or getattr(function, "__name__", None) or type(function).__name__

        @wraps(function, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._depth, "inside", False):
                return function(*args, **kwargs)
            self._depth.inside = True
            started, wall, cpu = time.time(), time.perf_counter(), time.thread_time()
            state = "failed"
            try:
                result = function(*args, **kwargs)
                state = "finished"
                return result
            finally:
                self._depth.inside = False
                wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
                self._calls.append(Made(label, 0, started, wall, cpu, state))

        return call

    def clear(self) -> None:
        """Forget all calls."""
        self._calls.clear()

    def statistics(self, since: float) -> Statistics:
        """Return the statistics of the calls since then."""
        return Statistics(self._calls, since, time.time(), "this process")


def of_executor(executor: Executor, since: float) -> Statistics:
    """Return the statistics of what an executor has run since then, from its journal."""
    until = time.time()
    counts = executor.status().counts
    ended = sum(counts.get(state, 0) for state in ("finished", "failed", "cancelled"))
    limit = time.monotonic() + _JOURNAL_SECONDS
    while True:
        history = read_run(executor.run_dir)
        if sum(history.counts.values()) >= ended or time.monotonic() > limit:
            break
        time.sleep(0.005)
    calls = [
        Made(a.name, a.worker or 0, a.started, a.wall, a.cpu, a.state)
        for a in history.attempts
        if a.ended is not None and a.started is not None and a.launched >= since
    ]
    return Statistics(calls, since, until, executor.backend)
