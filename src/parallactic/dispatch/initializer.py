"""The function that every worker runs before anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parallactic.dispatch.dispatcher import Dispatcher
from parallactic.dispatch.task import Role, Task
from parallactic.dispatch.workers import Worker
from parallactic.future import Future
from parallactic.spec import DEFAULT
from parallactic.wire.codec import encode_arguments, encode_function

__all__ = ["initializing"]


def initializing(
    dispatcher: Dispatcher, initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> Callable[[Worker], Task]:
    """Return what makes the task of an initializer for a worker that has come."""
    function = encode_function(initializer)
    arguments, _ = encode_arguments(initargs, {}, dispatcher.plane)
    spec = DEFAULT.updated(name="initializer")

    def make(worker: Worker) -> Task:
        # Before every task in the order: a negative number.
        number, future = -1 - worker.id, Future(dispatcher, "initializer")
        return Task(
            number, "initializer", function, arguments, [], spec, future, worker.id, worker.epoch,
            Role.INITIALIZER,
        )  # fmt: skip

    return make
