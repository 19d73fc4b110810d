"""Waiting for what must happen, for as long as it may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future as AnyFuture
from pathlib import Path
from typing import Any, Protocol

import pytest

from parallactic.executor import Executor
from parallactic.future import Future
from parallactic.status import WorkerStatus
from parallactic.testing import tasks

__all__ = [
    "Place",
    "all_up",
    "go",
    "lines",
    "pid_in",
    "settles",
    "undisturbed",
    "until",
    "worker_status",
]

_ATTEMPTS = 3


class Place(Protocol):
    """Where a function can be submitted: an executor, a target, a view with options."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Submit a function."""


def go(place: Place, function: Callable[..., Any], *args: Any) -> Future:
    """Submit a function and return at once, on every backend.

    An inline backend runs a task on the thread that submits it, unless one of its inputs is pending then.
    """
    gate: AnyFuture[None] = AnyFuture()
    future = place.submit(tasks.after, gate, function, *args)
    gate.set_result(None)
    return future


def settles(condition: Callable[[], Any], seconds: float) -> bool:
    """Tell whether a condition comes true within some seconds."""
    end = time.monotonic() + seconds
    while True:
        # Read before the condition, so that a host that stood still in between has its last look.
        late = time.monotonic() > end
        if condition():
            return True
        if late:
            return False
        time.sleep(0.002)


def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for a condition; fail if it does not come true."""
    if not settles(condition, seconds):
        pytest.fail(f"after {seconds:g} s still not: {what}")


def undisturbed(attempt: Callable[[int], bool], promise: str) -> None:
    """Try up to three times what a host that stands still for seconds can spoil; fail if it always is.

    A promise about time is kept by the code or not; a busy host breaks it now and then, a fault every time.

    Parameters
    ----------
    attempt
        Called with its number, 0, 1, 2, until it returns that all was in time. What no delay can spoil it
        asserts itself.
    promise
        What did not come true, for the failure.
    """
    if not any(attempt(number) for number in range(_ATTEMPTS)):
        pytest.fail(f"in none of {_ATTEMPTS} attempts: {promise}")


def pid_in(path: Path, seconds: float) -> int:
    """Wait until a task has announced itself in a file; return its process's id."""
    until(path.exists, seconds, f"a task wrote {path.name}")
    return int(path.read_text())


def lines(path: Path) -> list[str]:
    """Return the lines that tasks appended to a file, none if there is no file."""
    return path.read_text().splitlines() if path.exists() else []


def worker_status(executor: Executor, worker: int) -> WorkerStatus:
    """Return what `status` says about one worker."""
    return executor.status().workers[worker]


def all_up(executor: Executor, seconds: float) -> None:
    """Wait until every worker has reported."""
    ready = ("idle", "busy")
    until(
        lambda: all(worker.state in ready for worker in executor.status().workers),
        seconds,
        "all workers are up",
    )
