"""What an agent waits for: descriptors that can be read or written."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["PollingWatch", "WakingWatch", "Watch"]

Heard = Callable[[], bool]
"""Reads what there is; returns whether it was more than heartbeats."""


class Watch(Protocol):
    """Calls an agent when one of its descriptors is ready. Belongs to the agent's thread but for `soon`."""

    def readable(self, source: Any, heard: Heard) -> None:
        """Have `heard` called whenever `source` can be read."""

    def writable(self, source: Any, write: Callable[[], None] | None) -> None:
        """Have `write` called as well when `source` can be written; None ends that."""

    def forget(self, source: Any) -> None:
        """Stop watching `source`."""

    def soon(self, function: Callable[[], object]) -> None:
        """Have `function` called on the agent's thread soon; called from any thread."""


class PollingWatch:
    """For a link that must be looked at itself between two waits."""

    def __init__(self) -> None:
        self._readers: dict[Any, Heard] = {}
        self._writers: dict[Any, Callable[[], None]] = {}
        self._soon: list[Callable[[], object]] = []

    def readable(self, source: Any, heard: Heard) -> None:
        """Have `heard` called whenever `source` can be read."""
        self._readers[source] = heard

    def writable(self, source: Any, write: Callable[[], None] | None) -> None:
        """Have `write` called as well when `source` can be written; None ends that."""
        if write is None:
            self._writers.pop(source, None)
        else:
            self._writers[source] = write

    def forget(self, source: Any) -> None:
        """Stop watching `source`."""
        self._readers.pop(source, None)
        self._writers.pop(source, None)

    def soon(self, function: Callable[[], object]) -> None:
        """Have `function` called at the next look."""
        self._soon.append(function)

    def look(self, seconds: float) -> bool:
        """Serve what is ready within `seconds`; return whether there was more than heartbeats."""
        heard = bool(self._soon)
        while self._soon:
            self._soon.pop(0)()
        readable, writable, _ = select.select(
            list(self._readers), list(self._writers), [], 0.0 if heard else seconds
        )
        for source in writable:
            write = self._writers.get(source)
            if write is not None:
                write()
        for source in readable:
            reader = self._readers.get(source)
            if reader is not None:
                heard |= reader()
        return heard


class WakingWatch(PollingWatch):
    """For a link that is a descriptor too: `soon` ends the wait."""

    def __init__(self) -> None:
        super().__init__()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.readable(self._wake, self._woken)

    def _woken(self) -> bool:
        os.eventfd_read(self._wake)
        return True

    def soon(self, function: Callable[[], object]) -> None:
        """Have `function` called at the next look, which begins now."""
        super().soon(function)
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self._wake)
