"""The errors of Parallactic: one small tree, each a sentence that says what to do."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from typing import Any, Literal

__all__ = [
    "BackendUnavailable",
    "DependencyFailed",
    "InvalidSpec",
    "LossCause",
    "ParallacticError",
    "StateLost",
    "SubmitError",
    "TaskTimeout",
    "WorkerLost",
]

LossCause = Literal["exit", "signal", "oom", "walltime", "preempted", "node_fail", "unreachable"]


class ParallacticError(Exception):
    """The root of every error that Parallactic raises itself."""


class BackendUnavailable(ParallacticError, BrokenExecutor):
    """A backend was asked for and cannot be had, or none of its workers can start."""


class InvalidSpec(ParallacticError, ValueError):
    """What was asked for cannot be: a wrong value, an unknown name, an object that does not travel."""


class SubmitError(ParallacticError, RuntimeError):
    """The task could not be handed over: the queue is full, or the engine refused it."""


class TaskTimeout(ParallacticError, TimeoutError):
    """The task ran longer than its ``timeout``, counted from its start, and was stopped."""


class DependencyFailed(ParallacticError):
    """A future given as an argument failed or was cancelled; its error is the cause of this one."""


class StateLost(ParallacticError):
    """The task was addressed to a worker that has been replaced, and that worker's state is gone."""


class WorkerLost(ParallacticError):
    """The worker died, or was taken away, while it held this task.

    Parameters
    ----------
    message
        The sentence for a person.
    cause
        What took the worker away.
    log_tail
        The last lines that the worker wrote.
    """

    def __init__(self, message: str, *, cause: LossCause = "exit", log_tail: str = "") -> None:
        super().__init__(message)
        self.cause: LossCause = cause
        self.log_tail = log_tail

    def __reduce__(self) -> tuple[Any, ...]:
        return _worker_lost, (self.args[0], self.cause, self.log_tail)


def _worker_lost(message: str, cause: LossCause, log_tail: str) -> WorkerLost:
    return WorkerLost(message, cause=cause, log_tail=log_tail)
