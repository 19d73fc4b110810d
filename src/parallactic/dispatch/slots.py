"""Back-pressure: how many tasks may be unfinished."""

from __future__ import annotations

import asyncio
import threading

from parallactic.errors import SubmitError
from parallactic.notebook import in_notebook

__all__ = ["Slots"]


class Slots:
    """A number of places for unfinished tasks, taken all together or not at all.

    Parameters
    ----------
    most
        How many there are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = most
        self._open = True
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Wait until `count` places are free, and take them.

        Raises
        ------
        SubmitError
            If there are not so many at all, or this thread runs an asyncio loop and would have to wait.
        RuntimeError
            If the executor is shut down meanwhile.
        """
        if count > self._most:
            raise SubmitError(
                f"a task for {count} workers needs {count} places, but max_pending is {self._most}; "
                "give max_pending at least the number of workers."
            )
        with self._changed:
            # A cell of a notebook runs inside the kernel's loop, which waits for it anyhow.
            awaited = asyncio._get_running_loop() is not None and not in_notebook()
            if self._free < count and awaited:
                raise SubmitError(
                    f"max_pending={self._most} tasks are unfinished, and waiting for a place would block the "
                    "asyncio loop; await some results first, or raise max_pending."
                )
            self._changed.wait_for(lambda: self._free >= count or not self._open)
            if not self._open:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._free -= count

    def give_back(self, count: int = 1) -> None:
        """Free places."""
        with self._changed:
            self._free += count
            self._changed.notify_all()

    def close(self) -> None:
        """Wake those who wait; nobody gets a place any more."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
