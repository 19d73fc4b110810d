"""Correcting visibilities by diagonal gains."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["correct"]


def correct(
    data: NDArray[np.complex64],
    bad: NDArray[np.bool_],
    gains: NDArray[np.complex128],
    flags: NDArray[np.bool_],
    entries: NDArray[np.int64],
    antenna1: NDArray[np.int32],
    antenna2: NDArray[np.int32],
    products: NDArray[np.int64],
) -> None:
    """Divide visibilities by g_p g_q*, in place.

    Parameters
    ----------
    data
        complex64 (nrow, nchan, ncorr). A flagged gain, or one of 0, counts as 1.
    bad
        bool, same shape: set where there was such a gain on either side.
    gains, flags
        complex128 and bool (nentry, nant, nchan or 1, 2); a single channel holds for all.
    entries
        Which entry holds for each row, int64 (nrow,); −1 for none: the row is left as it is, not marked bad.
    antenna1, antenna2
        Of each row.
    products
        The receptors (0 or 1) of both antennas for each correlation, int64 (ncorr, 2).
    """
    _correct(data, bad, gains, flags, entries, antenna1, antenna2, products)


@numba.njit(cache=True, nogil=True)
def _correct(
    data: Any, bad: Any, gains: Any, flags: Any, entries: Any, antenna1: Any, antenna2: Any, products: Any
) -> None:
    nrow, nchan, ncorr = data.shape
    single = gains.shape[2] == 1
    for row in range(nrow):
        entry = entries[row]
        if entry < 0:
            continue
        p, q = antenna1[row], antenna2[row]
        for channel in range(nchan):
            c = 0 if single else channel
            for corr in range(ncorr):
                i, j = products[corr, 0], products[corr, 1]
                one, other = gains[entry, p, c, i], gains[entry, q, c, j]
                if flags[entry, p, c, i] or one == 0.0:
                    bad[row, channel, corr] = True
                    one = 1.0 + 0.0j
                if flags[entry, q, c, j] or other == 0.0:
                    bad[row, channel, corr] = True
                    other = 1.0 + 0.0j
                data[row, channel, corr] = data[row, channel, corr] / (one * np.conj(other))
