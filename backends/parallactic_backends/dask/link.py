"""A link that one of Dask's own connections carries, with its encryption."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from distributed.protocol import to_serialize

from parallactic.wire.framing import Message
from parallactic.wire.payload import Buffer
from parallactic_backends.relay.descriptors import contents, memory_of, open_of
from parallactic_backends.relay.link import Arrival, LinkLost, Way

__all__ = ["CommLink"]

_INLINE = 1 << 14
"""Buffers below this size travel in the message itself, larger ones beside it."""

_LINGER_SECONDS = 0.005
"""How long a message waits at most for another one, if it may."""

_LINK = 0
_TAKEN = 0
"""Kind of the link's own message: the other end has opened so many descriptors."""

Entry = tuple[int, int, bytes, tuple[Buffer, ...], tuple[int, ...]]


class CommLink:
    """One end of the link between a client and an agent inside a Dask worker.

    `post` may be called from any thread; all else belongs to the event loop.

    Parameters
    ----------
    comm
        A connection of Dask's, a ``distributed.comm.Comm``.
    loop
        The event loop it belongs to.
    """

    def __init__(self, comm: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.shares_memory = False
        self.lost = False
        self.heard = time.monotonic()
        """When the other end said something last."""

        self._comm = comm
        # Large parts are sent as they are: nothing here is worth another thread, nor the measuring for it.
        comm.allow_offload = False
        self._loop = loop
        self._out: deque[Entry] = deque()
        self._lent: deque[int] = deque()
        self._kicked = False
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def post(
        self,
        way: int,
        kind: int,
        control: bytes = b"",
        buffers: Sequence[Buffer] = (),
        fds: Sequence[int] = (),
    ) -> None:
        """Put a message into the outgoing queue. The descriptors belong to the link from now on."""
        self._out.append((way, kind, control, tuple(buffers), tuple(fds)))
        self._kick_soon()

    def post_with_next(
        self, way: int, kind: int, control: bytes, buffers: Sequence[Buffer], fds: Sequence[int]
    ) -> None:
        """Put a message into the outgoing queue that goes together with the next one, or soon by itself."""
        self._out.append((way, kind, control, tuple(buffers), tuple(fds)))
        self._loop.call_later(_LINGER_SECONDS, self._kick_soon)

    def _kick_soon(self) -> None:
        if not self._kicked:
            self._kicked = True
            self._loop.call_soon_threadsafe(self._kick)

    def _kick(self) -> None:
        self._kicked = False
        if self.lost:
            self._give_up()
        else:
            self._written.clear()
            self._wake.set()

    @property
    def busy(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._out) or not self._written.is_set()

    def progress(self) -> list[Arrival]:
        """Return nothing: what arrives is given by `receive`."""
        return []

    async def send_all(self) -> None:
        """Send what is posted, until the other end is gone."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._out:
                    message, done_with = self._pack()
                    await self._comm.write(message)
                    for fd in done_with:
                        os.close(fd)
                self._written.set()
        except OSError:
            self.close()

    async def flush(self) -> None:
        """Wait until all that was posted is on its way: then it arrives even if this process is killed."""
        while self._kicked or not self._written.is_set():
            await asyncio.sleep(0)
            await self._written.wait()

    def _pack(self) -> tuple[dict[str, Any], list[int]]:
        entries, bodies, done_with = [], [], []
        while self._out:
            way, kind, control, buffers, fds = self._out.popleft()
            inline: list[bytes | int] = []
            for buffer in buffers:
                size = memoryview(buffer).nbytes
                if size < _INLINE:
                    inline.append(bytes(buffer))
                else:
                    inline.append(size)
                    bodies.append(to_serialize(memoryview(buffer).cast("B")))
            names, blocks = [], 0
            for fd in fds:
                if self.shares_memory:
                    names.append((os.getpid(), fd))
                    self._lent.append(fd)
                else:
                    blocks += 1
                    bodies.append(to_serialize(contents(fd)))
                    done_with.append(fd)
            entries.append((way, int(kind), control, inline, names, blocks))
        return {"entries": entries, "bodies": bodies}, done_with

    async def receive(self) -> list[Arrival]:
        """Wait for the next messages.

        Raises
        ------
        LinkLost
            If the other end is gone, after all that it sent was returned.
        """
        try:
            message = await self._comm.read()
        except OSError as error:
            self.close()
            raise LinkLost(f"the other end hung up: {error}.") from error
        self.heard = time.monotonic()
        bodies = iter(message["bodies"])
        arrivals, taken = [], 0
        for way, kind, control, inline, names, blocks in message["entries"]:
            if way == _LINK:
                for _ in range(int(control)):
                    os.close(self._lent.popleft())
                continue
            buffers = tuple(bytearray(next(bodies) if isinstance(part, int) else part) for part in inline)
            fds = [open_of(pid, fd) for pid, fd in names]
            taken += len(names)
            fds += [memory_of(next(bodies)) for _ in range(blocks)]
            arrivals.append(Arrival(Way(way), Message(kind, control, buffers, tuple(fds))))
        if taken:
            self.post(_LINK, _TAKEN, str(taken).encode())
        return arrivals

    def close(self) -> None:
        """Hang up, and close every descriptor that is held for the other end."""
        self.lost = True
        self._comm.abort()
        self._give_up()

    def _give_up(self) -> None:
        while self._lent:
            os.close(self._lent.popleft())
        while self._out:
            for fd in self._out.popleft()[4]:
                os.close(fd)
        self._written.set()
