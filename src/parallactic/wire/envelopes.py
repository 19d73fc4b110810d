"""What passes between the dispatcher and a worker: a task on its way out, its outcome on the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parallactic.spec import DEFAULT, TaskSpec
from parallactic.wire.codec import Function
from parallactic.wire.payload import Input, Payload

__all__ = ["Awaited", "Envelope", "Outcome", "Stats"]


@dataclass(frozen=True, slots=True)
class Awaited:
    """An input that is not there yet: number `index` is the result of an attempt that the engine holds."""

    index: int
    task: int
    attempt: int


@dataclass(slots=True)
class Envelope:
    """One attempt at one task.

    Parameters
    ----------
    task
        Number of the task in its run.
    attempt
        1 for the first run, 2 for the first retry.
    name
        What the task is called.
    function
        What to call.
    arguments
        The pickled ``(args, kwargs)``.
    inputs
        Values that the arguments refer to by position.
    cores
        Threads that the task may use; 0 for those that its worker has.
    worker
        Number of the worker it goes to; None lets the engine choose.
    spec
        What was asked for it.
    awaited
        Which of the inputs are empty so far: the engine puts results in their places.
    renewed
        Whether whoever comes in the place of the worker runs it too, without being asked.
    """

    task: int
    attempt: int
    name: str
    function: Function
    arguments: Payload
    inputs: tuple[Input, ...] = ()
    cores: int = 1
    worker: int | None = None
    spec: TaskSpec = DEFAULT
    awaited: tuple[Awaited, ...] = ()
    renewed: bool = False


@dataclass(slots=True)
class Stats:
    """What an attempt cost.

    Parameters
    ----------
    started
        When user code began, seconds of the Unix epoch on the worker's clock.
    wall, cpu
        Seconds of execution, of processor time.
    memory
        The worker's largest resident memory so far, bytes.
    """

    started: float
    wall: float
    cpu: float
    memory: int


@dataclass(slots=True)
class Outcome:
    """How one attempt ended on its worker.

    Parameters
    ----------
    task, attempt
        Which attempt.
    ok
        True if `payload` is the result, False if it is ``(exception, traceback text)``.
    payload
        The result or the failure, pickled.
    stats
        What it cost.
    """

    task: int
    attempt: int
    ok: bool
    payload: Payload
    stats: Stats

    def control(self) -> tuple[Any, ...]:
        """Return everything but large buffers as a tuple of plain values."""
        s = self.stats
        return (self.task, self.attempt, self.ok, s.started, s.wall, s.cpu, s.memory)
