"""A pickled object in flight, and where its large parts lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Block", "DataPlane", "Input", "Payload"]

Buffer = bytes | bytearray | memoryview


class Block(Protocol):
    """One piece of memory in a data plane. Freed when the last reference to it is gone."""

    @property
    def size(self) -> int:
        """Bytes in the block."""


class DataPlane(Protocol):
    """Where a backend keeps large objects, so that they do not travel with every message."""

    def put(self, parts: Sequence[Buffer], size: int, offsets: Sequence[int]) -> Block:
        """Copy `parts` to `offsets` of a new block of `size` bytes."""

    def get(self, block: Block) -> memoryview:
        """Return a writable, private view of the block: writing to it changes nobody else's data.

        Raises
        ------
        WorkerLost
            If the holder of the data has died.
        """

    def delete(self, block: Block) -> None:
        """Free the block now."""


@dataclass(slots=True)
class Payload:
    """A pickled object.

    Parameters
    ----------
    head
        The pickle; empty if it is so large that it is the block's first part.
    buffers
        Out-of-band buffers that travel with the message.
    block
        The memory that holds the large parts, if there are any.
    spans
        Offset and length of each part inside the block.
    """

    head: bytes
    buffers: tuple[Buffer, ...] = ()
    block: Block | None = None
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the pickle and all of its buffers."""
        inline = len(self.head) + sum(memoryview(buffer).nbytes for buffer in self.buffers)
        return inline + sum(length for _, length in self.spans)


class Input:
    """One value that a task needs besides its arguments: a Ref's, or the result of a future.

    Parameters
    ----------
    payload
        The value as it travels.
    key
        Set for values that a worker keeps, so that they are sent to each worker once.
    on_release
        Called with the key when nobody needs the value any more.
    """

    __slots__ = ("__weakref__", "key", "on_release", "payload")

    def __init__(
        self, payload: Payload, key: int | None = None, on_release: Callable[[int], None] | None = None
    ) -> None:
        self.payload = payload
        self.key = key
        self.on_release = on_release

    def __del__(self) -> None:
        if self.on_release is not None and self.key is not None:
            self.on_release(self.key)
