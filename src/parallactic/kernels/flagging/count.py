"""Counting flags along each axis in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["count_axes"]


def count_axes(
    flags: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count the flags by row, by channel and by correlation.

    Parameters
    ----------
    flags
        bool, (nrow, nchan, ncorr), C order.

    Returns
    -------
    tuple
        int64 arrays (nrow, ncorr), (nchan,) and (ncorr,).
    """
    nrow, nchan, ncorr = flags.shape
    rows = np.zeros((nrow, ncorr), dtype=np.int64)
    channels = np.zeros(nchan, dtype=np.int64)
    _count(flags, rows, channels)
    return rows, channels, rows.sum(axis=0)


@njit(cache=True, nogil=True)
def _count(flags, rows, channels) -> None:  # type: ignore[no-untyped-def]
    nrow, nchan, ncorr = flags.shape
    for row in range(nrow):
        for chan in range(nchan):
            for corr in range(ncorr):
                if flags[row, chan, corr]:
                    rows[row, corr] += 1
                    channels[chan] += 1
