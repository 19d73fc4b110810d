"""A snapshot of a run: its workers, its tasks, its counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from parallactic.notebook import as_html

__all__ = ["Status", "TaskStatus", "WorkerStatus"]

WorkerState = Literal["starting", "idle", "busy", "unresponsive", "leaving", "lost"]


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker.

    Parameters
    ----------
    id, epoch
        Its number, and how often it has been replaced.
    state
        What it does. `unresponsive` gets no new work; `leaving` ends what it runs, after `Executor.resize`;
        `lost` is being replaced.
    host, pid
        Where it runs.
    task
        Name of the task it runs, or an empty string.
    queued
        Tasks addressed to it that wait.
    done
        Tasks it has ended.
    log
        File of what it printed, if it has one.
    """

    id: int
    epoch: int
    state: WorkerState
    host: str
    pid: int
    task: str
    queued: int
    done: int
    log: str


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """One unfinished task."""

    id: int
    name: str
    state: Literal["held", "queued", "running"]
    worker: int | None
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """A run at one moment. Prints as a table; `to_dict` is plain data.

    Parameters
    ----------
    backend, name, run_dir
        Which run.
    workers
        Every worker.
    tasks
        Unfinished tasks, the oldest first; at most a thousand.
    counts
        Tasks by state: held (inputs pending), queued, running, finished, failed, cancelled, retried.
    dashboard
        Address of the engine's own dashboard, if it has one.
    """

    backend: str
    name: str
    run_dir: str
    workers: tuple[WorkerStatus, ...]
    tasks: tuple[TaskStatus, ...]
    counts: Mapping[str, int]
    dashboard: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    def __rich__(self) -> Table:
        counts = ", ".join(f"{number} {state}" for state, number in self.counts.items() if number)
        caption = counts or "no tasks yet"
        if self.dashboard:
            caption += f"\ndashboard: {self.dashboard}"
        # Names are a person's own: brackets in them are no markup.
        table = Table(title=escape(f"{self.name}: {self.backend}"), caption=escape(caption))
        for column in ("worker", "state", "host", "pid", "task", "queued", "done"):
            table.add_column(
                column, justify="right" if column in ("worker", "pid", "queued", "done") else "left"
            )
        for worker in self.workers:
            number = str(worker.id) if not worker.epoch else f"{worker.id} (epoch {worker.epoch})"
            cells = (
                worker.state,
                worker.host,
                str(worker.pid),
                worker.task,
                str(worker.queued),
                str(worker.done),
            )
            table.add_row(number, *map(Text, cells))
        return table

    def __str__(self) -> str:
        console = Console(width=110, no_color=True)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def _repr_html_(self) -> str:
        return as_html(self.__rich__())
