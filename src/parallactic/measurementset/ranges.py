"""CASA's expressions of time and of uv distance."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.expressions import parts

__all__ = ["SPEED_OF_LIGHT", "format_time", "times", "uv_distances"]

SPEED_OF_LIGHT = 299792458.0
"""Metres per second."""

_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_TIME = r"(?:(\d{4})/(\d{1,2})/(\d{1,2})/)?(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d*)?)"
_STEP = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)"
_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_UNITS = {
    "m": (1.0, False),
    "km": (1e3, False),
    "lambda": (1.0, True),
    "klambda": (1e3, True),
    "mlambda": (1e6, True),
}


def format_time(seconds: float) -> str:
    """Write seconds (MJD, UTC) as ``2011/03/29/08:53:20.0``."""
    day, tenths = divmod(round(seconds * 10), 864000)
    date = datetime.fromtimestamp(_EPOCH.timestamp() + day * 86400.0, tz=UTC)
    hours, tenths = divmod(tenths, 36000)
    minutes, tenths = divmod(tenths, 600)
    return f"{date:%Y/%m/%d}/{hours:02d}:{minutes:02d}:{tenths / 10:04.1f}"


def times(expression: str, time: NDArray[np.float64], interval: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Read a time range, such as ``"2011/03/29/08:53:20~09:10:00,>10:00:00"``.

    ``T0~T1``, ``T0+hh:mm:ss``, ``>T0`` and ``<T0`` hold their ends; ``T0`` alone takes the rows within half
    an interval of it. A time without a date is of the day of the first row, or in ``T0~T1`` of the day of T0.

    Parameters
    ----------
    expression
        CASA's syntax.
    time, interval
        Of the rows, seconds.

    Returns
    -------
    ndarray
        Which rows are asked for, bool (nrow,).

    Raises
    ------
    InvalidSpec
        If the expression cannot be read.
    """
    wanted = np.zeros(len(time), dtype=bool)
    day = float(time.min() // 86400.0 * 86400.0) if len(time) else 0.0
    for part in parts(expression, ",", "timerange"):
        if match := re.fullmatch(rf"({_TIME})\s*~\s*({_TIME})", part):
            low = _seconds(match[1], day, expression)
            high = _seconds(match[8], low // 86400.0 * 86400.0, expression)
        elif match := re.fullmatch(rf"({_TIME})\s*\+\s*({_STEP})", part):
            low = _seconds(match[1], day, expression)
            high = low + int(match[9] or 0) * 3600 + int(match[10] or 0) * 60 + float(match[11])
        elif match := re.fullmatch(rf"([<>])\s*({_TIME})", part):
            bound = _seconds(match[2], day, expression)
            low, high = (bound, np.inf) if match[1] == ">" else (-np.inf, bound)
        elif re.fullmatch(_TIME, part):
            middle = _seconds(part, day, expression)
            wanted |= np.abs(time - middle) <= interval / 2
            continue
        else:
            raise InvalidSpec(
                f"timerange={expression!r} cannot be read at {part!r}; write hh:mm:ss or "
                "YYYY/MM/DD/hh:mm:ss, as T, "
                "T0~T1, T0+hh:mm:ss, >T or <T."
            )
        if low > high:
            raise InvalidSpec(f"timerange={expression!r}: {part} ends before it begins.")
        # casacore compares doubles of 1e-7 s resolution; a written time has a microsecond at best.
        wanted |= (time >= low - 1e-6) & (time <= high + 1e-6)
    return wanted


def _seconds(text: str, day: float, expression: str) -> float:
    match = re.fullmatch(_TIME, text)
    assert match is not None  # the caller matched the same pattern
    if match[1] is not None:
        try:
            date = datetime(int(match[1]), int(match[2]), int(match[3]), tzinfo=UTC)
        except ValueError as error:
            raise InvalidSpec(f"timerange={expression!r}: {text} is no date: {error}.") from error
        day = (date - _EPOCH).total_seconds()
    return day + int(match[4]) * 3600 + int(match[5]) * 60 + float(match[6])


def uv_distances(
    expression: str, distance: NDArray[np.float64], wavelength: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Read a range of uv distance, such as ``"0.5~10klambda,>1km"``; a number without a unit is in metres.

    Parameters
    ----------
    expression
        CASA's syntax.
    distance
        Of the rows: the length of (u, v) in metres, shape (nrow,).
    wavelength
        Of the rows: that of the reference frequency of their spectral window in metres, shape (nrow,).

    Returns
    -------
    ndarray
        Which rows are asked for, bool (nrow,); ends belong to ``~`` and not to ``<`` and ``>``.

    Raises
    ------
    InvalidSpec
        If the expression cannot be read.
    """
    wanted = np.zeros(len(distance), dtype=bool)
    unit = r"\s*([kKM]?lambda|k?m)?"
    for part in parts(expression, ",", "uvrange"):
        if match := re.fullmatch(rf"([<>])\s*({_NUMBER}){unit}", part):
            factor, waves = _UNITS[(match[3] or "m").lower()]
            bound = float(match[2]) * factor
            values = distance / wavelength if waves else distance
            wanted |= values > bound if match[1] == ">" else values < bound
        elif match := re.fullmatch(rf"({_NUMBER})\s*~\s*({_NUMBER}){unit}", part):
            factor, waves = _UNITS[(match[3] or "m").lower()]
            low, high = float(match[1]) * factor, float(match[2]) * factor
            if low > high:
                raise InvalidSpec(f"uvrange={expression!r}: {part} ends before it begins.")
            values = distance / wavelength if waves else distance
            wanted |= (values >= low) & (values <= high)
        else:
            raise InvalidSpec(
                f"uvrange={expression!r} cannot be read at {part!r}; write for example '>1km', '100~400m' or "
                "'0.5~10klambda' (units m, km, lambda, klambda, Mlambda)."
            )
    return wanted
