"""Visibilities as the imager holds them: one Stokes value per row and channel, with its weight."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Visibilities", "stokes_i"]


@dataclass(frozen=True, slots=True)
class Visibilities:
    """A block of Stokes I visibilities that share one frequency axis.

    Parameters
    ----------
    uvw
        Baselines about the phase centre of the image, metres; shape (row, 3), float64.
    frequency
        Hz; shape (channel,), float64.
    values
        Jy; shape (row, channel), complex64. Zero where the weight is zero.
    weight
        Statistical weight, zero where flagged; shape (row, channel), float32.
    """

    uvw: npt.NDArray[np.float64]
    frequency: npt.NDArray[np.float64]
    values: npt.NDArray[np.complex64]
    weight: npt.NDArray[np.float32]

    def without_empty_rows(self) -> Visibilities:
        """Return the same block without the rows whose weights are all zero."""
        kept = np.any(self.weight > 0, axis=1)
        if kept.all():
            return self
        return replace(self, uvw=self.uvw[kept], values=self.values[kept], weight=self.weight[kept])


def stokes_i(
    data: npt.NDArray[np.complex64],
    flag: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.float32]]:
    """Average the two parallel hands (RR and LL, or XX and YY) into Stokes I.

    A flag on either hand drops both, as in CASA: one hand alone measures I ± V (or I ± Q), not I.

    Parameters
    ----------
    data
        The two hands, Jy; shape (row, channel, 2).
    flag
        True where bad; shape (row, channel, 2).
    weight
        Weights of the two hands; shape (row, channel, 2), or (row, 1, 2) where all channels share one.

    Returns
    -------
    values
        (first + second) / 2, zero where dropped; shape (row, channel), complex64.
    weight
        Mean of the two weights, zero where dropped or not positive; shape (row, channel), float32.
    """
    good = ~(flag[..., 0] | flag[..., 1])
    mean = np.float32(0.5) * (weight[..., 0] + weight[..., 1])
    good &= (mean > 0) & np.isfinite(mean) & np.isfinite(data[..., 0]) & np.isfinite(data[..., 1])
    values = np.zeros(good.shape, np.complex64)
    values[good] = np.complex64(0.5) * (data[good, 0] + data[good, 1])
    return values, np.where(good, mean, np.float32(0))
