"""Weights: per channel where the set has them, else one per row and correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parallactic.measurementset.access import read_cells
from parallactic.measurementset.tables import opened

if TYPE_CHECKING:
    from parallactic.measurementset.ms import MeasurementSet

__all__ = ["defined_cells", "read_weights"]


def read_weights(ms: MeasurementSet, rows: NDArray[np.int64], channels: slice | None) -> NDArray[np.float32]:
    """Read the weights at `rows` of one data description shape, float32 (nrow, nchan, ncorr)."""
    weight = ms.read(rows, "WEIGHT")
    ddid = int(ms.index.ddid[rows[0]]) if len(rows) else 0
    nchan, ncorr = ms.shape(ddid)
    if channels is not None:
        nchan = len(range(*channels.indices(nchan)))
    result = np.empty((len(rows), nchan, ncorr), dtype=np.float32)
    result[:] = weight[:, np.newaxis, :]
    subset, row = ms.index.subset[rows], ms.index.row[rows]
    for number in np.unique(subset):
        here = np.flatnonzero(subset == number)
        with opened(ms.subsets[number]) as handle:
            if "WEIGHT_SPECTRUM" not in handle.colnames():
                continue
            have = here[defined_cells(handle, "WEIGHT_SPECTRUM", row[here])]
            if len(have):
                result[have] = read_cells(handle, "WEIGHT_SPECTRUM", row[have], channels)
    return result


def defined_cells(handle: Any, column: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell for each of `rows` whether its cell of `column` is defined, bool (nrow,)."""
    if handle.getcoldesc(column).get("shape") is not None:
        return np.ones(len(rows), dtype=bool)
    return np.fromiter((handle.iscelldefined(column, int(row)) for row in rows), dtype=bool, count=len(rows))
