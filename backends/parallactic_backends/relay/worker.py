"""A worker behind an agent, as the client sees it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from parallactic.wire.framing import Lane, Message
from parallactic.wire.payload import Buffer
from parallactic_backends.relay.link import Arrival, Link, Order, Report, Way
from parallactic_backends.supervised import SupervisedWorker

__all__ = ["FORWARDED", "RelayLane", "RelayedWorker"]

FORWARDED = ("PARALLACTIC_", "PYTHON", "CASA", "NUMBA_", "HDF5_")
"""Variables that go to other hosts as well, where folders and the like may differ."""


class RelayLane:
    """The client's end of one way through a link."""

    def __init__(self, link: Link, way: Way, wake: Callable[[], None]) -> None:
        self._link = link
        self._way = way
        self._wake = wake

    def queue(
        self, kind: int, control: bytes, buffers: Sequence[Buffer] = (), fds: Sequence[int] = ()
    ) -> None:
        """Put a message into the outgoing queue."""
        self._link.post(self._way, kind, control, buffers, [os.dup(fd) for fd in fds])

    def flush(self) -> bool:
        """Wake the thread that sends; the link itself takes everything."""
        self._wake()
        return True

    def drain(self) -> list[Message]:
        """Return nothing: an agent relays what a worker sent before it tells of its death."""
        return []


class RelayedWorker(SupervisedWorker):
    """Starts its supervisor through an agent. A subclass finds the agent, and says how the link is served."""

    link: Link | None = None
    folders: tuple[str, ...] = ()
    """Temporary folders of the agent, on its host."""

    @abstractmethod
    def wake(self) -> None:
        """Have the link send what was posted."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the variables of the worker."""

    def remove_folders(self, *, local: bool) -> None:
        """Clean up for an agent that was killed, if it was one of this host."""
        if local:
            for folder in self.folders:
                shutil.rmtree(folder, ignore_errors=True)
        self.folders = ()

    def start_supervisor(self) -> None:
        """Ask the agent for a supervisor of the present epoch."""
        orders: dict[str, Any] = {
            "key": self.context.key,
            "log": self.log,
            "worker": self.number,
            "epoch": self.epoch,
            "shares_memory": self.link is not None and self.link.shares_memory,
            "environment": self.environment(),
        }
        self._order(Order.START, pickle.dumps(orders, 5))

    def _order(self, order: Order, control: bytes) -> None:
        if self.link is not None:
            self.link.post(Way.AGENT, order, control)
            self.wake()

    def attend(self, lane: Lane) -> None:
        """Nothing: what arrives is handed to `arrived`."""

    def leave(self, lane: Lane) -> None:
        """Nothing: the lane is a part of the link."""

    def arrived(self, link: Link, arrivals: Sequence[Arrival]) -> None:
        """Take what came through the link; on the dispatcher's thread."""
        if link is not self.link:
            return
        for way, message in arrivals:
            if way is Way.WORKER:
                if self.data is not None:
                    self.data_arrived([message])
            elif way is Way.SUPERVISOR:
                self.control_arrived([message])
            else:
                self._reported(link, message)

    def _reported(self, link: Link, message: Message) -> None:
        match message.kind:
            case Report.SUPERVISOR_UP:
                self.supervisor_connected(RelayLane(link, Way.SUPERVISOR, self.wake))
            case Report.WORKER_UP:
                epoch, pid = json.loads(message.control)
                self.loop_connected(RelayLane(link, Way.WORKER, self.wake), epoch, pid)
            case Report.FOLDERS:
                self.folders = tuple(json.loads(message.control))
            case Report.GONE:
                code, log_tail = json.loads(message.control)
                self.supervisor_ended(code, log_tail)

    def end_run(self, end: float, idle: threading.Event) -> bool:
        """Have the agent end all processes until the time `end`; return whether it says that it did."""
        if self.link is None:
            return True
        left = max(0.1, end - time.monotonic())
        self._order(Order.END, json.dumps((left, self.data is not None)).encode())
        # The agent kills what is left after that time.
        return idle.wait(left + 1.0)
