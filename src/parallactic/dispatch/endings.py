"""The errors that a task may end with, as sentences."""

from __future__ import annotations

import pickle

from parallactic.backend import Lost, WorkerDown
from parallactic.dispatch.task import Task
from parallactic.dispatch.workers import Worker
from parallactic.errors import DependencyFailed, ParallacticError, StateLost, TaskTimeout, WorkerLost
from parallactic.future import Future
from parallactic.wire.payload import Payload

__all__ = [
    "RemoteTraceback",
    "dependency_error",
    "lost_error",
    "remote_error",
    "state_lost",
    "time_error",
    "unpack_failure",
]


class RemoteTraceback(ParallacticError):
    """The traceback on the worker, as text; the cause of an exception that came from there."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _note(task: Task, worker: Worker | None) -> str:
    if worker is None:
        return f"task {task.name} (number {task.id}, attempt {task.attempt}), which no worker had begun"
    log = f", log {worker.log}" if worker.log else ""
    place = f"worker {worker.id}, host {worker.host}{log}"
    return f"task {task.name} (number {task.id}, attempt {task.attempt}) on {place}"


def remote_error(payload: Payload, task: Task, worker: Worker) -> BaseException:
    """Return the exception that user code raised, its type kept, with the remote traceback as its cause."""
    error = unpack_failure(payload, task.name)
    error.add_note(_note(task, worker))
    return error


def unpack_failure(payload: Payload, name: str) -> BaseException:
    """Unpickle an exception of a worker; one that cannot be is told in a `ParallacticError`."""
    try:
        error, text = pickle.loads(payload.head)
    except Exception as problem:  # noqa: BLE001  (unpickling runs code of the exception's class)
        return ParallacticError(
            f"{name} raised an exception that cannot be unpickled here: {problem!r}; "
            "the module of its class must be importable on the client too."
        )
    if not isinstance(error, BaseException):
        raise TypeError(f"a failure of {name} holds a {type(error).__name__} in place of an exception.")
    error.__cause__ = RemoteTraceback(text)
    return error


def lost_error(task: Task, worker: Worker | None, event: WorkerDown | Lost) -> WorkerLost:
    """Return what a task ends with whose worker died."""
    stood = "was running" if worker is not None else "was waiting"
    error = WorkerLost(
        f"task {task.name} {stood} when {event.message}", cause=event.cause, log_tail=event.log_tail
    )
    error.add_note(_note(task, worker))
    return error


def time_error(task: Task, worker: Worker) -> TaskTimeout | WorkerLost:
    """Return what a task ends with that ran for too long."""
    timeout, walltime = task.spec.timeout, task.spec.walltime
    error: TaskTimeout | WorkerLost
    if timeout is not None and (walltime is None or timeout <= walltime):
        error = TaskTimeout(f"task {task.name} ran longer than its timeout of {timeout:g} s and was stopped.")
    else:
        error = WorkerLost(
            f"task {task.name} ran longer than its walltime of {walltime:g} s and was ended.",
            cause="walltime",
        )
    error.add_note(_note(task, worker))
    return error


def state_lost(task: Task, worker: Worker) -> StateLost:
    """Return what a task ends with that was addressed to a worker which has been replaced, or has left."""
    if worker.leaving or worker.gone:
        return StateLost(
            f"task {task.name} was addressed to worker {worker.id}, which left at a resize, "
            "and took its namespace along. Take a new target."
        )
    return StateLost(
        f"task {task.name} was addressed to worker {worker.id}, epoch {task.epoch}, which has been replaced; "
        "what its namespace held is gone. Take a new target, or record how to rebuild it with setup(fn)."
    )


def dependency_error(future: Future, task: Task) -> DependencyFailed | None:
    """Return what a task ends with because an input has failed; None if the input is there."""
    if future.cancelled():
        return DependencyFailed(f"task {task.name} was not run: one of its inputs was cancelled.")
    cause = future.failure()
    if cause is None:
        return None
    first = cause
    # The text of what failed first, not of all that were not run for it: that would double with every link.
    while isinstance(first, DependencyFailed) and first.__cause__ is not None:
        first = first.__cause__
    error = DependencyFailed(f"task {task.name} was not run: one of its inputs failed with {first!r}.")
    error.__cause__ = cause
    return error
