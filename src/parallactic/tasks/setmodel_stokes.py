"""Stokes parameters and correlations, in CASA's scale: I is the mean of the parallel hands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec

__all__ = ["source_spectrum", "stokes_to_correlations"]

# Rows: the correlation as a sum over I, Q, U, V.
_ROWS = {
    "I": (1, 0, 0, 0),
    "RR": (1, 0, 0, 1),
    "RL": (0, 1, 1j, 0),
    "LR": (0, 1, -1j, 0),
    "LL": (1, 0, 0, -1),
    "XX": (1, 1, 0, 0),
    "XY": (0, 0, 1, 1j),
    "YX": (0, 0, 1, -1j),
    "YY": (1, -1, 0, 0),
}


def stokes_to_correlations(stokes: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.complex128]:
    """Return the correlations of a point source at the phase centre.

    For linear feeds the parameters are those in the frame of the feeds; no parallactic angle is applied.

    Parameters
    ----------
    stokes
        I, Q, U, V in Jy, float64 (..., 4).
    names
        Of the correlations, such as ``("RR", "RL", "LR", "LL")``.

    Returns
    -------
    ndarray
        complex128 (..., ncorr).

    Raises
    ------
    InvalidSpec
        If a correlation is none of the circular or linear ones.
    """
    unknown = [name for name in names if name not in _ROWS]
    if unknown:
        raise InvalidSpec(f"the correlation {unknown[0]!r} is not known; known are {', '.join(_ROWS)}.")
    matrix = np.array([_ROWS[name] for name in names], dtype=np.complex128)
    result: NDArray[np.complex128] = stokes @ matrix.T
    return result


def source_spectrum(
    fluxdensity: Sequence[float], spix: Sequence[float], reffreq: float, frequencies: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return I, Q, U, V of a power law at `frequencies`.

    S(ν) = S₀ (ν/ν₀)^(α + β log₁₀(ν/ν₀) + …), the same factor for all four, as CASA's setjy has it.

    Parameters
    ----------
    fluxdensity
        I, Q, U, V in Jy at `reffreq`.
    spix
        α, β, ….
    reffreq
        ν₀ in Hz.
    frequencies
        Hz, float64 (nchan,).

    Returns
    -------
    ndarray
        float64 (nchan, 4).
    """
    log = np.log10(frequencies / reffreq)
    exponent = sum(alpha * log**power for power, alpha in enumerate(spix))
    factor = 10.0 ** (exponent * log)
    return np.asarray(factor)[:, np.newaxis] * np.asarray(fluxdensity, dtype=np.float64)
