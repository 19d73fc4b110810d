"""How the rows of a set are shared out among sub-MSs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.ms import MeasurementSet

__all__ = ["AUTO_SUBMSS", "Axis", "axis_label", "separate"]

Axis = Literal["auto", "scan", "spw", "scan,spw", "baseline", "time"]

AUTO_SUBMSS = 8
"""What ``numsubms="auto"`` means, as in CASA outside a cluster: a fixed number, whoever does the work."""

Rows = NDArray[np.int64]


def axis_label(axis: Axis) -> str:
    """Return what a multi-MS separated by `axis` says in its ``AxisType``."""
    return "scan,spw" if axis == "auto" else axis


def separate(
    ms: MeasurementSet, rows: Rows, axis: Axis, numsubms: int | Literal["auto"] = "auto"
) -> list[Rows]:
    """Share `rows` out among sub-MSs, each row to one.

    Parameters
    ----------
    ms
        The set.
    rows
        Positions in its index.
    axis
        ``scan``, ``spw`` and ``baseline``: consecutive ones in groups of nearly equal number. ``scan,spw``:
        the pairs that occur, likewise. ``auto``: the pairs that occur, shared so that the sub-MSs hold about
        equally many visibilities. ``time``: stretches of time of nearly equal number of rows, cut between
        integrations.
    numsubms
        How many sub-MSs at most: never more than there are scans, windows, baselines and so on.

    Returns
    -------
    list of ndarray
        The rows of each sub-MS, none empty.

    Raises
    ------
    InvalidSpec
        If `numsubms` is less than one.
    """
    most = AUTO_SUBMSS if numsubms == "auto" else numsubms
    if most < 1:
        raise InvalidSpec(f"numsubms={numsubms} must be 'auto' or at least 1.")
    if not len(rows):
        return []
    groups = _AXES[axis](ms, rows, most)
    return [rows[groups == number] for number in np.unique(groups)]


def _scan(ms: MeasurementSet, rows: Rows, most: int) -> Rows:
    return _consecutive(_numbered(ms.index.scan[rows]), most)


def _spw(ms: MeasurementSet, rows: Rows, most: int) -> Rows:
    return _consecutive(_numbered(_windows(ms, rows)), most)


def _scan_spw(ms: MeasurementSet, rows: Rows, most: int) -> Rows:
    return _consecutive(_numbered(ms.index.scan[rows], _windows(ms, rows)), most)


def _baseline(ms: MeasurementSet, rows: Rows, most: int) -> Rows:
    return _consecutive(_numbered(ms.index.antenna1[rows], ms.index.antenna2[rows]), most)


def _auto(ms: MeasurementSet, rows: Rows, most: int) -> Rows:
    pairs = _numbered(ms.index.scan[rows], _windows(ms, rows))
    sizes = np.array([int(np.prod(ms.shape(d.id))) for d in ms.data_descriptions], dtype=np.int64)
    load = np.bincount(pairs, weights=sizes[ms.index.ddid[rows]])
    count = min(most, len(load))
    # The largest first, each to the least loaded so far; equals in their order, so that the outcome is one.
    filled = np.zeros(count)
    target = np.zeros(len(load), dtype=np.int64)
    for pair in np.argsort(-load, kind="stable"):
        target[pair] = int(np.argmin(filled))
        filled[target[pair]] += load[pair]
    return np.asarray(target[pairs])


def _time(ms: MeasurementSet, rows: Rows, most: int) -> Rows:
    integration = _integrations(ms, rows)
    ends = np.cumsum(np.bincount(integration))
    count = min(most, len(ends))
    cuts = np.searchsorted(ends, len(rows) * np.arange(1, count) / count)
    return np.asarray(np.searchsorted(np.unique(cuts), integration, side="left"), dtype=np.int64)


def _integrations(ms: MeasurementSet, rows: Rows) -> Rows:
    """Return the number of the integration of each of `rows`, in order of time.

    The rows of one integration may differ in TIME, and INTERVAL may not be the spacing; so an integration
    ends where the times leave a gap of more than half the usual spacing on a baseline.
    """
    time = ms.index.time[rows]
    lines = _numbered(ms.index.ddid[rows], ms.index.antenna1[rows], ms.index.antenna2[rows])
    order = np.lexsort((time, lines))
    steps = np.diff(time[order])
    steps = steps[(np.diff(lines[order]) == 0) & (steps > 0)]
    gap = float(np.median(steps)) / 2 if len(steps) else 0.0
    distinct, place = np.unique(time, return_inverse=True)
    return np.asarray(np.concatenate(([0], np.cumsum(np.diff(distinct) > gap)))[place], dtype=np.int64)


def _windows(ms: MeasurementSet, rows: Rows) -> NDArray[np.int64]:
    spw = np.array([d.spw for d in ms.data_descriptions], dtype=np.int64)
    return np.asarray(spw[ms.index.ddid[rows]])


def _numbered(*columns: NDArray[np.integer]) -> Rows:
    """Return for each place the number of its combination of `columns`, in their order."""
    stacked = np.stack([column.astype(np.int64) for column in columns])
    _, place = np.unique(stacked, axis=1, return_inverse=True)
    return np.asarray(place, dtype=np.int64).reshape(-1)


def _consecutive(numbers: Rows, most: int) -> Rows:
    total = int(numbers.max()) + 1
    count = min(most, total)
    # The bounds are rounded as CASA does it, halves to the even number.
    bounds = [round(total / count * k) for k in range(1, count)]
    return np.asarray(np.searchsorted(bounds, numbers, side="right"), dtype=np.int64)


_AXES: dict[str, Callable[[MeasurementSet, Rows, int], Rows]] = {
    "auto": _auto,
    "scan": _scan,
    "spw": _spw,
    "scan,spw": _scan_spw,
    "baseline": _baseline,
    "time": _time,
}
