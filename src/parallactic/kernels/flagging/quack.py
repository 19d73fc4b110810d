"""Quack: the beginning or the end of every scan."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["QuackMode", "quack", "scan_bounds"]

QuackMode = Literal["beg", "endb", "end", "tail"]
"""Flag the beginning; the end; all but the end; all but the beginning."""


def scan_bounds(
    time: NDArray[np.float64], scan: NDArray[np.integer], use: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.integer], NDArray[np.float64], NDArray[np.float64]]:
    """Find the first and the last time of each scan.

    Parameters
    ----------
    time
        Times in s, (nrow,).
    scan
        The scan of each row, (nrow,), any distinct numbers.
    use
        Rows that count, (nrow,): those with unflagged data if the interval is counted from there. None: all.

    Returns
    -------
    tuple
        The scans in rising order (nscan,), their first and their last times in s (nscan,); NaN for a scan
        without a row that counts.
    """
    scans, place = np.unique(scan, return_inverse=True)
    first = np.full(len(scans), np.inf)
    last = np.full(len(scans), -np.inf)
    chosen = slice(None) if use is None else use
    np.minimum.at(first, place[chosen], time[chosen])
    np.maximum.at(last, place[chosen], time[chosen])
    empty = first > last
    first[empty] = last[empty] = np.nan
    return scans, first, last


def quack(
    time: NDArray[np.float64],
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    quackinterval: float,
    quackmode: QuackMode = "beg",
) -> NDArray[np.bool_]:
    """Find the rows to flag. A row exactly at the interval's end is taken as part of it.

    Parameters
    ----------
    time
        Times in s, (nrow,).
    first, last
        The bounds of each row's scan in s, (nrow,); NaN where nothing is to be flagged.
    quackinterval
        In s.
    quackmode
        ``beg`` flags from `first` for the interval, ``tail`` all after that; ``endb`` flags the interval
        before `last`, ``end`` all before that.

    Returns
    -------
    ndarray
        bool, (nrow,).
    """
    if quackmode == "beg":
        return np.asarray(time <= first + quackinterval)
    if quackmode == "tail":
        return np.asarray(time > first + quackinterval)
    if quackmode == "endb":
        return np.asarray(time >= last - quackinterval)
    return np.asarray(time < last - quackinterval)
