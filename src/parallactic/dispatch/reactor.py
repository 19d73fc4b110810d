"""The dispatcher's loop: one thread that waits for sockets, commands and time."""

from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from parallactic.threads import hear_signals, start_in_background

__all__ = ["Reactor"]


class Reactor:
    """Runs callbacks and commands one at a time, on its own thread or on one that drives it.

    Whoever runs holds the turn, and thereby owns all state. A command from another thread is put into the
    inbox; the thread is woken only if it sleeps.
    """

    def __init__(self, name: str) -> None:
        self.inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake_fd, selectors.EVENT_READ, (self._woken, None))
        self._sleeping = False
        self._turn = threading.Lock()
        self._owner = 0
        self._wake_lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.finished = False

    def start(self) -> None:
        """Start the thread."""
        start_in_background(self.thread)

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function soon, on the thread that has the turn."""
        self.inbox.append((function, args))
        if self._sleeping and not self.has_turn():
            self.wake()

    def call_here(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function now, on this thread if nobody has the turn, else soon on the one that has it.

        It spares the thread of the loop a wake-up, which counts where messages are small and many.
        """
        self.inbox.append((function, args))
        if self.finished or self._turn.locked():
            if self._sleeping:
                self.wake()
            return
        try:
            while self.inbox and not self.finished:
                self._pass([])
        except Exception as error:  # noqa: BLE001  (whatever it is, the loop must end by it)
            self.call(_fail, error)

    def take_turn(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function on this thread as soon as nobody has the turn, after all that was asked before.

        What it raises is raised here.
        """
        with self._turn:
            self._owner = threading.get_ident()
            try:
                while self.inbox:
                    earlier, values = self.inbox.popleft()
                    earlier(*values)
                function(*args)
            finally:
                self._owner = 0
        self.wake()

    def has_turn(self) -> bool:
        """Tell whether this thread runs the loop now."""
        return self._owner == threading.get_ident()

    def wake(self) -> None:
        """Wake the thread, if it has not ended."""
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def _woken(self) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return

    def watch(self, source: Any, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `source` can be read."""
        self._selector.register(source, selectors.EVENT_READ, (callback, None))

    def watch_writable(self, source: Any, callback: Callable[[], None] | None) -> None:
        """Call `callback` too when `source` can be written; None ends that."""
        try:
            key = self._selector.get_key(source)
        except KeyError:
            return
        read, write = key.data
        if write is not callback:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if callback else 0)
            self._selector.modify(source, events, (read, callback))

    def unwatch(self, source: Any) -> None:
        """Stop watching, if `source` is watched."""
        try:
            self._selector.unregister(source)
        except (KeyError, ValueError):
            return

    def next_timeout(self) -> float | None:
        """Return for how long nothing will be due; None means for ever."""
        return None

    def after_pass(self) -> int:
        """Do what is due after events and commands were handled; return how many steps that made possible."""
        return 0

    def step(self) -> bool:
        """Do one piece of work outside the turn; return whether there was any."""
        return False

    def crashed(self, error: Exception) -> None:
        """Learn that the loop itself has failed, which is an error of this library or of a backend."""
        raise error

    def at_end(self) -> None:
        """Clean up, as the last thing the thread does."""

    def _run(self) -> None:
        try:
            while not self.finished:
                self._sleeping = True
                timeout = 0 if self.inbox else self.next_timeout()
                ready = self._selector.select(timeout)
                self._sleeping = False
                self._pass(ready)
        except Exception as error:  # noqa: BLE001  (whatever it is, those who wait must be told)
            self.crashed(error)
        finally:
            self.finished = True
            self.at_end()
            self._selector.close()
            with self._wake_lock:
                os.close(self._wake_fd)
                self._wake_fd = -1

    def _pass(self, ready: list[tuple[selectors.SelectorKey, int]]) -> int:
        with self._turn:
            self._owner = threading.get_ident()
            try:
                for key, events in ready:
                    read, write = key.data
                    if events & selectors.EVENT_READ:
                        read()
                    if write is not None and events & selectors.EVENT_WRITE:
                        write()
                inbox = self.inbox
                while inbox:
                    function, args = inbox.popleft()
                    function(*args)
                return self.after_pass()
            finally:
                self._owner = 0

    def drive(self, wanted: Callable[[], bool] = lambda: True) -> int:
        """Do what can be done now, on the calling thread, for as long as it is `wanted`.

        Returns
        -------
        int
            How many steps this thread has made possible and left for another.
        """
        left = 0
        try:
            while True:
                left += self._pass([])
                if self.finished or not wanted():
                    return left
                if self.step():
                    left = max(0, left - 1)
                elif not self.inbox:
                    return 0
        finally:
            if self.inbox:
                # Ctrl-C ended this early; what it left is the thread's to do.
                self.wake()

    def drive_all(self) -> None:
        """Do what can be done now, on a background thread."""
        # What a task starts must hear Ctrl-C.
        hear_signals()
        self.drive()


def _fail(error: Exception) -> None:
    raise error
