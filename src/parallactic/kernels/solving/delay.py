"""Antenna delays: the peak of the Fourier transform over channels of the baselines to one antenna."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

__all__ = ["DelaySolution", "solve_delays"]

_PADDING = 8
"""The transform is taken on so many times the channels, so that its peak is not missed between two points."""


@dataclass(frozen=True, slots=True)
class DelaySolution:
    """Delays of one interval and receptor, relative to the reference antenna.

    Attributes
    ----------
    delays, errors
        Seconds, float64 (nant,); 0 where there is none.
    snr
        Amplitude of the mean visibility, turned by the delay, over its error, float64 (nant,).
    solved
        bool (nant,).
    """

    delays: NDArray[np.float64]
    errors: NDArray[np.float64]
    snr: NDArray[np.float64]
    solved: NDArray[np.bool_]


def solve_delays(
    V: NDArray[np.complex128], weights: NDArray[np.float64], frequencies: NDArray[np.float64], refant: int
) -> DelaySolution:
    """Find τ_p so that V_pr is as near as can be to A exp(2πi τ_p (ν − ν₀) + iφ), r the reference antenna.

    The best τ maximises |Σ w V exp(−2πiτν)|: a padded FFT over the channels finds the peak, a search within
    one cell of it the maximum. With the residual variance s² = Σ w |V − A exp(…)|² / (N − 2), of N channels,
    the error of τ is s / √2 / (2π A sqrt(Σ w (ν − ν_w)²)), ν_w the weighted mean frequency, and the ratio is
    A sqrt(Σ w) / s.

    Parameters
    ----------
    V
        Visibilities divided by their model, Hermitian, complex128 (nchan, nant, nant).
    weights
        Symmetric, float64, same shape; 0 for what is missing.
    frequencies
        Of the channels in Hz, equally spaced, float64 (nchan,).
    refant
        The reference antenna.
    """
    nant = V.shape[1]
    delays, errors, snr = np.zeros(nant), np.zeros(nant), np.zeros(nant)
    solved = np.zeros(nant, dtype=np.bool_)
    for antenna in range(nant):
        w = weights[:, antenna, refant]
        if np.count_nonzero(w) > 2:
            delays[antenna], errors[antenna], snr[antenna] = _one(V[:, antenna, refant], w, frequencies)
            solved[antenna] = True
    if solved.any():
        solved[refant] = True
        snr[refant] = snr.max()
    return DelaySolution(delays, errors, snr, solved)


def _one(
    V: NDArray[np.complex128], w: NDArray[np.float64], frequencies: NDArray[np.float64]
) -> tuple[float, float, float]:
    step = float(frequencies[1] - frequencies[0])
    size = _PADDING * len(V)
    cell = 1.0 / (size * abs(step))
    offsets = frequencies - float((w * frequencies).sum() / w.sum())
    peak = int(np.argmax(np.abs(np.fft.fft(w * V, size))))
    coarse = float(np.fft.fftfreq(size, step)[peak])

    def minus_power(delay: float) -> float:
        return -float(np.abs((w * V * np.exp(-2j * np.pi * delay * offsets)).sum()) ** 2)

    # In units of a cell, so that the tolerance means something.
    search = minimize_scalar(
        lambda x: minus_power(coarse + x * cell), bounds=(-1, 1), method="bounded", options={"xatol": 1e-7}
    )
    delay = coarse + float(search.x) * cell
    turn = np.exp(2j * np.pi * delay * offsets)
    mean = complex((w * V * turn.conj()).sum() / w.sum())
    variance = float((w * np.abs(V - mean * turn) ** 2).sum()) / max(int(np.count_nonzero(w)) - 2, 1)
    noise = max(float(np.sqrt(variance)), 1e-30)
    amplitude = max(abs(mean), 1e-300)
    error = noise / (2.0 * np.pi * amplitude * float(np.sqrt(2.0 * (w * offsets**2).sum())))
    return delay, error, min(amplitude * float(np.sqrt(w.sum())) / noise, 1e30)
