"""Where large objects are: those of the client in shared memory, results in that of Dask workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parallactic.wire.memory import SharedBlock, SharedMemoryPlane
from parallactic.wire.payload import Block, Buffer

__all__ = ["DaskBlock", "DaskPlane"]


class DaskBlock:
    """Large parts of a result that Dask keeps under a key.

    Parameters
    ----------
    key
        The key.
    size
        Bytes of the block.
    fetch
        Called with the key; returns a copy in the shared memory of this host.
    release
        Called with the key when nobody needs the block any more, from any thread.
    """

    __slots__ = ("__weakref__", "_fetch", "_release", "_size", "key")

    def __init__(
        self, key: str, size: int, fetch: Callable[[str], SharedBlock], release: Callable[[str], None]
    ) -> None:
        self.key = key
        self._size = size
        self._fetch = fetch
        self._release: Callable[[str], None] | None = release

    @property
    def size(self) -> int:
        """Bytes in the block."""
        return self._size

    def fetch(self) -> SharedBlock:
        """Copy the block to the shared memory of this host.

        Raises
        ------
        WorkerLost
            If the Dask worker that held it has died.
        """
        return self._fetch(self.key)

    def close(self) -> None:
        """Let Dask free the memory."""
        release, self._release = self._release, None
        if release is not None:
            release(self.key)

    def __del__(self) -> None:
        self.close()


class DaskPlane(SharedMemoryPlane):
    """Shared memory of the client's host, and blocks that are with Dask."""

    def put(self, parts: Sequence[Buffer], size: int, offsets: Sequence[int]) -> SharedBlock:
        """Copy `parts` into shared memory; it goes to Dask when a task needs it there."""
        return super().put(parts, size, offsets)

    def get(self, block: Block) -> memoryview:
        """Map a block, after it was fetched if it is with Dask.

        Raises
        ------
        WorkerLost
            If the Dask worker that held it has died.
        """
        return super().get(block.fetch() if isinstance(block, DaskBlock) else block)

    def delete(self, block: Block) -> None:
        """Free a block."""
        if isinstance(block, DaskBlock):
            block.close()
        else:
            super().delete(block)
