"""Which attempt a worker began last, in memory that outlives the worker; supervisors use it too."""

from __future__ import annotations

import mmap
import os
import struct

__all__ = ["StartedPage"]

_PAGE = struct.Struct("<qq")  # task, attempt


class StartedPage:
    """The attempt that a worker runs, or ran last before it died.

    It tells, after a death, which of the tasks in flight had begun, without a message for each; and, before a
    kill, whether the worker still runs what it is to be killed for.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.memfd_create("parallactic-started", os.MFD_CLOEXEC) if fd is None else fd
        os.ftruncate(self.fd, _PAGE.size)
        self._map = mmap.mmap(self.fd, _PAGE.size)

    def write(self, task: int, attempt: int) -> None:
        """Note that an attempt begins."""
        _PAGE.pack_into(self._map, 0, task, attempt)

    def read(self) -> tuple[int, int]:
        """Return the last attempt that began, (0, 0) if none did."""
        task, attempt = _PAGE.unpack_from(self._map)
        return task, attempt

    def close(self) -> None:
        """Close the page."""
        if self.fd >= 0:
            self._map.close()
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()
