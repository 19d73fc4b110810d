"""Growing flags along time, frequency and correlation."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["extend_blocks"]


def extend_blocks(
    flags: NDArray[np.bool_],
    starts: NDArray[np.integer],
    *,
    growtime: float = 50.0,
    growfreq: float = 80.0,
    extendpols: bool = True,
) -> None:
    """Extend the flags of each block, in place.

    In every correlation a channel is flagged at all times if at least `growtime` percent of its times are
    flagged, and a time in all channels if at least `growfreq` percent of its channels are; both are judged on
    the flags as they came, so that the order does not matter. After that a sample flagged in one correlation
    is flagged in all.

    Parameters
    ----------
    flags
        bool, (nrow, nchan, ncorr), C order.
    starts
        The first row of each block and, at the end, the number of rows: (nblock + 1,).
    growtime, growfreq
        In percent; 0 or 100 and more: not at all.
    extendpols
        Whether to flag all correlations of a sample.
    """
    _extend(flags, np.asarray(starts, dtype=np.int64), growtime / 100, growfreq / 100, extendpols)


@njit(cache=True, nogil=True)
def _extend(flags, starts, growtime, growfreq, extendpols) -> None:  # type: ignore[no-untyped-def]
    _, nchan, ncorr = flags.shape
    by_channel = np.empty((nchan, ncorr), np.int64)
    by_time = np.empty(ncorr, np.int64)
    grows_time = 0.0 < growtime < 1.0
    grows_freq = 0.0 < growfreq < 1.0
    for block in range(len(starts) - 1):
        start, stop = starts[block], starts[block + 1]
        if grows_time or grows_freq:
            by_channel[:] = 0
            for row in range(start, stop):
                for chan in range(nchan):
                    for corr in range(ncorr):
                        by_channel[chan, corr] += flags[row, chan, corr]
            for row in range(start, stop):
                by_time[:] = 0
                for chan in range(nchan):
                    for corr in range(ncorr):
                        by_time[corr] += flags[row, chan, corr]
                for corr in range(ncorr):
                    whole = grows_freq and by_time[corr] >= growfreq * nchan
                    for chan in range(nchan):
                        whole_channel = grows_time and by_channel[chan, corr] >= growtime * (stop - start)
                        if whole or whole_channel:
                            flags[row, chan, corr] = True
        if extendpols:
            for row in range(start, stop):
                for chan in range(nchan):
                    found = False
                    for corr in range(ncorr):
                        found |= flags[row, chan, corr]
                    if found:
                        for corr in range(ncorr):
                            flags[row, chan, corr] = True
