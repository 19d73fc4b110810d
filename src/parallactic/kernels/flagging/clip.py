"""Clip: what lies outside a range, is exactly zero, or is no number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["clip"]


def clip(
    values: NDArray[np.float32],
    clipminmax: Sequence[float] | None = None,
    *,
    clipoutside: bool = True,
    clipzeros: bool = False,
) -> NDArray[np.bool_]:
    """Find the values to flag.

    The limits themselves belong to the range: outside it are values below the least or above the greatest,
    inside it are the others. NaN and infinity are flagged whatever the range.

    Parameters
    ----------
    values
        Any shape, float32.
    clipminmax
        The range, least and greatest, compared in single precision. None: only what is no number.
    clipoutside
        Flag outside the range; else inside.
    clipzeros
        Flag what is exactly 0, too.

    Returns
    -------
    ndarray
        bool, the shape of `values`.
    """
    bad: NDArray[np.bool_] = ~np.isfinite(values)
    if clipminmax is not None:
        low, high = (np.float32(limit) for limit in clipminmax)
        outside = (values < low) | (values > high)
        bad |= outside if clipoutside else ~outside
    if clipzeros:
        bad |= values == 0
    return bad
