"""Tfcrop: outliers of the time-frequency plane against the smooth shape of the data.

After NCRA Technical Report 202: the mean over one axis gives a spectrum or a time series, a robust fit to it
the shape beneath the interference; the plane is divided by it, what deviates from 1 by more than N sigma is
flagged, and the same is done along the other axis.

Two things are done with more care than the description asks. Every round fits anew to the mean of what is
not yet flagged, because strong bursts lift the mean of all channels. And where the response of the band falls
below its mean, the deviation is divided by that mean, because the noise that is added behind the filter does
not fall with it: the steep ends of a band are not flagged for their noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from parallactic.kernels.flagging.fit import CONVERGED, MAX_ROUNDS, robust_fit

__all__ = ["Dimension", "FitKind", "TfcropParameters", "WindowStats", "tfcrop_blocks"]

FitKind = Literal["line", "poly"]
Dimension = Literal["freqtime", "timefreq", "freq", "time"]
WindowStats = Literal["none", "sum", "std", "both"]

ROUNDING = 1e-6
"""Deviations that single precision makes by itself, relative: data without noise are not flagged for them."""


@dataclass(frozen=True)
class TfcropParameters:
    """The parameters of tfcrop, with CASA's names and defaults.

    Parameters
    ----------
    timecutoff, freqcutoff
        Flag beyond this many sigma from the fit along time, along frequency.
    timefit, freqfit
        A robust straight line, or a polynomial in pieces.
    maxnpieces
        The most pieces of a polynomial.
    flagdimension
        The axes in the order they are flagged along.
    usewindowstats
        Flag also where the mean (``sum``) or the spread (``std``) of a sliding window exceeds half the
        cutoff.
    halfwin
        Half the width of that window: it holds ``2 halfwin + 1`` samples.
    """

    timecutoff: float = 4.0
    freqcutoff: float = 3.0
    timefit: FitKind = "line"
    freqfit: FitKind = "poly"
    maxnpieces: int = 7
    flagdimension: Dimension = "freqtime"
    usewindowstats: WindowStats = "none"
    halfwin: int = 1


def tfcrop_blocks(
    values: NDArray[np.float32],
    flags: NDArray[np.bool_],
    starts: NDArray[np.integer],
    parameters: TfcropParameters,
) -> None:
    """Flag outliers in each block of rows, one time-frequency plane per correlation, in place.

    Parameters
    ----------
    values
        Amplitudes, float32 (nrow, nchan, ncorr): the rows of a block are one baseline in the order of time.
    flags
        bool, the same shape: samples flagged beforehand are ignored; what is found is added. What is no
        number is flagged.
    starts
        The first row of each block and, at the end, the number of rows: (nblock + 1,).
    parameters
        Cutoffs, fits and the order of the axes.
    """
    p = parameters
    axes = {"freqtime": (0, 1), "timefreq": (1, 0), "freq": (0,), "time": (1,)}[p.flagdimension]
    _blocks(
        values,
        flags,
        np.asarray(starts, dtype=np.int64),
        np.asarray(axes, dtype=np.int64),
        float(p.freqcutoff),
        float(p.timecutoff),
        p.freqfit == "poly",
        p.timefit == "poly",
        p.maxnpieces,
        p.halfwin if p.usewindowstats in ("sum", "both") else 0,
        p.halfwin if p.usewindowstats in ("std", "both") else 0,
    )


@njit(cache=True, nogil=True)
def _blocks(  # type: ignore[no-untyped-def]
    values, flags, starts, axes, freqcutoff, timecutoff, freqpoly, timepoly, maxnpieces, sumwin, stdwin
) -> None:
    _, nchan, ncorr = values.shape
    for block in range(len(starts) - 1):
        start = starts[block]
        ntime = starts[block + 1] - start
        plane = np.empty((ntime, nchan), np.float32)
        turned = np.empty((nchan, ntime), np.float32)
        bad = np.empty((ntime, nchan), np.bool_)
        turned_bad = np.empty((nchan, ntime), np.bool_)
        for corr in range(ncorr):
            for t in range(ntime):
                for c in range(nchan):
                    value = values[start + t, c, corr]
                    plane[t, c] = value
                    bad[t, c] = flags[start + t, c, corr] or not np.isfinite(value)
                    if bad[t, c]:
                        plane[t, c] = 0.0
            flat = False
            for axis in axes:
                if axis == 0:
                    _flag_axis(plane, bad, freqcutoff, freqpoly, maxnpieces, False, sumwin, stdwin)
                    flat = True
                else:
                    _turn(plane, turned)
                    _turn(bad, turned_bad)
                    _flag_axis(turned, turned_bad, timecutoff, timepoly, maxnpieces, not flat, sumwin, stdwin)
                    _turn(turned, plane)
                    _turn(turned_bad, bad)
            for t in range(ntime):
                for c in range(nchan):
                    flags[start + t, c, corr] = bad[t, c]


@njit(cache=True, nogil=True)
def _turn(source, target) -> None:  # type: ignore[no-untyped-def]
    for i in range(source.shape[0]):
        for k in range(source.shape[1]):
            target[k, i] = source[i, k]


@njit(cache=True, nogil=True)
def _flag_axis(  # type: ignore[no-untyped-def]
    plane, bad, cutoff, poly, maxnpieces, levels, sumwin, stdwin
) -> None:
    """Flag along the second axis of `plane`, and divide the plane by what was fitted.

    With `levels` each line along the second axis is judged relative to its own mean: the shape across lines
    is not known yet.
    """
    nline, n = plane.shape
    middle = np.ones(nline)
    level = np.ones(nline)
    mean = np.empty(n)
    count = np.empty(n)
    good = np.empty(n, np.bool_)
    keep = np.empty(n, np.bool_)
    fit = np.ones(n)
    unit = np.ones(n)
    before = 0.0
    for turn in range(MAX_ROUNDS):
        if levels:
            _measure_levels(plane, bad, middle, level)
        mean[:] = 0.0
        count[:] = 0.0
        for line in range(nline):
            for i in range(n):
                weight = 0.0 if bad[line, i] else 1.0
                mean[i] += weight * _relative(plane[line, i], middle[line], level[line])
                count[i] += weight
        total = 0.0
        for i in range(n):
            good[i] = count[i] > 0
            mean[i] /= max(count[i], 1.0)
            total += count[i]
        if total == 0.0:
            return
        robust_fit(mean, good, poly, maxnpieces, cutoff, fit, keep)
        base = fit.mean()
        if not base > 0.0:
            return
        for i in range(n):
            unit[i] = 1.0 / max(fit[i], base)
        squares = 0.0
        for line in range(nline):
            for i in range(n):
                weight = 0.0 if bad[line, i] else 1.0
                excess = (_relative(plane[line, i], middle[line], level[line]) - fit[i]) * unit[i]
                squares += weight * excess * excess
        sigma = np.sqrt(squares / total)
        if turn > 0 and abs(sigma - before) < CONVERGED * before:
            break
        before = sigma
        limit = max(cutoff * sigma, ROUNDING)
        for line in range(nline):
            for i in range(n):
                excess = (_relative(plane[line, i], middle[line], level[line]) - fit[i]) * unit[i]
                if abs(excess) > limit:
                    bad[line, i] = True
    if sumwin or stdwin:
        _flag_windows(
            plane, bad, middle, level, fit, unit, max(0.5 * cutoff * sigma, ROUNDING), sumwin, stdwin
        )
    for line in range(nline):
        for i in range(n):
            if levels:
                plane[line, i] *= unit[i]
            else:
                plane[line, i] = 1.0 + (plane[line, i] - fit[i]) * unit[i]


@njit(cache=True, nogil=True, inline="always")
def _relative(value, middle, level):  # type: ignore[no-untyped-def]
    return 1.0 + (value - middle) * level


@njit(cache=True, nogil=True)
def _measure_levels(plane, bad, middle, level) -> None:  # type: ignore[no-untyped-def]
    """Measure the mean of each line, and what its deviations are multiplied by.

    That is one over its mean, or over the mean of all where that is greater.
    """
    total_all = 0.0
    count_all = 0
    for line in range(plane.shape[0]):
        total = 0.0
        count = 0
        for i in range(plane.shape[1]):
            if not bad[line, i]:
                total += plane[line, i]
                count += 1
        middle[line] = total / max(count, 1)
        total_all += total
        count_all += count
    base = total_all / max(count_all, 1)
    for line in range(plane.shape[0]):
        greater = max(middle[line], base)
        level[line] = 1.0 / greater if greater > 0.0 else 1.0


@njit(cache=True, nogil=True)
def _flag_windows(  # type: ignore[no-untyped-def]
    plane, bad, middle, level, fit, unit, limit, sumwin, stdwin
) -> None:
    """Flag the centres of windows without flags whose mean or spread exceeds `limit`."""
    n = plane.shape[1]
    half = max(sumwin, stdwin)
    found = np.empty(n, np.bool_)
    excess = np.empty(n)
    for line in range(plane.shape[0]):
        for i in range(n):
            excess[i] = (_relative(plane[line, i], middle[line], level[line]) - fit[i]) * unit[i]
        found[:] = False
        for i in range(half, n - half):
            total = 0.0
            squares = 0.0
            whole = True
            for k in range(i - half, i + half + 1):
                whole = whole and not bad[line, k]
                total += excess[k]
                squares += excess[k] * excess[k]
            if whole:
                mean = total / (2 * half + 1)
                spread = np.sqrt(max(squares / (2 * half + 1) - mean * mean, 0.0))
                found[i] = (sumwin > 0 and abs(mean) > limit) or (stdwin > 0 and spread > limit)
        for i in range(n):
            if found[i]:
                bad[line, i] = True
