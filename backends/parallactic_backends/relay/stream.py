"""A link over a stream socket between two hosts."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence

from parallactic.wire.framing import Channel, Message
from parallactic.wire.payload import Buffer
from parallactic_backends.relay.descriptors import contents, memory_of
from parallactic_backends.relay.link import Arrival, LinkLost, Way

__all__ = ["StreamLink", "keep_alive"]

_HEAD = struct.Struct("<BH")  # whom it is for, buffers at the end that were shared memory
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 10, 5, 3


def keep_alive(sock: socket.socket) -> None:
    """Have small messages sent at once, and the death of the other host noticed within half a minute."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)


class StreamLink:
    """One end of a link. Belongs to one thread, or to those that take turns.

    Parameters
    ----------
    channel
        A connected socket that does not block.
    """

    def __init__(self, channel: Channel) -> None:
        self.shares_memory = False
        self.channel = channel
        self._flushed = True

    def post(
        self,
        way: Way,
        kind: int,
        control: bytes = b"",
        buffers: Sequence[Buffer] = (),
        fds: Sequence[int] = (),
    ) -> None:
        """Put a message into the outgoing queue. The descriptors belong to the link from now on."""
        blocks = [contents(fd) for fd in fds]
        for fd in fds:
            os.close(fd)
        self.channel.queue(kind, _HEAD.pack(way, len(blocks)) + control, (*buffers, *blocks))
        self._flushed = False

    def send(self) -> bool:
        """Send what can be sent without waiting; return whether nothing is left.

        Raises
        ------
        LinkLost
            If the other end is gone.
        """
        try:
            self._flushed = self.channel.flush()
        except OSError as error:
            raise LinkLost(f"the other end hung up: {error}.") from error
        return self._flushed

    def receive(self) -> list[Arrival]:
        """Read once, and return what has arrived whole.

        Raises
        ------
        LinkLost
            If the other end is gone, after all that arrived from it was returned.
        """
        try:
            return [_arrival(message) for message in self.channel.receive(wait=False)]
        except (EOFError, OSError) as error:
            raise LinkLost(f"the other end hung up: {error}.") from error

    def progress(self) -> list[Arrival]:
        """Send what can be sent, and return what has arrived whole.

        Raises
        ------
        LinkLost
            If the other end is gone, after all that arrived from it was returned.
        """
        arrivals = self.receive()
        self.send()
        return arrivals

    @property
    def busy(self) -> bool:
        """Whether something waits to be sent."""
        return not self._flushed

    def close(self) -> None:
        """Hang up."""
        self.channel.close()


def _arrival(message: Message) -> Arrival:
    way, blocks = _HEAD.unpack_from(message.control)
    whole = len(message.buffers) - blocks
    fds = tuple(memory_of(buffer) for buffer in message.buffers[whole:])
    control = message.control[_HEAD.size :]
    return Arrival(Way(way), Message(message.kind, control, message.buffers[:whole], fds))
