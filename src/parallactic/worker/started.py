"""Which attempt a worker runs, in memory that its supervisor shares and that outlives it."""

from __future__ import annotations

import mmap
import struct

__all__ = ["StartedPage"]

_PAGE = struct.Struct("<qq")  # task, attempt


class StartedPage:
    """The attempt that a worker runs, or ran when it died; (0, 0) between two.

    Made before the fork, and thereby shared. It tells, after a death, which of the tasks in flight had begun,
    without a message for each; and, before a kill, whether the worker still runs what it is to be killed for.
    """

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _PAGE.size)

    def write(self, task: int, attempt: int) -> None:
        """Note that an attempt begins."""
        _PAGE.pack_into(self._map, 0, task, attempt)

    def clear(self) -> None:
        """Note that nothing runs."""
        self.write(0, 0)

    def read(self) -> tuple[int, int]:
        """Return the attempt that runs, or ran last."""
        task, attempt = _PAGE.unpack_from(self._map)
        return task, attempt
