"""Tasks and outcomes as messages of a channel that can carry shared memory."""

from __future__ import annotations

import pickle
from enum import IntEnum

from parallactic.wire.codec import Function
from parallactic.wire.envelopes import Envelope, Outcome, Stats
from parallactic.wire.framing import Channel, Lane, Message
from parallactic.wire.memory import SharedBlock
from parallactic.wire.payload import Buffer, Input, Payload

__all__ = ["Inbox", "Kind", "Outbox", "receive_outcome", "send_outcome"]


class Kind(IntEnum):
    """What a message is. Up to OUTPUT the worker's loop speaks, after it the supervisor."""

    WELCOME = 1
    TASK = 2
    KEEP = 3
    FORGET = 4
    SKIP = 5
    STOP = 6
    READY = 7
    DONE = 8
    SKIPPED = 9
    LOG = 10
    OUTPUT = 11
    BEAT = 20
    EXIT = 21
    KILL = 22
    SPAWN = 23
    QUIT = 24
    SPARED = 25


Parts = tuple[bytes, int, int, tuple[tuple[int, int], ...]]


def _pack(payload: Payload, buffers: list[Buffer], fds: list[int]) -> Parts:
    buffers.extend(payload.buffers)
    if payload.block is None:
        return payload.head, len(payload.buffers), 0, ()
    if not isinstance(payload.block, SharedBlock):
        raise TypeError(f"{payload.block!r} cannot be handed to another process.")
    fds.append(payload.block.fd)
    return payload.head, len(payload.buffers), payload.block.size, payload.spans


def _unpack(parts: Parts, buffers: list[bytearray], fds: list[int]) -> Payload:
    head, count, size, spans = parts
    own = tuple(buffers[:count])
    del buffers[:count]
    return Payload(head, own, SharedBlock(fds.pop(0), size) if spans else None, spans)


class Outbox:
    """The client's side of one worker: what to send, and what that worker already has."""

    def __init__(self, channel: Lane) -> None:
        self.channel = channel
        self._digests: set[bytes] = set()
        self._kept: set[int] = set()

    def task(self, envelope: Envelope) -> None:
        """Queue a task, after those of its inputs that the worker does not hold yet."""
        buffers: list[Buffer] = []
        fds: list[int] = []
        function = envelope.function
        if function.digest is not None:
            if function.digest in self._digests:
                function = function._replace(body=None)
            self._digests.add(function.digest or b"")
        arguments = _pack(envelope.arguments, buffers, fds)
        inputs = tuple([self._input(entry, buffers, fds) for entry in envelope.inputs])
        control = (
            envelope.task, envelope.attempt, envelope.name, tuple(function), envelope.cores, arguments,
            inputs,
        )  # fmt: skip
        self.channel.queue(Kind.TASK, pickle.dumps(control, 5), buffers, fds)

    def _input(self, entry: Input, buffers: list[Buffer], fds: list[int]) -> int | Parts:
        if entry.key is None:
            return _pack(entry.payload, buffers, fds)
        if entry.key not in self._kept:
            self._kept.add(entry.key)
            own: list[Buffer] = []
            own_fds: list[int] = []
            parts = _pack(entry.payload, own, own_fds)
            self.channel.queue(Kind.KEEP, pickle.dumps((entry.key, parts), 5), own, own_fds)
        return entry.key

    def forget(self, key: int) -> None:
        """Queue the release of a value, if the worker holds it."""
        if key in self._kept:
            self._kept.remove(key)
            self.channel.queue(Kind.FORGET, pickle.dumps(key, 5))


class Inbox:
    """The worker's side: turns messages into envelopes, and keeps the values that were sent to stay."""

    def __init__(self) -> None:
        self._kept: dict[int, Input] = {}

    def task(self, message: Message) -> Envelope:
        """Read a task."""
        buffers, fds = list(message.buffers), list(message.fds)
        task, attempt, name, function, cores, arguments, inputs = pickle.loads(message.control)
        payload = _unpack(arguments, buffers, fds)
        entries = tuple([self._input(entry, buffers, fds) for entry in inputs])
        return Envelope(task, attempt, name, Function(*function), payload, entries, cores)

    def _input(self, entry: int | Parts, buffers: list[bytearray], fds: list[int]) -> Input:
        if isinstance(entry, int):
            return self._kept[entry]
        return Input(_unpack(entry, buffers, fds))

    def keep(self, message: Message) -> None:
        """Store a value that tasks will name by its key."""
        key, parts = pickle.loads(message.control)
        self._kept[key] = Input(_unpack(parts, list(message.buffers), list(message.fds)), key)

    def forget(self, message: Message) -> None:
        """Release a value; tasks that were already read keep theirs."""
        self._kept.pop(pickle.loads(message.control), None)


def send_outcome(channel: Channel, outcome: Outcome) -> None:
    """Send an outcome now; large results go as shared memory and outlive this worker."""
    buffers: list[Buffer] = []
    fds: list[int] = []
    parts = _pack(outcome.payload, buffers, fds)
    channel.send(Kind.DONE, pickle.dumps((outcome.control(), parts), 5), buffers, fds)


def receive_outcome(message: Message) -> Outcome:
    """Read an outcome."""
    (task, attempt, ok, *stats), parts = pickle.loads(message.control)
    payload = _unpack(parts, list(message.buffers), list(message.fds))
    return Outcome(task, attempt, ok, payload, Stats(*stats))
