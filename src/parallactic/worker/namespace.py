"""What a task function can ask about the worker it runs on, and that worker's persistent namespace."""

from __future__ import annotations

import os
import socket
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from parallactic.errors import InvalidSpec

__all__ = ["WorkerInfo", "current", "namespace", "pull", "push", "run_code", "set_process_worker", "worker"]


@cache
def hostname() -> str:
    """Return this host's name."""
    return socket.gethostname()


@dataclass(slots=True)
class WorkerInfo:
    """The worker that runs the present task.

    Parameters
    ----------
    id
        Number of the worker, from 0.
    epoch
        How often this worker has been replaced; its namespace began with this epoch.
    backend
        Name of the backend.
    cores
        Threads that the present task may use.
    host, pid
        Where it runs.
    task, name
        Number and name of the present task; 0 and an empty string between tasks.
    run
        Name of the run that it serves.
    """

    id: int
    epoch: int
    backend: str
    cores: int = 1
    host: str = field(default_factory=hostname)
    pid: int = field(default_factory=os.getpid)
    task: int = 0
    name: str = ""
    run: str = ""
    variables: dict[str, Any] = field(default_factory=dict, repr=False)


current: ContextVar[WorkerInfo | None] = ContextVar("parallactic_worker", default=None)
"""The worker on whose behalf this thread runs, where several share one process."""

_of_process: list[WorkerInfo] = []


def set_process_worker(info: WorkerInfo) -> None:
    """Make `info` the worker of this whole process, threads started by user code included."""
    _of_process[:] = [info]


def find_worker() -> WorkerInfo | None:
    """Return the worker that runs the present task, or None outside of a task."""
    return current.get() or (_of_process[0] if _of_process else None)


def worker() -> WorkerInfo:
    """Return the worker that runs the present task.

    Raises
    ------
    InvalidSpec
        Outside of a task.
    """
    found = find_worker()
    if found is None:
        raise InvalidSpec(
            "worker() was called outside of a task; only a function that a worker runs has one."
        )
    return found


def namespace() -> dict[str, Any]:
    """Return the persistent namespace of the worker that runs the present task.

    It lives as long as that worker, and is what ``Target.push``, ``pull`` and ``run`` see.

    Raises
    ------
    InvalidSpec
        Outside of a task.
    """
    return worker().variables


def push(variables: dict[str, Any]) -> None:
    """Set variables of this worker's namespace."""
    namespace().update(variables)


def pull(names: tuple[str, ...]) -> Any:
    """Return one variable of this worker's namespace, or a tuple of several.

    Raises
    ------
    NameError
        If there is no such variable.
    """
    variables = namespace()
    for name in names:
        if name not in variables:
            info = worker()
            raise NameError(f"name {name!r} is not defined on worker {info.id} (epoch {info.epoch})")
    values = tuple(variables[name] for name in names)
    return values[0] if len(values) == 1 else values


def run_code(code: str) -> Any:
    """Evaluate an expression and return its value, or execute statements and return None.

    Raises
    ------
    SyntaxError
        If it is neither.
    """
    variables = namespace()
    try:
        compiled = compile(code, "<parallactic>", "eval")
    except SyntaxError:
        exec(compile(code, "<parallactic>", "exec"), variables)
        return None
    return eval(compiled, variables)
