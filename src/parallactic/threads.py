"""Threads of the library beside those of the user's program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable

__all__ = ["hear_signals", "start_in_background"]


def start_in_background(
    thread: threading.Thread, signals: Iterable[signal.Signals] = frozenset(signal.valid_signals())
) -> None:
    """Start a thread that the kernel never hands a signal to, or none of `signals`.

    Python acts on a signal in the main thread alone. If the kernel hands Ctrl-C to another thread, a main
    thread that waits for a lock is not woken, and waits on. A process that such a thread starts must call
    `hear_signals`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear_signals() -> None:
    """Undo, in a process of our own, what it inherited from the background thread that started it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
