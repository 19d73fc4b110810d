"""Normalisation of solutions, with CASA's meaning of ``solnorm``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bandpass_norms", "gain_norm"]


def gain_norm(gains: NDArray[np.complex128], flags: NDArray[np.bool_]) -> float:
    """Return the factor that solutions of one spectral window are divided by: the root of their mean power.

    One factor for all times, antennas and receptors, so that relative amplitudes stay.

    Parameters
    ----------
    gains, flags
        complex128 and bool of one shape; flagged solutions do not count.
    """
    good = gains[~flags]
    return float(np.sqrt(np.mean(np.abs(good) ** 2))) if good.size else 1.0


def bandpass_norms(gains: NDArray[np.complex128], flags: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Return the factors that bandpasses are divided by: one for each time, antenna and receptor.

    The amplitude is the root of the mean power over the unflagged channels, the phase that of the
    mean of exp(iφ) over them. So a normalised bandpass leaves the level and phase of the whole band alone.

    Parameters
    ----------
    gains, flags
        complex128 and bool (nslot, nant, nchan, nreceptor).

    Returns
    -------
    ndarray
        complex128 (nslot, nant, 1, nreceptor); 1 where no channel is good.
    """
    good = ~flags
    count = np.maximum(good.sum(axis=2, keepdims=True), 1)
    amplitude = np.abs(gains)
    power = np.sum(np.where(good, amplitude**2, 0.0), axis=2, keepdims=True) / count
    unit = np.divide(gains, amplitude, out=np.zeros_like(gains), where=good & (amplitude > 0))
    mean = unit.sum(axis=2, keepdims=True)
    phase = np.divide(mean, np.abs(mean), out=np.ones_like(mean), where=np.abs(mean) > 0)
    norms: NDArray[np.complex128] = np.where(power > 0, np.sqrt(power), 1.0) * phase
    return norms
