"""How long to pause between two looks at something that cannot be waited for."""

from __future__ import annotations

import ctypes

__all__ = ["BackOff", "sharpen_sleep"]

_SHORTEST, _LONGEST, _IDLE = 20e-6, 1e-3, 20e-3
_GROWTH = 1.2
_PR_SET_TIMERSLACK = 29


class BackOff:
    """Pauses that begin short after every sign of life, and grow.

    While tasks run the longest is a millisecond, which costs about 1 % of a core; between two runs nobody
    waits, and it is longer.
    """

    def __init__(self) -> None:
        self._pause = _SHORTEST

    def next(self, *, moved: bool, in_use: bool) -> float:
        """Return the seconds to pause.

        Parameters
        ----------
        moved
            Whether something has happened since the last pause.
        in_use
            Whether somebody may be waiting.
        """
        if moved:
            self._pause = _SHORTEST
        else:
            self._pause = min(self._pause * _GROWTH, _LONGEST if in_use else _IDLE)
        return self._pause


def sharpen_sleep() -> None:
    """Let this thread sleep as briefly as it asks: the kernel adds 50 microseconds otherwise."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)
