"""What a backend reports to the dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from parallactic.errors import LossCause
from parallactic.wire.envelopes import Outcome

__all__ = [
    "Broken",
    "Emit",
    "Event",
    "Finished",
    "Heartbeat",
    "Logged",
    "Lost",
    "Printed",
    "Returned",
    "Skipped",
    "Spared",
    "Stalled",
    "Started",
    "WorkerDown",
    "WorkerUp",
]


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker is ready for tasks; its namespace is empty."""

    worker: int
    epoch: int
    host: str
    pid: int
    cores: int
    log: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A worker lives; `state` tells whether it can run."""

    worker: int
    epoch: int
    state: Literal["running", "stopped"] = "running"


@dataclass(frozen=True, slots=True)
class Started:
    """A worker is about to begin an attempt that was in the engine's queue, and nothing else."""

    task: int
    attempt: int
    worker: int


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt has ended."""

    outcome: Outcome
    worker: int | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """An attempt that was cancelled before its worker began it will not run."""

    task: int
    attempt: int
    worker: int | None


@dataclass(frozen=True, slots=True)
class Returned:
    """The engine gives back an attempt that no worker has begun, and will not begin it."""

    task: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Stalled:
    """An attempt in the engine's queue waits for a worker that is silent: it will not begin soon."""

    task: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt has ended without an outcome, and no worker's death tells why."""

    task: int
    attempt: int
    cause: LossCause
    message: str
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """A worker is gone, after all it sent was emitted.

    `started` is the attempt that it ran, (0, 0) if none; None if nobody knows, then the oldest in flight.
    `rested` tells that the engine took it away until there is more to do, and that its namespace held nothing
    which setups do not bring back.
    """

    worker: int
    epoch: int
    cause: LossCause
    message: str
    log_tail: str = ""
    started: tuple[int, int] | None = None
    rested: bool = False


@dataclass(frozen=True, slots=True)
class Spared:
    """A worker was to be killed for an attempt that it had already ended: it lives on."""

    worker: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Broken:
    """No worker can be had any more."""

    message: str


@dataclass(frozen=True, slots=True)
class Logged:
    """A log record of a worker, as plain values."""

    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Printed:
    """Lines that a task printed."""

    stream: str
    text: str
    worker: int


Event = (
    WorkerUp
    | Heartbeat
    | Started
    | Finished
    | Skipped
    | Returned
    | Stalled
    | Lost
    | WorkerDown
    | Spared
    | Broken
    | Logged
    | Printed
)


class Emit(Protocol):
    """What a backend is given at the start: a way to report, and a place in the dispatcher's loop."""

    def __call__(self, event: Event) -> None:
        """Report an event, from any thread."""

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Have `function` called on the dispatcher's thread soon."""

    def call_here(self, function: Callable[..., None], *args: Any) -> None:
        """Have `function` called at once, on this thread unless the dispatcher is at work."""

    def watch(self, source: Any, callback: Callable[[], None]) -> None:
        """Have `callback` called on the dispatcher's thread whenever `source` can be read."""

    def watch_writable(self, source: Any, callback: Callable[[], None] | None) -> None:
        """Have `callback` called as well when the watched `source` can be written; None ends that."""

    def unwatch(self, source: Any) -> None:
        """Stop watching `source`."""
