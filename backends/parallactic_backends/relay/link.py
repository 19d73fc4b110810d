"""What passes between the client and an agent, whatever carries it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from parallactic.wire.framing import Message
from parallactic.wire.payload import Buffer

__all__ = ["Arrival", "Link", "LinkLost", "Order", "Report", "Way"]


class LinkLost(ConnectionError):
    """The other end of a link is gone."""


class Way(IntEnum):
    """Whom a message is for."""

    AGENT = 1
    SUPERVISOR = 2
    WORKER = 3


class Order(IntEnum):
    """What a client asks an agent for."""

    START = 1  # a supervisor, whose worker runs tasks
    END = 2  # of the run: no process is left, then IDLE
    LEAVE = 3  # end the agent
    ADMIT = 4  # tasks to the worker that did not come from this client's side of the link


class Report(IntEnum):
    """What an agent tells."""

    HELLO = 11
    SUPERVISOR_UP = 12
    WORKER_UP = 13
    GONE = 14  # the supervisor, and its worker with it
    IDLE = 15
    LEFT = 16
    FOLDERS = 17  # what must be removed if the agent cannot do it itself
    STARTED = 18  # a task that did not come through the link is about to begin
    KEPT = 19  # such a task has ended, and its large result has stayed


class Arrival(NamedTuple):
    """A message, and whom it is for or from."""

    way: Way
    message: Message


class Link(Protocol):
    """One end of the connection between a client and an agent. All but `post` belongs to one thread."""

    shares_memory: bool
    """Whether both ends can open each other's shared memory; else it travels as bytes."""

    def post(
        self,
        way: Way,
        kind: int,
        control: bytes = b"",
        buffers: Sequence[Buffer] = (),
        fds: Sequence[int] = (),
    ) -> None:
        """Put a message into the outgoing queue. The descriptors belong to the link from now on."""

    def progress(self) -> list[Arrival]:
        """Send what can be sent, and return what has arrived whole.

        Raises
        ------
        LinkLost
            If the other end is gone, after all that arrived from it was returned.
        """

    @property
    def busy(self) -> bool:
        """Whether something is on its way in either direction."""
