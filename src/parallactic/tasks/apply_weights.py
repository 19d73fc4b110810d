"""The weights of calibrated data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.tables import opened
from parallactic.measurementset.weights import defined_cells

__all__ = ["new_weights"]


def new_weights(
    ms: MeasurementSet, rows: NDArray[np.int64], scales: NDArray[np.float64]
) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the weights of rows of one data description after calibration.

    They follow from SIGMA and SIGMA_SPECTRUM alone, so that calibrating twice gives the same. Where there is
    a WEIGHT_SPECTRUM but no SIGMA_SPECTRUM, all its channels follow from SIGMA, as in CASA.

    Parameters
    ----------
    ms
        The set.
    rows
        Positions in the index, of one sub-MS and data description.
    scales
        |g_p g_q|² of each row and correlation, float64 (nrow, ncorr).

    Returns
    -------
    list
        Pairs of a column, WEIGHT and WEIGHT_SPECTRUM if there is one, and its values, float32.
    """
    weight = _inverse_square(ms.read(rows, "SIGMA")) * scales
    result = [("WEIGHT", weight.astype(np.float32))]
    if _has(ms, rows, "WEIGHT_SPECTRUM"):
        if _has(ms, rows, "SIGMA_SPECTRUM"):
            spectrum = _inverse_square(ms.read(rows, "SIGMA_SPECTRUM")) * scales[:, np.newaxis, :]
        else:
            nchan, ncorr = ms.shape(int(ms.index.ddid[rows[0]]))
            spectrum = np.broadcast_to(weight[:, np.newaxis, :], (len(rows), nchan, ncorr))
        result.append(("WEIGHT_SPECTRUM", spectrum.astype(np.float32)))
    return result


def _inverse_square(sigma: NDArray[np.float32]) -> NDArray[np.float64]:
    # A sigma of 0 is an absent one: such data have no weight.
    known = sigma > 0
    return np.where(known, 1.0 / np.square(np.where(known, sigma, 1.0).astype(np.float64)), 0.0)


def _has(ms: MeasurementSet, rows: NDArray[np.int64], column: str) -> bool:
    subset = int(ms.index.subset[rows[0]])
    with opened(ms.subsets[subset]) as handle:
        return column in handle.colnames() and bool(defined_cells(handle, column, ms.index.row[rows]).all())
