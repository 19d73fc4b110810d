"""Data planes on one host: shared memory between processes, and plain memory within one."""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Sequence

from parallactic.wire.payload import Block, Buffer

__all__ = ["HeapPlane", "SharedBlock", "SharedMemoryPlane", "raise_open_file_limit"]


class SharedBlock:
    """Anonymous memory behind a file descriptor, which a socket can hand to another process.

    ``multiprocessing.shared_memory`` would need names, and before Python 3.13 its tracker removes segments
    that are still in use; an anonymous file is freed by the kernel when the last descriptor is closed,
    however processes end.
    """

    __slots__ = ("__weakref__", "_fd", "_size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    @property
    def size(self) -> int:
        """Bytes in the block."""
        return self._size

    @property
    def fd(self) -> int:
        """The file descriptor.

        Raises
        ------
        RuntimeError
            If the block has been deleted.
        """
        if self._fd < 0:
            raise RuntimeError("this shared memory has been deleted.")
        return self._fd

    def close(self) -> None:
        """Close the descriptor; mappings that exist stay valid."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class SharedMemoryPlane:
    """Large objects in anonymous shared memory."""

    def put(self, parts: Sequence[Buffer], size: int, offsets: Sequence[int]) -> SharedBlock:
        """Copy `parts` into a new block.

        Raises
        ------
        OSError
            If there is no memory or no file descriptor left.
        """
        fd = os.memfd_create("parallactic", os.MFD_CLOEXEC)
        block = SharedBlock(fd, size)
        os.ftruncate(fd, size)
        for part, offset in zip(parts, offsets, strict=True):
            view = memoryview(part).cast("B") if not isinstance(part, bytes) else memoryview(part)
            while view:
                # Writing fills fresh pages without the page faults that a mapping would cost.
                written = os.pwrite(fd, view, offset)
                view, offset = view[written:], offset + written
        return block

    def get(self, block: Block) -> memoryview:
        """Map the block privately: pages are shared until they are written to."""
        if not isinstance(block, SharedBlock):
            raise TypeError(f"{block!r} is not shared memory of this host.")
        return memoryview(mmap.mmap(block.fd, block.size, access=mmap.ACCESS_COPY))

    def delete(self, block: Block) -> None:
        """Close the descriptor of the block."""
        if isinstance(block, SharedBlock):
            block.close()


class HeapBlock:
    """Bytes of this process."""

    __slots__ = ("data",)

    def __init__(self, data: bytearray) -> None:
        self.data = data

    @property
    def size(self) -> int:
        """Bytes in the block."""
        return len(self.data)


class HeapPlane:
    """Large objects in the memory of this process: what a task gets is a copy, as from any other worker."""

    def put(self, parts: Sequence[Buffer], size: int, offsets: Sequence[int]) -> HeapBlock:
        """Copy `parts` into a new block."""
        data = bytearray(size)
        for part, offset in zip(parts, offsets, strict=True):
            view = memoryview(part).cast("B")
            data[offset : offset + len(view)] = view
        return HeapBlock(data)

    def get(self, block: Block) -> memoryview:
        """Copy the block."""
        if not isinstance(block, HeapBlock):
            raise TypeError(f"{block!r} is not memory of this process.")
        return memoryview(bytearray(block.data))

    def delete(self, block: Block) -> None:
        """Free the bytes."""
        if isinstance(block, HeapBlock):
            block.data = bytearray()


def raise_open_file_limit(wanted: int = 65536) -> None:
    """Raise this process's soft limit of open files, as far as its hard limit lets: each block takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
