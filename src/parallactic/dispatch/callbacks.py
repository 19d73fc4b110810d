"""The thread on which user callbacks, log records and printed lines of workers are handled."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from parallactic.threads import start_in_background

__all__ = ["Callbacks"]

_log = logging.getLogger(__name__)


class Callbacks:
    """One thread, started when there is something to call, so that a slow callback delays no task."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def put(self, function: Callable[[], None]) -> None:
        """Call `function` soon."""
        self._queue.put(function)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    start_in_background(self._thread)

    def put_last(self, function: Callable[[], None]) -> None:
        """Call `function` after what waits: on this thread, now, if there has never been anything."""
        if self._thread is None:
            function()
        else:
            self.put(function)

    def is_current(self) -> bool:
        """Tell whether this is that thread."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        while (function := self._queue.get()) is not None:
            try:
                function()
            except Exception:  # noqa: BLE001  (a callback is anybody's code; its error is logged)
                _log.exception("a callback failed")

    def close(self, timeout: float | None = None) -> None:
        """Call what is left, then end the thread."""
        self._queue.put(None)
        thread = self._thread
        if thread is not None and not self.is_current():
            thread.join(timeout)
