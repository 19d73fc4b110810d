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

    In an interval, channel and receptor where the reference antenna has no solution, ``"flex"`` holds the
    phase of the next antenna of the list at its last referred value there (at zero if it had none), so that
    the others go on without a jump; ``"strict"`` flags all antennas there.

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
        open_ = ~flags[slot].all(axis=0)
        turn = np.zeros(open_.shape)
        counts = np.zeros(nant, dtype=np.int64)
        for antenna in order:
            here = open_ & ~flags[slot, antenna]
            turn[here] = np.angle(gains[slot, antenna][here]) - held[antenna][here]
            counts[antenna] = np.count_nonzero(here)
            open_ &= ~here
        gains[slot] *= np.exp(-1j * turn)
        flags[slot] |= open_
        if counts.any():
            chosen[slot] = max(order, key=lambda a: int(counts[a]))
        good_here = ~flags[slot]
        held[good_here] = np.angle(gains[slot][good_here])
        # The first choice defines phase zero at all times.
        held[order[0]] = 0.0
    return gains, flags, chosen
