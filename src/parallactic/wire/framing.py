"""Messages on a stream socket: a header, a control part, out-of-band buffers, file descriptors."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:  # a supervisor imports this module and must stay small
    from parallactic.wire.payload import Buffer

__all__ = ["Channel", "Lane", "Message"]

_HEADER = struct.Struct("<BBHIQ")  # kind, descriptors, buffers, bytes of control, bytes in all
_SIZE = struct.Struct("<Q")
_CHUNK = 1 << 18
_MAX_FDS = 64  # descriptors of one message; the kernel's limit is 253
_ANCILLARY = socket.CMSG_SPACE(4 * _MAX_FDS)


class Message(NamedTuple):
    """One message as it was received. `buffers` are writable; `fds` now belong to the receiver."""

    kind: int
    control: bytes
    buffers: tuple[bytearray, ...]
    fds: tuple[int, ...]


class Lane(Protocol):
    """Messages to and from one process, whatever carries them."""

    def queue(
        self, kind: int, control: bytes, buffers: Sequence[Buffer] = (), fds: Sequence[int] = ()
    ) -> None:
        """Put a message into the outgoing queue."""

    def flush(self) -> bool:
        """Send what can be sent without waiting; return whether nothing is left.

        Raises
        ------
        OSError
            If the other end has hung up.
        """

    def drain(self) -> list[Message]:
        """Return all that a peer sent before it died."""


class Channel:
    """Both directions of a connected Unix socket.

    One end may use it without blocking (`queue`, `flush`, `receive`), the other blocking (`send`, `receive`).
    Not thread-safe: each end has one thread that owns it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._out: deque[tuple[list[Buffer], tuple[int, ...]]] = deque()
        self._in = bytearray()
        # Kept: a fresh buffer of this size would be mapped and unmapped at every read.
        self._buffer = bytearray(_CHUNK)
        self._fds: deque[int] = deque()

    def fileno(self) -> int:
        """Return the socket's descriptor, so that a selector can wait for it."""
        return self.sock.fileno()

    def queue(
        self, kind: int, control: bytes, buffers: Sequence[Buffer] = (), fds: Sequence[int] = ()
    ) -> None:
        """Put a message into the outgoing queue."""
        if len(fds) > _MAX_FDS:
            raise ValueError(f"a message carries at most {_MAX_FDS} file descriptors, not {len(fds)}.")
        if buffers:
            views = [memoryview(buffer).cast("B") for buffer in buffers]
            sizes = b"".join(_SIZE.pack(view.nbytes) for view in views)
            total = len(sizes) + len(control) + sum(view.nbytes for view in views)
            header = _HEADER.pack(kind, len(fds), len(views), len(control), total)
            self._out.append(([header + sizes + control, *views], tuple(fds)))
        else:
            header = _HEADER.pack(kind, len(fds), 0, len(control), len(control))
            self._out.append(([header + control], tuple(fds)))

    def flush(self) -> bool:
        """Write as much of the queue as the socket takes; return True when nothing is left.

        Raises
        ------
        OSError
            If the other end has hung up.
        """
        while self._out:
            parts, fds = self._out[0]
            if not fds and len(parts) == 1 and len(self._out) == 1:
                # The usual case: one small message, which the socket takes whole.
                try:
                    sent = self.sock.send(parts[0])
                except BlockingIOError:
                    return False
                if sent == len(parts[0]):
                    self._out.clear()
                    return True
                self._consume(parts, sent)
                continue
            if not fds and len(parts) == 1 and len(self._out) > 1:
                parts = self._gather()
            try:
                if fds:
                    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
                    sent = self.sock.sendmsg(parts, rights)
                else:
                    sent = self.sock.sendmsg(parts[:512])
            except BlockingIOError:
                return False
            self._consume(parts, sent)
        return True

    def _gather(self) -> list[Buffer]:
        """Join the small messages at the front of the queue into one write."""
        small: list[Buffer] = []
        size = 0
        while self._out and size < _CHUNK:
            parts, fds = self._out[0]
            if fds or len(parts) > 1:
                break
            small.append(parts[0])
            size += len(parts[0])
            self._out.popleft()
        joined: list[Buffer] = [b"".join(small)]
        self._out.appendleft((joined, ()))
        return joined

    def _consume(self, parts: list[Buffer], sent: int) -> None:
        left = list(parts)
        while left and sent >= memoryview(left[0]).nbytes:
            sent -= memoryview(left.pop(0)).nbytes
        if left:
            left[0] = memoryview(left[0])[sent:]
            # Descriptors left with the first byte.
            self._out[0] = (left, ())
        else:
            self._out.popleft()

    def send(
        self, kind: int, control: bytes, buffers: Sequence[Buffer] = (), fds: Sequence[int] = ()
    ) -> None:
        """Send a message now; the socket must be a blocking one."""
        self.queue(kind, control, buffers, fds)
        self.flush()

    def receive(self, *, wait: bool = True) -> list[Message]:
        """Read once, and return the messages that are complete.

        A blocking socket waits for the first byte unless `wait` is False. An empty list means that nothing
        has arrived, or only the beginning of a message.

        Raises
        ------
        EOFError
            If the other end has hung up and all it sent has been returned.
        """
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            size, ancillary, _, _ = self.sock.recvmsg_into([self._buffer], _ANCILLARY, flags)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            size, ancillary = 0, []
        if ancillary:
            self._take_descriptors(ancillary)
        if not size:
            raise EOFError("the other end hung up.")
        self._in += memoryview(self._buffer)[:size]
        return self._parse()

    def _take_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
                self._fds.extend(fds)

    def drain(self) -> list[Message]:
        """Return all that a peer wrote before it died."""
        messages: list[Message] = []
        try:
            while True:
                before = len(self._in)
                batch = self.receive(wait=False)
                messages += batch
                if not batch and len(self._in) == before:
                    return messages
        except EOFError:
            return messages

    def _parse(self) -> list[Message]:
        messages: list[Message] = []
        data, start, end = self._in, 0, len(self._in)
        view = memoryview(data)
        while end - start >= _HEADER.size:
            kind, fds, buffers, control, total = _HEADER.unpack_from(data, start)
            if end - start - _HEADER.size < total:
                break
            at = start + _HEADER.size
            sizes = [_SIZE.unpack_from(data, at + 8 * i)[0] for i in range(buffers)] if buffers else ()
            at += 8 * buffers
            body = bytes(view[at : at + control])
            at += control
            parts = []
            for size in sizes:
                parts.append(data[at : at + size])
                at += size
            owned = tuple([self._fds.popleft() for _ in range(fds)]) if fds else ()
            messages.append(Message(kind, body, tuple(parts), owned))
            start = at
        view.release()
        if start == end:
            data.clear()
        elif start:
            del data[:start]
        return messages

    def close(self) -> None:
        """Close the socket and every descriptor that nobody took."""
        self.sock.close()
        while self._fds:
            os.close(self._fds.popleft())
