"""Referring phases to one antenna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["RefantMode", "refer_phases"]

RefantMode = Literal["flex", "strict"]
"""What to do where the reference antenna has no solution: ``"flex"`` takes another, ``"strict"`` flags."""


def refer_phases(
    gains: NDArray[np.complex128],
    flags: NDArray[np.bool_],
    preferred: Sequence[int],
    refantmode: RefantMode = "flex",
) -> tuple[NDArray[np.complex128], NDArray[np.bool_], NDArray[np.int64]]:
    """Turn the phases of every solution so that the reference antenna has phase zero.

    In an interval, channel and receptor where the reference antenna has no solution, ``"flex"`` takes the
    next antenna of the list and holds its phase, so that the others go on without a jump: at its value in
    the nearest channel of that interval that could be referred, else at its last value in time, else at zero.
    ``"strict"`` flags all antennas there.

    Parameters
    ----------
    gains, flags
        complex128 and bool (nslot, nant, nchan, nreceptor), in the order of time.
    preferred
        Antennas by preference, at least one. With ``"flex"`` the others follow, most solutions first.
    refantmode
        See `RefantMode`.

    Returns
    -------
    tuple
        Gains and flags, new arrays; and the reference antenna of (most of) each interval, int64 (nslot,).
    """
    gains, flags = gains.copy(), flags.copy()
    nslot, nant = gains.shape[:2]
    order = list(dict.fromkeys(preferred))
    if refantmode == "flex":
        good = (~flags).sum(axis=(0, 2, 3))
        order += [a for a in sorted(range(nant), key=lambda a: (-int(good[a]), a)) if a not in order]
    else:
        order = order[:1]
    chosen = np.full(nslot, order[0], dtype=np.int64)
    held = np.zeros(gains.shape[1:])
    for slot in range(nslot):
        counts = np.zeros(nant, dtype=np.int64)
        missing = ~flags[slot].all(axis=0)
        for rank, antenna in enumerate(order):
            here = missing & ~flags[slot, antenna]
            if rank:
                _hold_from_channels(
                    gains[slot, antenna], here, ~missing & ~flags[slot, antenna], held[antenna]
                )
            turn = np.zeros(here.shape)
            turn[here] = np.angle(gains[slot, antenna][here]) - held[antenna][here]
            gains[slot] *= np.exp(-1j * turn)
            counts[antenna] = np.count_nonzero(here)
            missing &= ~here
        flags[slot] |= missing
        if counts.any():
            chosen[slot] = max(order, key=lambda a: int(counts[a]))
        good = ~flags[slot]
        held[good] = np.angle(gains[slot][good])
        # The first choice defines phase zero at all times.
        held[order[0]] = 0.0
    return gains, flags, chosen


def _hold_from_channels(
    gains: NDArray[np.complex128],
    here: NDArray[np.bool_],
    referred: NDArray[np.bool_],
    held: NDArray[np.float64],
) -> None:
    """Set the held phases of one antenna `here` from its nearest `referred` channels; (nchan, nreceptor)."""
    for receptor in range(gains.shape[1]):
        known = np.flatnonzero(referred[:, receptor])
        wanted = np.flatnonzero(here[:, receptor])
        if len(known) and len(wanted):
            nearest = known[np.argmin(np.abs(known[:, np.newaxis] - wanted), axis=0)]
            held[wanted, receptor] = np.angle(gains[nearest, receptor])
