"""A run as its journal tells it: status from another shell, and a timeline of every attempt."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from parallactic.dispatch.journal import read_journal
from parallactic.errors import InvalidSpec
from parallactic.notebook import as_html

__all__ = ["Attempt", "RunHistory", "read_run"]


@dataclass(slots=True)
class Attempt:
    """One attempt at one task.

    Parameters
    ----------
    task, attempt, name
        Which.
    worker
        Where it ran.
    state
        ``running``, ``finished``, ``failed``, ``cancelled`` or ``retry``.
    launched, started, ended
        Seconds of the Unix epoch; `started` on the worker's clock; None where it did not come to that.
    wall, cpu
        Seconds it took.
    memory
        Bytes, the largest resident memory of its worker so far.
    error
        What it failed with.
    """

    task: int
    attempt: int
    name: str
    worker: int | None
    launched: float
    state: str = "running"
    started: float | None = None
    ended: float | None = None
    wall: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    error: str = ""


@dataclass(slots=True)
class RunHistory:
    """Everything a journal says about a run.

    Parameters
    ----------
    name, backend
        Which run.
    closed
        Whether it has ended in good order.
    submitted
        Names of the tasks, by number.
    attempts
        Every attempt, in the order they were launched.
    counts
        Tasks by how they ended.
    """

    name: str = ""
    backend: str = ""
    closed: bool = False
    submitted: dict[int, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def unfinished(self) -> list[str]:
        """Names of tasks that have not ended."""
        return list(self.submitted.values())

    def chrome_trace(self) -> dict[str, Any]:
        """Return the timeline in the Trace Event Format, which browsers and Perfetto show."""
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": f"{self.name} ({self.backend})"}}
        ]
        events += [
            {"ph": "M", "name": "thread_name", "pid": 0, "tid": worker, "args": {"name": f"worker {worker}"}}
            for worker in sorted({a.worker for a in self.attempts if a.worker is not None})
        ]
        for a in self.attempts:
            if a.ended is None:
                continue
            begin = a.started or a.launched
            events.append(
                {
                    "ph": "X",
                    "name": a.name,
                    "cat": a.state,
                    "pid": 0,
                    "tid": a.worker or 0,
                    "ts": begin * 1e6,
                    "dur": (a.wall or a.ended - begin) * 1e6,
                    "args": {
                        "task": a.task,
                        "attempt": a.attempt,
                        "cpu": a.cpu,
                        "memory": a.memory,
                        "error": a.error,
                    },
                }
            )
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def write_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the timeline to a new file.

        Raises
        ------
        InvalidSpec
            If the file exists or cannot be written.
        """
        text = json.dumps(self.chrome_trace())
        try:
            with Path(path).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise InvalidSpec(f"{str(path)!r} cannot be written: {error.strerror}.") from error

    def _repr_html_(self) -> str:
        return as_html(self.__rich__())

    def __rich__(self) -> Table:
        """Return a table: one row for each step of a recipe, or each name of task, with counts and times."""
        state = "ended" if self.closed else f"open, {len(self.submitted)} unfinished"
        table = Table(title=escape(f"{self.name}: {self.backend}, {state}"))
        columns = (
            "task",
            "attempts",
            "running",
            "failed",
            "wall s",
            "mean s",
            "longest s",
            "cpu %",
            "memory MB",
        )
        for column in columns:
            table.add_column(column, justify="right" if column in columns[1:] else "left")
        by_name: dict[str, list[Attempt]] = {}
        for attempt in self.attempts:
            # Tasks of a recipe are named "step: what they do".
            by_name.setdefault(attempt.name.partition(": ")[0], []).append(attempt)
        for name, attempts in by_name.items():
            states = Counter(a.state for a in attempts)
            walls = [a.wall for a in attempts]
            total = sum(walls)
            share = 100 * sum(a.cpu for a in attempts) / total if total else 0.0
            table.add_row(
                Text(name),
                str(len(attempts)),
                str(states["running"]),
                str(states["failed"] + states["retry"]),
                f"{total:.2f}",
                f"{total / len(walls):.3f}",
                f"{max(walls):.3f}",
                f"{share:.0f}",
                f"{max(a.memory for a in attempts) / 1e6:.0f}",
            )
        return table


def read_run(run_dir: str | os.PathLike[str]) -> RunHistory:
    """Read the journal of a run, of one that goes on as well.

    Parameters
    ----------
    run_dir
        The ``run_dir`` of an executor, a journal, or the output folder of a recipe: then its last run.

    Raises
    ------
    InvalidSpec
        If there is no journal, or the file is none.
    """
    path = _find_journal(Path(run_dir))
    history = RunHistory()
    names: dict[int, str] = {}
    live: dict[int, Attempt] = {}
    for entry in _entries(path):
        match entry["event"]:
            case "run":
                history.name, history.backend, history.closed = entry["name"], entry["backend"], False
            case "submit":
                names[entry["task"]] = history.submitted[entry["task"]] = entry["name"]
            case "launch":
                number = entry["task"]
                live[number] = Attempt(
                    number, entry["attempt"], names.get(number, "setup"), entry["worker"], entry["time"]
                )
                history.attempts.append(live[number])
            case "end":
                _end(history, live.pop(entry["task"], None), entry)
            case "close":
                history.closed = True
    return history


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a journal, which begins with a run."""
    wrong = f"{str(path)!r} is no journal of an executor; give its run_dir, or the output folder of a recipe."
    begun = False
    try:
        for entry in read_journal(path):
            begun = begun or (isinstance(entry, dict) and entry.get("event") == "run")
            if not begun:
                raise InvalidSpec(wrong)
            yield entry
    except ValueError as error:
        if isinstance(error, InvalidSpec):
            raise
        raise InvalidSpec(wrong) from error


def _find_journal(path: Path) -> Path:
    if path.is_file():
        return path
    own = path / "journal.jsonl"
    # A recipe keeps the run of its executor in logs/<date>/executor; the names of dates sort by time.
    found = [own] if own.is_file() else sorted(path.glob("logs/*/executor/journal.jsonl"))
    if not found:
        raise InvalidSpec(
            f"{str(path)!r} holds no journal; give the output folder of a recipe, the run_dir of an "
            "executor, or a journal.jsonl."
        )
    return found[-1]


def _end(history: RunHistory, attempt: Attempt | None, entry: dict[str, Any]) -> None:
    if attempt is not None:
        attempt.state, attempt.ended = entry["state"], entry["time"]
        attempt.error = entry.get("error", "")
        attempt.started = entry.get("started")
        attempt.wall, attempt.cpu = entry.get("wall", 0.0), entry.get("cpu", 0.0)
        attempt.memory = entry.get("memory", 0)
    if entry["state"] != "retry" and history.submitted.pop(entry["task"], None) is not None:
        history.counts[entry["state"]] += 1
