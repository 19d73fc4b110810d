"""An agent inside a Dask worker: it takes tasks from the client through its link, and from Dask itself."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
from collections.abc import Callable
from typing import Any

from parallactic.wire.envelopes import Envelope, Outcome
from parallactic.wire.framing import Message
from parallactic.wire.messages import Kind, Outbox, receive_outcome
from parallactic_backends.dask.link import CommLink
from parallactic_backends.relay.agent import Agent
from parallactic_backends.relay.link import Arrival, Order, Report, Way

__all__ = ["DaskAgent", "LoopWatch", "WorkerGone"]


class WorkerGone(Exception):
    """The worker that ran a task has died; the client knows why."""


class LoopWatch:
    """Waits by an event loop for what a supervisor and a worker say."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def readable(self, source: Any, heard: Callable[[], bool]) -> None:
        """Have `heard` called whenever `source` can be read."""
        self._loop.add_reader(source, heard)

    def writable(self, source: Any, write: Callable[[], None] | None) -> None:
        """Have `write` called as well when `source` can be written; None ends that."""
        if write is None:
            self._loop.remove_writer(source)
        else:
            self._loop.add_writer(source, write)

    def forget(self, source: Any) -> None:
        """Stop watching `source`."""
        self._loop.remove_reader(source)
        self._loop.remove_writer(source)

    def soon(self, function: Callable[[], object]) -> None:
        """Have `function` called on the loop's thread soon."""
        self._loop.call_soon_threadsafe(function)


class DaskAgent(Agent):
    """Runs one worker at a time beside a Dask worker.

    Parameters
    ----------
    link
        This end of the connection to the client.
    changed
        Called when the worker may have become free.
    """

    def __init__(self, link: CommLink, changed: Callable[[], None]) -> None:
        super().__init__(link, LoopWatch(asyncio.get_running_loop()))
        self._comm_link = link
        self._changed = changed
        self._ready = self._admitted = self._stopped = self._leaving = False
        self._sent = 0
        self._outbox: Outbox | None = None
        self._running: tuple[int, int] | None = None
        self._ended: asyncio.Future[Outcome] | None = None
        self._keeps = ""
        self._many = False
        self._held: list[Message] = []

    @property
    def free(self) -> bool:
        """Whether the worker would begin a task at once."""
        return self._admitted and not (self._stopped or self._sent or self._running)

    async def run(self, envelope: Envelope, keeps: str, *, many: bool) -> Outcome:
        """Run a task of Dask's on the free worker.

        Parameters
        ----------
        envelope
            The task, its large parts in shared memory of this host.
        keeps
            The key under which Dask keeps the result.
        many
            Whether the client waits for many tasks: then the news of this end may wait a few milliseconds,
            for that of the next beginning.

        Raises
        ------
        WorkerGone
            If the worker died, or the client did.
        """
        self._running = (envelope.task, envelope.attempt)
        try:
            self._comm_link.post(Way.AGENT, Report.STARTED, json.dumps(self._running).encode())
            # On its way before user code begins: what a task has begun is never begun again.
            await self._comm_link.flush()
            lane = self._lanes.get(Way.WORKER)
            if lane is None or self._outbox is None or self._comm_link.lost:
                raise WorkerGone("the worker died before the task began")
            self._ended = asyncio.get_running_loop().create_future()
            self._keeps, self._many = keeps, many
            self._outbox.task(envelope)
            for entry in envelope.inputs:
                if entry.key is not None:
                    self._outbox.forget(entry.key)
            self._flush(Way.WORKER, lane)
            self._let_through()
            return await self._ended
        finally:
            self._running = self._ended = None
            self._let_through()
            self._changed()

    def _let_through(self) -> None:
        held, self._held = self._held, []
        for message in held:
            self.relay_down(Way.WORKER, message)

    def obey(self, arrival: Arrival) -> bool:
        """Do what the client asks; return False when it is time to go."""
        way, message = arrival
        if way is Way.AGENT and message.kind == Order.ADMIT:
            self._admitted = self._ready and not self._leaving and json.loads(message.control) == self.epoch
            self._changed()
            return True
        return super().obey(arrival)

    def relay_down(self, way: Way, message: Message) -> None:
        """Hand a message to the supervisor or to the worker; what comes too late for it is dropped."""
        if way is Way.WORKER:
            if message.kind == Kind.STOP:
                # It begins nothing more.
                self._leaving, self._admitted = True, False
            if self._running is not None and self._ended is None:
                # The client was told that a task of Dask's is first.
                self._held.append(message)
                return
            self._sent += message.kind == Kind.TASK and way in self._lanes
        super().relay_down(way, message)

    def post_up(self, way: Way, message: Message) -> None:
        """Relay a message to the client, and learn from it whether the worker is free."""
        if way is Way.SUPERVISOR:
            if message.kind == Kind.BEAT:
                stopped = json.loads(message.control)["state"] == "stopped"
                if stopped != self._stopped:
                    self._stopped = stopped
                    self._changed()
        elif message.kind == Kind.READY:
            self._ready = True
            self._outbox = Outbox(self._lanes[Way.WORKER])
        elif message.kind == Kind.SKIPPED:
            self._sent -= 1
            self._changed()
        elif message.kind == Kind.DONE:
            if self._ended is not None and _number(message) == self._running:
                self._finish_own(message, self._ended)
                return
            self._sent -= 1
            self._changed()
        super().post_up(way, message)

    def _finish_own(self, message: Message, ended: asyncio.Future[Outcome]) -> None:
        post = self._comm_link.post_with_next if self._many else self._comm_link.post
        fds = [os.dup(fd) for fd in message.fds]
        outcome = receive_outcome(message)
        if fds and not self._comm_link.shares_memory:
            for fd in fds:
                os.close(fd)
            control, buffers = pack_kept(outcome, self._keeps)
            post(Way.AGENT, Report.KEPT, control, buffers, ())
        else:
            post(Way.WORKER, message.kind, message.control, message.buffers, fds)
        if not ended.done():
            ended.set_result(outcome)

    def hang_up(self, way: Way) -> None:
        """Close the connection to the supervisor or to the worker."""
        super().hang_up(way)
        if way is Way.WORKER:
            self._ready = self._admitted = self._leaving = False
            self._sent, self._outbox = 0, None
            if self._ended is not None and not self._ended.done():
                self._ended.set_exception(WorkerGone("the worker died while it ran the task"))


def _number(message: Message) -> tuple[int, int]:
    (task, attempt, *_), _ = pickle.loads(message.control)
    return task, attempt


def pack_kept(outcome: Outcome, key: str) -> tuple[bytes, tuple[Any, ...]]:
    """Describe an outcome whose large parts stay under Dask's `key`."""
    payload = outcome.payload
    size = payload.block.size if payload.block is not None else 0
    return pickle.dumps((outcome.control(), payload.head, payload.spans, size, key), 5), payload.buffers
