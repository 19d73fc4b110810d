"""Interpolation of gains in time and along frequency: amplitude and phase, each linearly.

Phases are taken the short way round between neighbours. Outside the range the nearest solution is used.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interpolation", "fill_gaps", "interpolate_frequency", "interpolate_time", "polar_mean"]

Interpolation = Literal["linear", "nearest"]


def polar_mean(
    low: NDArray[np.complex128], high: NDArray[np.complex128], fraction: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Go the part `fraction` of the way from `low` to `high` in amplitude and, the short way, in phase."""
    amplitude = (1.0 - fraction) * np.abs(low) + fraction * np.abs(high)
    phase = np.angle(low) + fraction * np.angle(high * np.conj(low))
    return np.where(fraction == 0.0, low, amplitude * np.exp(1j * phase))


def brackets(
    known: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Find for each wanted place two known ones and the fraction of the way, outside the range not in 0…1."""
    high = np.clip(np.searchsorted(known, wanted, side="right"), 1, max(1, len(known) - 1)).astype(np.int64)
    if len(known) == 1:
        zero = np.zeros(len(wanted), dtype=np.int64)
        return zero, zero, np.zeros(len(wanted))
    low = high - 1
    return low, high, (wanted - known[low]) / (known[high] - known[low])


def interpolate_time(
    times: NDArray[np.float64],
    gains: NDArray[Any],
    flags: NDArray[np.bool_],
    wanted: NDArray[np.float64],
    kind: Interpolation,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Interpolate solutions to the times `wanted`.

    A flagged solution spoils what lies between it and its neighbours (``"linear"``), or what is nearest to
    it (``"nearest"``): solutions are not bridged in time.

    Parameters
    ----------
    times
        Of the solutions, seconds, rising strictly, float64 (nslot,).
    gains, flags
        complex128, or float64 (delays, interpolated linearly), and bool; (nslot, ...).
    wanted
        Seconds, float64 (ntime,).
    kind
        ``"linear"`` or ``"nearest"``.

    Returns
    -------
    tuple
        Gains and flags, (ntime, ...).
    """
    low, high, fraction = brackets(times, wanted)
    fraction = np.clip(fraction, 0.0, 1.0)
    if kind == "nearest" or len(times) == 1:
        nearest = np.where(fraction > 0.5, high, low)
        return gains[nearest], flags[nearest]
    fraction = fraction.reshape(-1, *(1,) * (gains.ndim - 1))
    bad = (flags[low] & (fraction < 1.0)) | (flags[high] & (fraction > 0.0))
    if not np.iscomplexobj(gains):
        return (1.0 - fraction) * gains[low] + fraction * gains[high], bad
    return polar_mean(gains[low], gains[high], fraction), bad


def interpolate_frequency(
    known: NDArray[np.float64],
    gains: NDArray[np.complex128],
    flags: NDArray[np.bool_],
    wanted: NDArray[np.float64],
    kind: Interpolation,
    *,
    keep_flags: bool = False,
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Interpolate solutions to the frequencies `wanted`.

    Flagged channels are bridged from their unflagged neighbours. With `keep_flags` what lies next to a
    flagged channel (``"linear"``) or is nearest to it (``"nearest"``) is flagged instead. A solution without
    any good channel is flagged.

    Parameters
    ----------
    known
        Frequencies of the solutions in Hz, all different, float64 (nknown,).
    gains, flags
        complex128 and bool (nsolution, nknown).
    wanted
        Hz, float64 (nchan,).
    kind
        ``"linear"`` or ``"nearest"``.

    Returns
    -------
    tuple
        Gains and flags, (nsolution, nchan).
    """
    order = np.argsort(known)
    known, gains, flags = known[order], gains[:, order], flags[:, order]
    result = np.ones((len(gains), len(wanted)), dtype=np.complex128)
    bad = np.ones(result.shape, dtype=np.bool_)
    # Most solutions share one pattern of flags: each pattern is worked out once.
    patterns, which = np.unique(flags, axis=0, return_inverse=True)
    which = which.reshape(-1)
    for number, pattern in enumerate(patterns):
        if pattern.all():
            continue
        rows = np.flatnonzero(which == number)
        good = np.flatnonzero(~pattern)
        low, high, fraction = brackets(known[good], wanted)
        fraction = np.clip(fraction, 0.0, 1.0)
        if kind == "nearest":
            # Of two that are equally near the lower; CASA takes one or the other by its rounding.
            fraction = np.where(fraction > 0.5, 1.0, 0.0)
        here = gains[rows][:, good]
        result[rows] = polar_mean(
            here[:, low], here[:, high], np.broadcast_to(fraction, (len(rows), len(wanted)))
        )
        bad[rows] = _near_flags(known, pattern, wanted, kind) if keep_flags else False
    return result, bad


def _near_flags(
    known: NDArray[np.float64], pattern: NDArray[np.bool_], wanted: NDArray[np.float64], kind: Interpolation
) -> NDArray[np.bool_]:
    low, high, fraction = brackets(known, wanted)
    if kind == "nearest":
        return pattern[np.where(fraction > 0.5, high, low)]
    # Outside the band too the last two channels count, as in CASA; on a channel that one alone.
    near: NDArray[np.bool_] = (pattern[low] & (fraction != 1.0)) | (pattern[high] & (fraction != 0.0))
    return near


def fill_gaps(
    gains: NDArray[np.complex128], flags: NDArray[np.bool_], widest: int, axis: int = -1
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Fill runs of at most `widest` flagged channels from the good channels on both of their sides.

    Parameters
    ----------
    gains, flags
        complex128 and bool, of any one shape.
    widest
        The longest run that is filled, in channels. 0 fills none. Runs at the edges of the band stay.
    axis
        That of the channels.

    Returns
    -------
    tuple
        Gains and flags, new arrays.
    """
    gains, flags = gains.copy(), flags.copy()
    rows = np.moveaxis(gains, axis, -1)
    row_flags = np.moveaxis(flags, axis, -1)
    for place in np.ndindex(rows.shape[:-1]):
        row, row_flag = rows[place], row_flags[place]
        for left, right in pairwise(np.flatnonzero(~row_flag)):
            if 1 < right - left <= widest + 1:
                inside = np.arange(left + 1, right)
                fraction = (inside - left) / (right - left)
                row[inside] = polar_mean(row[left], row[right], fraction)
                row_flag[inside] = False
    return gains, flags
