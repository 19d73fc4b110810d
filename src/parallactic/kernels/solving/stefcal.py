"""Diagonal antenna gains by StefCal (Salvini & Wijnholds 2014, A&A 571, A97)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["GainSolution", "prune", "solve_gains"]


@dataclass(frozen=True, slots=True)
class GainSolution:
    """Gains of independent solves, with what is needed for their formal errors.

    Attributes
    ----------
    gains
        complex128 (nsolve, nant); 1 where there is no solution. Their common phase is arbitrary.
    solved
        bool (nsolve, nant): the antenna had enough baselines.
    curvature
        Σ_q w_pq |g_q|², float64 (nsolve, nant).
    chi2
        Σ_{p<q} w_pq |V_pq − g_p g_q*|², float64 (nsolve,).
    dof
        Complex data (baselines) less antennas, int64 (nsolve,).
    converged
        bool (nsolve,).
    """

    gains: NDArray[np.complex128]
    solved: NDArray[np.bool_]
    curvature: NDArray[np.float64]
    chi2: NDArray[np.float64]
    dof: NDArray[np.int64]
    converged: NDArray[np.bool_]


def solve_gains(
    V: NDArray[np.complex128],
    weights: NDArray[np.float64],
    minblperant: int = 4,
    *,
    scatter: NDArray[np.float64] | None = None,
    counts: NDArray[np.int64] | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 20000,
) -> GainSolution:
    """Find g so that Σ_{p<q} w_pq |V_pq − g_p g_q*|² is least, for each solve on its own.

    Every step solves for each antenna with the others held, g_p = Σ_q w_pq V_pq g_q / Σ_q w_pq |g_q|², and
    every second step takes the mean of the old and the new gains, which makes the iteration converge.

    Parameters
    ----------
    V
        Visibilities divided by their model, Hermitian, complex128 (nsolve, nant, nant).
    weights
        Their weights, symmetric, float64, same shape; 0 for what is missing.
    minblperant
        The least number of baselines of an antenna; antennas with fewer are left out, again and again
        until none has fewer. So are antennas without a path of baselines to the largest group:
        their phase relative to it cannot be known.
    scatter, counts
        As `combine_ratios` gives them, (nsolve, nant, nant): χ² and its degrees of freedom are then those of
        what was averaged.
    tolerance
        Stop when the gains change by less than this part of their norm.
    max_iterations
        Give up after so many steps.
    """
    nsolve, nant = V.shape[:2]
    gains = np.ones((nsolve, nant), dtype=np.complex128)
    curvature = np.zeros((nsolve, nant))
    chi2 = np.zeros(nsolve)
    dof = np.zeros(nsolve, dtype=np.int64)
    converged = np.zeros(nsolve, dtype=np.bool_)
    kept = prune(weights, minblperant)
    solved: NDArray[np.bool_] = np.any(kept, axis=2)
    for k in range(nsolve):
        used = np.where(kept[k], weights[k], 0.0)
        if solved[k].any():
            converged[k] = _stefcal(V[k], used, solved[k], gains[k], tolerance, max_iterations)
            curvature[k], chi2[k] = _quality(V[k], used, gains[k])
            pairs = np.triu(used, 1) > 0
            chi2[k] += 0.0 if scatter is None else scatter[k][pairs].sum()
            data = np.count_nonzero(pairs) if counts is None else int(counts[k][pairs].sum())
            dof[k] = data - np.count_nonzero(solved[k])
    return GainSolution(gains, solved, curvature, chi2, dof, converged)


def prune(weights: NDArray[np.float64], minblperant: int) -> NDArray[np.bool_]:
    """Find the baselines that can be used: antennas with few baselines, and islands, are left out.

    Parameters
    ----------
    weights
        (nsolve, nant, nant), symmetric, zero diagonal.
    minblperant
        The least number of baselines of an antenna.

    Returns
    -------
    ndarray
        bool, same shape.
    """
    kept: NDArray[np.bool_] = np.greater(weights, 0.0)
    for solve in kept:
        _keep_largest_group(solve)
        _drop_thin(solve, max(1, minblperant))
        # Dropping thin antennas can cut a group in two, and the larger part may then hold thin antennas.
        while _keep_largest_group(solve):
            _drop_thin(solve, max(1, minblperant))
    return kept


def _drop_thin(kept: NDArray[np.bool_], least: int) -> None:
    while True:
        count = kept.sum(axis=1)
        thin = (count > 0) & (count < least)
        if not thin.any():
            return
        kept[thin, :] = False
        kept[:, thin] = False


def _keep_largest_group(kept: NDArray[np.bool_]) -> bool:
    """Keep the group of connected antennas with the most baselines; tell whether anything was dropped."""
    left = kept.any(axis=1)
    best: NDArray[np.bool_] | None = None
    most = -1
    while left.any():
        group = np.zeros(len(kept), dtype=np.bool_)
        group[np.argmax(left)] = True
        while True:
            grown = group | kept[group].any(axis=0)
            if (grown == group).all():
                break
            group = grown
        size = int(kept[group].sum())
        if size > most:
            best, most = group, size
        left &= ~group
    if best is None:
        return False
    dropped = bool(kept[~best].any())
    kept[~best, :] = False
    kept[:, ~best] = False
    return dropped


@numba.njit(cache=True, nogil=True)
def _stefcal(V: Any, weights: Any, solved: Any, gains: Any, tolerance: float, max_iterations: int) -> bool:
    nant = len(gains)
    _first_guess(V, weights, solved, gains)
    new = gains.copy()
    for iteration in range(max_iterations):
        for p in range(nant):
            if not solved[p]:
                continue
            above = 0.0j
            below = 0.0
            for q in range(nant):
                weight = weights[p, q]
                if weight > 0.0:
                    g = gains[q]
                    above += weight * V[p, q] * g
                    below += weight * (g.real * g.real + g.imag * g.imag)
            # All partners at zero say nothing of this antenna; it stays as it is.
            new[p] = above / below if below > 0.0 else gains[p]
        change = 0.0
        norm = 0.0
        for p in range(nant):
            if solved[p]:
                if iteration % 2 == 1:
                    new[p] = 0.5 * (new[p] + gains[p])
                change += abs(new[p] - gains[p]) ** 2
                norm += abs(new[p]) ** 2
                gains[p] = new[p]
        if iteration % 2 == 1 and change <= tolerance * tolerance * norm:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _first_guess(V: Any, weights: Any, solved: Any, gains: Any) -> None:
    """Take the phases on the baselines of the best connected antenna, and one amplitude for all."""
    nant = len(gains)
    best = 0
    most = -1.0
    power = 0.0
    total = 0.0
    for p in range(nant):
        strength = 0.0
        for q in range(nant):
            strength += weights[p, q] * abs(V[p, q])
            power += weights[p, q] * abs(V[p, q])
            total += weights[p, q]
        if strength > most:
            best, most = p, strength
    amplitude = np.sqrt(power / total) if total > 0.0 and power > 0.0 else 1.0
    for p in range(nant):
        if solved[p]:
            V_pb = V[p, best]
            if weights[p, best] > 0.0 and abs(V_pb) > 0.0:
                gains[p] = amplitude * V_pb / abs(V_pb)
            else:
                gains[p] = amplitude


@numba.njit(cache=True, nogil=True)
def _quality(V: Any, weights: Any, gains: Any) -> Any:
    nant = len(gains)
    curvature = np.zeros(nant)
    chi2 = 0.0
    for p in range(nant):
        for q in range(nant):
            if weights[p, q] > 0.0:
                curvature[p] += weights[p, q] * abs(gains[q]) ** 2
                if q > p:
                    chi2 += weights[p, q] * abs(V[p, q] - gains[p] * np.conj(gains[q])) ** 2
    return curvature, chi2
