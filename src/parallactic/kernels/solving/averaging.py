"""Averaging of visibilities over a solution interval, as ratios V/M with the weights they deserve."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["BaselineSums", "baseline_matrix", "combine_ratios"]


class BaselineSums:
    """Running sums of one solution after another, per baseline, channel group and receptor.

    The visibilities of an interval are divided by their model and averaged. A ratio V/M of a visibility
    of weight w has weight w|M|², so the weighted mean of the ratios is Σ w V M* / Σ w |M|², and the sum
    below is its weight. Sums are kept in double precision and rows are added one after another in the order
    given, so that the result does not depend on how the rows were cut into pieces.

    Parameters
    ----------
    nslot, nant, ngroup
        Numbers of solution intervals, antennas, and channel groups.

    Attributes
    ----------
    products
        Σ w V M*, complex128 (nslot, ngroup, 2, nant, nant), its upper triangle (antenna1 < antenna2).
    weights
        Σ w |M|², float64, same shape.
    times
        Σ w |M|² t, float64 (nslot,), and `time_weights`, Σ w |M|², over all that was used.
    """

    def __init__(self, nslot: int, nant: int, ngroup: int) -> None:
        shape = (nslot, ngroup, 2, nant, nant)
        self.products: NDArray[np.complex128] = np.zeros(shape, dtype=np.complex128)
        self.weights: NDArray[np.float64] = np.zeros(shape, dtype=np.float64)
        self.times: NDArray[np.float64] = np.zeros(nslot)
        self.time_weights: NDArray[np.float64] = np.zeros(nslot)

    def add(
        self,
        data: NDArray[np.complex64],
        model: NDArray[np.complex64],
        weights: NDArray[np.float32],
        flags: NDArray[np.bool_],
        antenna1: NDArray[np.int32],
        antenna2: NDArray[np.int32],
        times: NDArray[np.float64],
        slots: NDArray[np.int64],
        groups: NDArray[np.int64],
        receptors: NDArray[np.int64],
    ) -> None:
        """Add rows.

        Parameters
        ----------
        data, model
            complex64 (nrow, nchan, ncorr). What is not finite is left out.
        weights, flags
            float32 and bool, same shape.
        antenna1, antenna2, times, slots
            Of each row; times in seconds after a moment of the caller's choice; a slot of −1 leaves the row
            out. Autocorrelations are left out.
        groups
            The channel group of each channel, −1 for a channel that is not used, int64 (nchan,).
        receptors
            For each correlation the receptor that its parallel hand measures, 0 or 1, or −1 for none.
        """
        _add(
            data, model, weights, flags, antenna1, antenna2, times, slots, groups, receptors,
            self.products, self.weights, self.times, self.time_weights,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _add(
    data: Any, model: Any, weights: Any, flags: Any, antenna1: Any, antenna2: Any, times: Any, slots: Any,
    groups: Any, receptors: Any, products: Any, sums: Any, time_sums: Any, time_weights: Any,
) -> None:  # fmt: skip
    nrow, nchan, ncorr = data.shape
    for row in range(nrow):
        slot, p, q = slots[row], antenna1[row], antenna2[row]
        if slot < 0 or p == q:
            continue
        swap = p > q
        if swap:
            p, q = q, p
        total = 0.0
        for channel in range(nchan):
            group = groups[channel]
            if group < 0:
                continue
            for corr in range(ncorr):
                receptor = receptors[corr]
                weight = float(weights[row, channel, corr])
                if receptor < 0 or flags[row, channel, corr] or not weight > 0.0:
                    continue
                V = complex(data[row, channel, corr])
                M = complex(model[row, channel, corr])
                power = M.real * M.real + M.imag * M.imag
                product = V * M.conjugate()
                if not (
                    power > 0.0 and np.isfinite(power * weight) and np.isfinite(product.real + product.imag)
                ):
                    continue
                if swap:
                    product = product.conjugate()
                products[slot, group, receptor, p, q] += weight * product
                sums[slot, group, receptor, p, q] += weight * power
                total += weight * power
        time_sums[slot] += total * times[row]
        time_weights[slot] += total


def baseline_matrix(
    products: NDArray[np.complex128], weights: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Turn upper triangles of sums into Hermitian mean ratios and symmetric weights.

    Parameters
    ----------
    products, weights
        As in `BaselineSums`, (..., nant, nant), zero on and below the diagonal.

    Returns
    -------
    tuple
        Mean V/M, complex128, and its weight, float64, (..., nant, nant); zero where there is nothing.
    """
    mean = np.divide(products, weights, out=np.zeros_like(products), where=weights > 0)
    return mean + np.conj(np.swapaxes(mean, -1, -2)), weights + np.swapaxes(weights, -1, -2)


def combine_ratios(
    V: NDArray[np.complex128], weights: NDArray[np.float64], axis: int
) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Average ratios that one gain shall explain, such as those of several fields, and keep how they scatter.

    With the scatter, χ² of the means is turned into χ² of what was averaged:
    Σ_s w_s |V_s − x|² = W |V − x|² + scatter, for any x.

    Parameters
    ----------
    V, weights
        As `baseline_matrix` gives them, with any further axes.
    axis
        To average over.

    Returns
    -------
    tuple
        Mean ratio, its weight, the scatter Σ w_s |V_s|² − W |V|² (float64), how many were averaged (int64).
    """
    total = weights.sum(axis=axis)
    mean = np.divide(
        (weights * V).sum(axis=axis), total, out=np.zeros_like(total, dtype=V.dtype), where=total > 0
    )
    scatter = (weights * np.abs(V) ** 2).sum(axis=axis) - total * np.abs(mean) ** 2
    return mean, total, np.maximum(scatter, 0.0), np.count_nonzero(weights > 0, axis=axis)
