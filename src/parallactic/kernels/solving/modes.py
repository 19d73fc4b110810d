"""What is solved for: amplitude and phase, phase alone, amplitude alone; and how sure the solution is."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parallactic.kernels.solving.stefcal import GainSolution

__all__ = ["CalMode", "constrain_data", "constrain_gains", "formal_errors"]

CalMode = Literal["ap", "p", "a"]
"""``"ap"`` amplitude and phase, ``"p"`` phase, ``"a"`` amplitude."""


def constrain_data(
    V: NDArray[np.complex128], weights: NDArray[np.float64], calmode: CalMode
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Take out of averaged ratios what the gains shall not follow.

    For phases every ratio is divided by its amplitude, and its weight multiplied by the square of it, since
    σ of the phase is σ over the amplitude. For amplitudes the phase is dropped and the weight kept.

    Parameters
    ----------
    V, weights
        Mean V/M, complex128, and weights, float64, of any one shape.
    calmode
        See `CalMode`.

    Returns
    -------
    tuple
        The same two, constrained.
    """
    if calmode == "ap":
        return V, weights
    amplitude = np.abs(V)
    if calmode == "a":
        return amplitude.astype(np.complex128), weights
    unit = np.divide(V, amplitude, out=np.zeros_like(V), where=amplitude > 0)
    return unit, weights * amplitude**2


def constrain_gains(gains: NDArray[np.complex128], calmode: CalMode) -> NDArray[np.complex128]:
    """Set the amplitude of phase gains to 1, and the phase of amplitude gains to 0."""
    if calmode == "ap":
        return gains
    amplitude = np.abs(gains)
    if calmode == "a":
        return amplitude.astype(np.complex128)
    return np.divide(gains, amplitude, out=np.ones_like(gains), where=amplitude > 0)


def formal_errors(solution: GainSolution) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the formal error and the signal-to-noise ratio of gains that were solved together.

    The two receptors of one interval and channel are one group: their noise is taken to be the same. With
    σ² = Σ χ² / Σ (baselines − antennas) over the group, the error of a gain is σ / sqrt(Σ_q w_pq |g_q|²): the
    root of the summed variances of its real and imaginary part, the other gains held; of phases and of
    amplitudes alone, that of the part that varies. The ratio is |g_p| over it. It counts on no absolute
    scale of the weights. If there are no more baselines than antennas nothing is left to measure the noise
    with: then σ² = 2, as if the weights were 1/variance of either part.

    Parameters
    ----------
    solution
        Its solves are the receptors of one interval and channel.

    Returns
    -------
    tuple
        Error and ratio, float64 (nsolve, nant); both 0 where nothing was solved.
    """
    dof = int(solution.dof[solution.solved.any(axis=1)].sum())
    variance = float(solution.chi2.sum()) / dof if dof > 0 else 2.0
    good = solution.solved & (solution.curvature > 0)
    error = np.zeros_like(solution.curvature)
    np.sqrt(variance / np.where(good, solution.curvature, 1.0), out=error, where=good)
    # Data without noise have no error; the floor keeps the ratio finite, also in single precision.
    floor = 1e-30
    ratio = np.where(good, np.abs(solution.gains) / np.maximum(error, floor), 0.0)
    return error, np.minimum(ratio, 1e30)
