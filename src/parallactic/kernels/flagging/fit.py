"""The smooth base of a spectrum or a time series, fitted robustly beneath the interference.

A straight line, or a polynomial in pieces, is fitted in at most five rounds (NCRA Technical Report 202).
Every round judges all points anew against the last fit, so that the ends of a bandpass, far from the first
straight line, come back once the fit has learnt to bend.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["MAX_ROUNDS", "POINTS_PER_PIECE", "fit_pieces", "robust_fit"]

MAX_ROUNDS = 5
"""How often a fit, or the flagging against it, is repeated at most."""

CONVERGED = 0.1
"""The rounds end when sigma changes by less than this fraction."""

POINTS_PER_PIECE = 8
"""Least points of a piece: twice the coefficients of a cubic, so that it cannot follow single spikes."""


@njit(cache=True, nogil=True)
def fit_pieces(  # type: ignore[no-untyped-def]  # compiled: the types are those of the docstring
    values, keep, pieces, degree, fit
) -> None:
    """Fit one polynomial to each of `pieces` equal parts of `values` by least squares.

    Where a part holds too few points the degree is lower; where it holds none the fit is interpolated between
    its neighbours. A fit is held between the least and the greatest value it was fitted to: it never swings
    out into a gap.

    Parameters
    ----------
    values
        Shape (n,), float64.
    keep
        Shape (n,), bool: the points to fit.
    pieces, degree
        At least 1, and 0 to 3.
    fit
        Shape (n,), float64: the result. NaN everywhere if there is nothing to fit.
    """
    n = len(values)
    matrix = np.empty((4, 5))
    basis = np.empty(4)
    holes = False
    for piece in range(pieces):
        start = piece * n // pieces
        stop = (piece + 1) * n // pieces
        points = 0
        low, high = np.inf, -np.inf
        for i in range(start, stop):
            if keep[i]:
                points += 1
                low = min(low, values[i])
                high = max(high, values[i])
        if points == 0:
            holes = True
            fit[start:stop] = np.nan
            continue
        terms = min(degree + 1, max(1, points // 2))
        half = max(0.5 * (stop - start - 1), 0.5)
        centre = 0.5 * (start + stop - 1)
        matrix[:] = 0.0
        for i in range(start, stop):
            if keep[i]:
                _legendre((i - centre) / half, basis)
                for row in range(terms):
                    for col in range(terms):
                        matrix[row, col] += basis[row] * basis[col]
                    matrix[row, 4] += basis[row] * values[i]
        terms = _solve(matrix, terms)
        for i in range(start, stop):
            _legendre((i - centre) / half, basis)
            value = 0.0
            for row in range(terms):
                value += matrix[row, 4] * basis[row]
            fit[i] = min(max(value, low), high)
    if holes:
        _bridge(fit)


@njit(cache=True, nogil=True, inline="always")
def _legendre(x, basis) -> None:  # type: ignore[no-untyped-def]
    basis[0] = 1.0
    basis[1] = x
    basis[2] = 1.5 * x * x - 0.5
    basis[3] = (2.5 * x * x - 1.5) * x


@njit(cache=True, nogil=True)
def _solve(matrix, terms):  # type: ignore[no-untyped-def]
    """Solve the normal equations in place by elimination; return how many terms they could carry."""
    scale = matrix[0, 0]
    for row in range(terms):
        if matrix[row, row] <= 1e-10 * scale:
            # The points do not tell this power from the lower ones (they lie on too few places).
            terms = row
            break
        for other in range(row + 1, terms):
            factor = matrix[other, row] / matrix[row, row]
            for col in range(row, terms):
                matrix[other, col] -= factor * matrix[row, col]
            matrix[other, 4] -= factor * matrix[row, 4]
    for row in range(terms - 1, -1, -1):
        value = matrix[row, 4]
        for col in range(row + 1, terms):
            value -= matrix[row, col] * matrix[col, 4]
        matrix[row, 4] = value / matrix[row, row]
    return terms


@njit(cache=True, nogil=True)
def _bridge(fit) -> None:  # type: ignore[no-untyped-def]
    """Replace NaNs by lines between their neighbours, at the ends by the nearest value."""
    n = len(fit)
    last = -1
    for i in range(n):
        if np.isnan(fit[i]):
            continue
        if last < 0:
            fit[:i] = fit[i]
        else:
            for k in range(last + 1, i):
                fit[k] = fit[last] + (fit[i] - fit[last]) * (k - last) / (i - last)
        last = i
    if last >= 0:
        fit[last + 1 :] = fit[last]


@njit(cache=True, nogil=True)
def robust_fit(  # type: ignore[no-untyped-def]
    values, good, poly, maxnpieces, cutoff, fit, keep
) -> float:
    """Fit the base of `values`, leaving out what deviates by more than `cutoff` sigma.

    The rounds use 1, 3, 5, 7, 9 pieces of degree 1, 2, 3, 3, 3, never more than `maxnpieces` and never so
    many that a piece holds less than `POINTS_PER_PIECE` points; without `poly` a straight line throughout.

    Parameters
    ----------
    values
        Shape (n,), float64.
    good
        Shape (n,), bool: points that exist.
    poly
        Whether a piecewise polynomial is fitted rather than a line.
    maxnpieces
        At least 1.
    cutoff
        In units of sigma, the rms of the kept points about the fit.
    fit, keep
        Shape (n,), float64 and bool: the fit, and the points it rests on; both are overwritten.

    Returns
    -------
    float
        Sigma of the last round; 0 if there is nothing to fit.
    """
    n = len(values)
    keep[:] = good
    most = max(1, min(maxnpieces, n // POINTS_PER_PIECE))
    before = 0.0
    stiff = poly
    for turn in range(MAX_ROUNDS):
        pieces = min(2 * turn + 1, most) if poly else 1
        degree = min(turn + 1, 3) if poly else 1
        fit_pieces(values, keep, pieces, degree, fit)
        total = 0.0
        points = 0
        for i in range(n):
            if keep[i]:
                total += (values[i] - fit[i]) ** 2
                points += 1
        sigma = np.sqrt(total / points) if points else 0.0
        converged = turn > 0 and abs(sigma - before) < CONVERGED * before
        if sigma == 0.0 or (converged and not stiff):
            return sigma
        # Interference adds: what lies beneath a fit that cannot bend yet is the shape of the band. Beneath
        # one that could have followed it is a dead channel.
        stiff = stiff and not converged and turn < 3
        before = sigma
        for i in range(n):
            excess = values[i] - fit[i]
            keep[i] = good[i] and excess <= cutoff * sigma and (stiff or excess >= -cutoff * sigma)
    return before
