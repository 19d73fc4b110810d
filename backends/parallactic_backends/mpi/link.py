"""A link that MPI carries.

All that waits to be sent goes as one small message, the head; large buffers follow in pieces, since some
MPIs take seconds for one large message. Between ranks of one host shared memory goes by the name of its
descriptor, and is copied by nobody; between hosts it goes as bytes.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from parallactic.wire.framing import Message
from parallactic.wire.payload import Buffer
from parallactic_backends.relay.descriptors import contents, memory_of, open_of
from parallactic_backends.relay.link import Arrival, LinkLost, Way

__all__ = ["MpiLink"]

_log = logging.getLogger(__name__)
_HEAD, _BODY = 71, 72
_PIECE = 1 << 24
_INLINE = 1 << 16
"""Buffers below this size travel in the head."""
_TAKEN = 0
"""Kind of the link's own message: the other end has opened so many descriptors."""
_LINK = 0


class MpiLink:
    """One end of the link between two ranks.

    Parameters
    ----------
    mpi
        The module ``mpi4py.MPI``.
    comm
        Communicator to the other end.
    peer
        Rank of the other end in it.
    """

    def __init__(self, mpi: Any, comm: Any, peer: int) -> None:
        self._mpi = mpi
        self._comm = comm
        self._peer = peer
        self.shares_memory = False
        self._out: deque[tuple[int, int, bytes, tuple[Buffer, ...], tuple[int, ...]]] = deque()
        self._sending: deque[tuple[Any, Any]] = deque()
        self._lent: deque[int] = deque()
        self._receiving: list[Any] = []
        self._head: bytearray | None = None
        self._entries: list[tuple[Any, ...]] = []
        self._bodies: list[bytearray] = []
        self._status = mpi.Status()
        self._closed = False
        self._lock = threading.Lock()

    def post(
        self,
        way: int,
        kind: int,
        control: bytes = b"",
        buffers: Sequence[Buffer] = (),
        fds: Sequence[int] = (),
    ) -> None:
        """Put a message into the outgoing queue, from any thread. The descriptors belong to the link now."""
        self._out.append((way, kind, control, tuple(buffers), tuple(fds)))
        if self._closed:
            self.close()

    @property
    def busy(self) -> bool:
        """Whether something is on its way in either direction."""
        return bool(self._out or self._sending or self._receiving)

    def progress(self) -> list[Arrival]:
        """Send what can be sent, and return what has arrived whole.

        Raises
        ------
        LinkLost
            If the other end is gone.
        """
        try:
            with self._lock:
                if self._closed:
                    return []
                if self._out:
                    self._send()
                while self._sending and self._sending[0][0].Test():
                    self._sending.popleft()
                return self._receive()
        except self._mpi.Exception as error:
            raise LinkLost(f"the rank at the other end is gone: {error}.") from error

    def send(self) -> None:
        """Send what was posted, from any thread, unless another is about to.

        A link that is lost is left for `progress` to find.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._out and not self._closed:
                self._send()
        except self._mpi.Exception:
            _log.debug("a message could not be sent; the other end is gone", exc_info=True)
        finally:
            self._lock.release()

    def _send(self) -> None:
        entries = []
        bodies: list[Buffer] = []
        while self._out:
            way, kind, control, buffers, fds = self._out.popleft()
            inline: list[bytes | int] = []
            for buffer in buffers:
                size = memoryview(buffer).nbytes
                if size < _INLINE:
                    inline.append(bytes(buffer))
                else:
                    inline.append(size)
                    bodies.append(buffer)
            names, blocks = [], []
            for fd in fds:
                if self.shares_memory:
                    names.append((os.getpid(), fd))
                    self._lent.append(fd)
                else:
                    blocks.append(os.fstat(fd).st_size)
                    bodies.append(contents(fd))
                    os.close(fd)
            entries.append((way, kind, control, inline, names, blocks))
        self._post(pickle.dumps(entries, 5), _HEAD)
        for body in bodies:
            view = memoryview(body).cast("B")
            for start in range(0, view.nbytes, _PIECE):
                self._post(view[start : start + _PIECE], _BODY)

    def _post(self, data: Buffer, tag: int) -> None:
        request = self._comm.Isend([data, self._mpi.BYTE], dest=self._peer, tag=tag)
        self._sending.append((request, data))

    def _receive(self) -> list[Arrival]:
        arrivals: list[Arrival] = []
        while True:
            if not self._receiving:
                if not self._probe():
                    return arrivals
                self._head = bytearray(self._status.Get_count(self._mpi.BYTE))
                self._expect(self._head, _HEAD)
            if not self._mpi.Request.Testall(self._receiving):
                return arrivals
            self._receiving = []
            if self._head is not None:
                self._entries, self._head = pickle.loads(self._head), None
                self._expect_bodies()
                if self._receiving:
                    continue
            arrivals += self._assemble()

    def _probe(self) -> bool:
        """Tell whether a head has arrived, and leave its size in the status.

        Open MPI looks first and makes progress afterwards, so that only a second look finds what there is.
        """
        return any(self._comm.Iprobe(source=self._peer, tag=_HEAD, status=self._status) for _ in range(2))

    def _expect(self, buffer: Buffer, tag: int) -> None:
        self._receiving.append(self._comm.Irecv([buffer, self._mpi.BYTE], source=self._peer, tag=tag))

    def _expect_bodies(self) -> None:
        self._bodies = []
        for _, _, _, inline, _, blocks in self._entries:
            for size in [*(part for part in inline if isinstance(part, int)), *blocks]:
                body = bytearray(size)
                view = memoryview(body)
                for start in range(0, size, _PIECE):
                    self._expect(view[start : start + _PIECE], _BODY)
                self._bodies.append(body)

    def _assemble(self) -> list[Arrival]:
        bodies = iter(self._bodies)
        arrivals = []
        taken = 0
        for way, kind, control, inline, names, blocks in self._entries:
            if way == _LINK:
                for _ in range(int(control)):
                    os.close(self._lent.popleft())
                continue
            buffers = tuple(next(bodies) if isinstance(part, int) else bytearray(part) for part in inline)
            fds = [open_of(pid, fd) for pid, fd in names]
            taken += len(names)
            fds += [memory_of(next(bodies)) for _ in blocks]
            arrivals.append(Arrival(Way(way), Message(kind, control, buffers, tuple(fds))))
        if taken:
            self.post(_LINK, _TAKEN, str(taken).encode())
        self._entries, self._bodies = [], []
        return arrivals

    def close(self) -> None:
        """Give up, from any thread: close every descriptor that is held for the other end, or will be."""
        with self._lock:
            self._closed = True
            while self._lent:
                os.close(self._lent.popleft())
            while self._out:
                for fd in self._out.popleft()[4]:
                    os.close(fd)
