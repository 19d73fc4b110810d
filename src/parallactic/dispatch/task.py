"""What the dispatcher knows about one task."""

from __future__ import annotations

from enum import Enum
from typing import Any

from parallactic.future import Future
from parallactic.spec import TaskSpec
from parallactic.wire.codec import Function
from parallactic.wire.envelopes import Awaited, Envelope
from parallactic.wire.payload import Input, Payload

__all__ = ["Role", "State", "Task"]


class State(Enum):
    """Where a task stands."""

    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


class Role(Enum):
    """Why a task exists."""

    CALL = 0
    SETUP = 1
    """Recorded when it has succeeded, and replayed whenever its worker is replaced."""

    SETUP_EVERYWHERE = 2
    """The same, and replayed on workers that join later too."""

    REPLAY = 3
    """A setup that runs again on a new epoch; nobody waits for it."""

    INITIALIZER = 4


class Task:
    """One task from submit to its end. Owned by the dispatcher's thread."""

    __slots__ = (
        "arguments", "attempt", "doomed", "epoch", "failures", "function", "future", "handed", "id", "name",
        "overtime", "role", "since", "sources", "spec", "state", "target", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        name: str,
        function: Function,
        arguments: Payload,
        sources: list[Any],
        spec: TaskSpec,
        future: Future,
        target: int | None = None,
        epoch: int = 0,
        role: Role = Role.CALL,
    ) -> None:
        self.id = number
        self.name = name
        self.function = function
        self.arguments = arguments
        self.sources = sources
        self.spec = spec
        self.future = future
        self.target = target
        self.epoch = epoch
        self.role = role
        self.state = State.QUEUED
        self.waiting = 0
        self.attempt = 0
        self.failures = 0
        self.handed = False
        """Whether the attempt is in the engine's own queue, and no worker has begun it."""
        self.doomed = False
        self.overtime = False
        self.since = 0.0

    @property
    def is_setup(self) -> bool:
        """Whether it is recorded, to be run again."""
        return self.role is Role.SETUP or self.role is Role.SETUP_EVERYWHERE

    @property
    def begins_epoch(self) -> bool:
        """Whether a worker must run this before all else."""
        return self.role is Role.INITIALIZER or self.role is Role.REPLAY

    def envelope(self, worker: int | None, cores: int, awaited: tuple[Awaited, ...] = ()) -> Envelope:
        """Return the task as it goes to a worker, or with None to the engine's queue."""
        sources = self.sources
        inputs: tuple[Input, ...] = ()
        if sources:
            missing = {entry.index for entry in awaited}
            inputs = tuple(
                [
                    s if type(s) is Input else _EMPTY if index in missing else s.as_input()
                    for index, s in enumerate(sources)
                ]
            )
        return Envelope(
            self.id,
            self.attempt,
            self.name,
            self.function,
            self.arguments,
            inputs,
            cores,
            worker,
            self.spec,
            awaited,
            self.role in _RENEWED,
        )


_EMPTY = Input(Payload(b""))
_RENEWED = (Role.SETUP_EVERYWHERE, Role.REPLAY, Role.INITIALIZER)
