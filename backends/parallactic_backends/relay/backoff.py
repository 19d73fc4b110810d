"""How long to pause between two looks at something that cannot be waited for."""

from __future__ import annotations

import ctypes
import time

__all__ = ["BackOff", "sharpen_sleep"]

_SHORTEST, _LONGEST, _BETWEEN_RUNS = 20e-6, 10e-3, 20e-3
_SHARE = 0.04
_PR_SET_TIMERSLACK = 29


class BackOff:
    """Pauses that are a small share of the time since the last sign of life.

    So what takes long is noticed a few percent later, what takes short at once, and to wait for long costs
    about 1 % of a core.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()

    def next(self, *, moved: bool, busy: bool, in_use: bool) -> float:
        """Return the seconds to pause.

        Parameters
        ----------
        moved
            Whether something has happened since the last pause, which a heartbeat is not.
        busy
            Whether something is on its way.
        in_use
            Whether somebody may be waiting.
        """
        now = time.monotonic()
        if moved:
            self._last = now
        if busy:
            return _SHORTEST
        longest = _LONGEST if in_use else _BETWEEN_RUNS
        return max(_SHORTEST, min(longest, _SHARE * (now - self._last)))


def sharpen_sleep() -> None:
    """Let this thread sleep as briefly as it asks: the kernel adds 50 microseconds otherwise."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)
