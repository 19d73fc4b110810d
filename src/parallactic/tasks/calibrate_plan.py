"""How a solve divides: solution intervals and channel groups, cut from the logical data alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.selection import Selected
from parallactic.spec import near_match
from parallactic.tasks.quantity import quantity

__all__ = [
    "COMBINABLE",
    "Interval",
    "SolveUnit",
    "channels_per_solution",
    "parse_combine",
    "parse_solint",
    "plan",
]

COMBINABLE = ("scan", "field", "obs", "spw")
"""What solution intervals may run across."""

_MAX_BYTES = 192 * 2**20
_MAX_INTERVALS = 64
_SLACK = 0.05
"""Part of the spacing of integrations by which their times may jitter."""


@dataclass(frozen=True)
class Interval:
    """One solution interval.

    Attributes
    ----------
    field, scan, observation
        Ids of its first row.
    start, end
        First and last TIME of its rows, s.
    """

    field: int
    scan: int
    observation: int
    start: float
    end: float


@dataclass(frozen=True)
class SolveUnit:
    """Consecutive solution intervals of one window, solved as one unit of work.

    Attributes
    ----------
    name
        For messages.
    spw
        The window that the solutions are written for.
    intervals
        The intervals, in the order of time.
    rows
        Positions in the index, rising: canonical order.
    slots
        For each row the place of its interval.
    """

    name: str
    spw: int
    intervals: tuple[Interval, ...]
    rows: NDArray[np.int64]
    slots: NDArray[np.int64]


def parse_combine(combine: str) -> frozenset[str]:
    """Read ``"scan,field"``.

    Raises
    ------
    InvalidSpec
        If a part is unknown.
    """
    parts = {part.strip() for part in combine.split(",") if part.strip()}
    for part in sorted(parts):
        if part not in COMBINABLE:
            raise InvalidSpec(
                f"combine={combine!r}: {part!r} cannot be combined{near_match(part, COMBINABLE)} "
                f"Known are {', '.join(COMBINABLE)}."
            )
    return frozenset(parts)


def parse_solint(solint: str | float, gaintype: str) -> tuple[float, str]:
    """Read a solution interval: its seconds (inf, or 0 for one integration) and its part in frequency.

    Parameters
    ----------
    solint
        ``"inf"``, ``"int"``, ``"30s"``, ``"2min"`` or a number of seconds; for a bandpass also
        ``"inf,8ch"`` or ``"inf,4MHz"``.
    gaintype
        Only ``"B"`` has a part in frequency.

    Raises
    ------
    InvalidSpec
        If it is no time, or has a wrong unit.
    """
    time, comma, frequency = (part.strip() for part in str(solint).partition(","))
    if comma and gaintype != "B":
        raise InvalidSpec(
            f"solint={solint!r}: a part in frequency is for gaintype='B'; {gaintype!r} averages all channels."
        )
    if comma and not re.fullmatch(r"\d+\s*ch|.+[a-zA-Z]", frequency):
        raise InvalidSpec(f"solint={solint!r}: write the part in frequency as '8ch' or '4MHz'.")
    if comma and not frequency.removesuffix("ch").strip().isdigit():
        quantity(frequency, "frequency")
    if time in ("inf", "infinite", ""):
        return math.inf, frequency
    if time == "int":
        return 0.0, frequency
    try:
        seconds = quantity(time, "time")
    except InvalidSpec as error:
        raise InvalidSpec(
            f"solint={solint!r}: {error} 'inf' is a whole scan, 'int' one integration."
        ) from None
    if seconds <= 0:
        raise InvalidSpec(f"solint={solint!r} must be longer than nothing; 'int' is one integration.")
    return seconds, frequency


def channels_per_solution(frequency: str, widths: NDArray[np.float64], gaintype: str) -> int:
    """Return how many channels share a solution: all for a gain, one or what solint says for a bandpass."""
    if gaintype != "B":
        return len(widths)
    if not frequency:
        return 1
    if frequency.endswith("ch"):
        count = int(frequency.removesuffix("ch"))
        if count < 1:
            raise InvalidSpec(f"solint=',{frequency}' must be at least one channel.")
    else:
        count = max(1, round(quantity(frequency, "frequency") / float(np.abs(widths).mean())))
    return min(count, len(widths))


def plan(
    ms: MeasurementSet, selected: Selected, seconds: float, combine: frozenset[str], groups: Sequence[int]
) -> list[SolveUnit]:
    """Cut the selected rows into solution intervals, and these into units of work.

    Intervals end where the window, the observation, the scan or the field changes, unless combined, and are
    counted from the first integration of such a stretch. Nothing depends on sub-MSs or on the number of
    workers.

    Parameters
    ----------
    ms
        The set.
    selected
        What is solved.
    seconds
        Length of an interval; inf for a whole stretch, 0 for each integration.
    combine
        As `parse_combine` gives it.
    groups
        For each window the number of solution channels.

    Returns
    -------
    list of SolveUnit
        By window, then time.
    """
    index = ms.index
    rows = selected.rows[index.antenna1[selected.rows] != index.antenna2[selected.rows]]
    spw = np.array([d.spw for d in ms.data_descriptions], dtype=np.int64)[index.ddid[rows]]
    zero = np.zeros(len(rows), dtype=np.int64)
    if "spw" in combine and len(rows):
        spw = np.full(len(rows), spw.min())
    keys = np.stack(
        [
            spw,
            zero if "obs" in combine else index.observation[rows],
            zero if "scan" in combine else index.scan[rows],
            zero if "field" in combine else index.field[rows],
            index.array[rows],
        ],
        axis=1,
    )
    stretches, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(which, minlength=len(stretches)))[:-1]) if len(rows) else []
    units: list[SolveUnit] = []
    for key, part in zip(stretches, parts, strict=True):
        window = int(key[0])
        size = 24 * 2 * groups[window] * len(ms.antennas) ** 2
        most = int(np.clip(_MAX_BYTES // size, 1, _MAX_INTERVALS))
        slots = _slots(ms, rows[part], seconds)
        units += _units(ms, window, rows[part], slots, most)
    return sorted(units, key=lambda unit: (unit.spw, unit.intervals[0].start))


def _units(
    ms: MeasurementSet, spw: int, rows: NDArray[np.int64], slots: NDArray[np.int64], most: int
) -> Iterator[SolveUnit]:
    count = int(slots.max()) + 1
    for low in range(0, count, most):
        high = min(low + most, count)
        here = (slots >= low) & (slots < high)
        intervals = tuple(_interval(ms, rows[slots == slot]) for slot in range(low, high))
        scans = sorted({interval.scan for interval in intervals})
        span = f"{scans[0]}" if len(scans) == 1 else f"{scans[0]}~{scans[-1]}"
        part = f", intervals {low + 1}~{high}" if count > most else ""
        yield SolveUnit(f"spw {spw} scan {span}{part}", spw, intervals, rows[here], slots[here] - low)


def _interval(ms: MeasurementSet, rows: NDArray[np.int64]) -> Interval:
    times = ms.index.time[rows]
    first = rows[np.argmin(times)]
    return Interval(
        int(ms.index.field[first]), int(ms.index.scan[first]), int(ms.index.observation[first]),
        float(times.min()), float(times.max()),
    )  # fmt: skip


def _slots(ms: MeasurementSet, rows: NDArray[np.int64], seconds: float) -> NDArray[np.int64]:
    """Return for each row the number of its interval, from 0 without gaps, in the order of time."""
    if math.isinf(seconds):
        return np.zeros(len(rows), dtype=np.int64)
    integrations, starts, spacing = _integrations(ms, rows)
    if seconds <= 0:
        return integrations
    number = np.floor((starts - starts[0] + _SLACK * min(spacing, seconds)) / seconds)
    _, number = np.unique(number, return_inverse=True)
    return number.reshape(-1).astype(np.int64)[integrations]


def _integrations(
    ms: MeasurementSet, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Find the integrations that rows of one window belong to.

    Several TIMEs can belong to one integration, and INTERVAL need not be their spacing, so neither is used: a
    new integration begins where a baseline comes again, or after more than half of the usual time between two
    rows of a baseline.
    """
    index = ms.index
    time = index.time[rows]
    nant = len(ms.antennas)
    # One baseline of several data descriptions (combined windows) has rows at equal times.
    baseline = (index.ddid[rows].astype(np.int64) * nant + index.antenna1[rows]) * nant + index.antenna2[rows]
    by_baseline = np.lexsort([time, baseline])
    steps = np.diff(time[by_baseline])[np.diff(baseline[by_baseline]) == 0]
    spacing = float(np.median(steps)) if len(steps) else math.inf
    by_time = np.lexsort([baseline, time])
    integrations = np.zeros(len(rows), dtype=np.int64)
    starts: list[float] = []
    seen: set[int] = set()
    for row in by_time:
        moment, pair = float(time[row]), int(baseline[row])
        if not starts or pair in seen or moment - starts[-1] > 0.5 * spacing:
            starts.append(moment)
            seen = set()
        seen.add(pair)
        integrations[row] = len(starts) - 1
    return integrations, np.array(starts), spacing
