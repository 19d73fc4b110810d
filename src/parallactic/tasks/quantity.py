"""Quantities as people write them: ``"0.5arcsec"``, ``"10min"``, ``"1.4GHz"``, ``"2.5mJy"``.

The annotated types make a wrong unit an error of the call, before anything is read::

    def tclean(vis: str, cell: Angle | list[Angle], threshold: FluxDensity = 0.0, ...):
        radians = quantity(cell, "angle", default="arcsec")
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator

from parallactic.errors import InvalidSpec
from parallactic.spec import near_match

__all__ = ["Angle", "Duration", "FluxDensity", "Frequency", "Kind", "Length", "quantity"]

Kind = Literal["angle", "time", "frequency", "flux density", "length", "speed"]

_DEGREE = math.pi / 180.0

_UNITS: Mapping[Kind, Mapping[str, float]] = {
    "angle": {
        "rad": 1.0,
        "deg": _DEGREE,
        "arcmin": _DEGREE / 60,
        "'": _DEGREE / 60,
        "arcsec": _DEGREE / 3600,
        "asec": _DEGREE / 3600,
        '"': _DEGREE / 3600,
        "mas": _DEGREE / 3.6e6,
        "marcsec": _DEGREE / 3.6e6,
    },
    "time": {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "frequency": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "flux density": {"Jy": 1.0, "mJy": 1e-3, "uJy": 1e-6, "nJy": 1e-9},
    "length": {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "km": 1e3},
    "speed": {"m/s": 1.0, "km/s": 1e3},
}
"""Every unit, in rad, s, Hz, Jy, m or m/s."""

_EXAMPLES: Mapping[Kind, str] = {
    "angle": "'0.5arcsec'",
    "time": "'10min'",
    "frequency": "'1.4GHz'",
    "flux density": "'2.5mJy'",
    "length": "'25m'",
    "speed": "'300km/s'",
}


def quantity(value: str | float, kind: Kind, *, default: str | None = None) -> float:
    """Return `value` in the base unit of its kind: rad, s, Hz, Jy, m or m/s.

    Parameters
    ----------
    value
        A number with a unit, such as ``"0.5arcsec"`` or ``"0.5 arcsec"``; or a bare number.
    kind
        What it measures.
    default
        The unit of a bare number. None: the base unit.

    Raises
    ------
    InvalidSpec
        If it is no number with a unit of that kind.
    """
    units = _UNITS[kind]
    scale = units[default] if default else 1.0
    if isinstance(value, int | float):
        return float(value) * scale
    match = re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*", value)
    if match is None:
        raise InvalidSpec(f"{value!r} is not {_article(kind)}; write for example {_EXAMPLES[kind]}.")
    number, unit = float(match[1]), match[2]
    if not unit:
        return number * scale
    if unit not in units:
        raise InvalidSpec(
            f"{value!r}: the unit {unit!r} does not measure {_article(kind)}{near_match(unit, units)} "
            f"Known are {', '.join(units)}."
        )
    return number * units[unit]


def _article(kind: Kind) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _checked(value: str | float, kind: Kind) -> str | float:
    quantity(value, kind)
    return value


Angle = Annotated[
    str | float, AfterValidator(partial(_checked, kind="angle")), "an angle such as '0.5arcsec'"
]
"""An angle; the unit of a bare number is the task's to say."""

Duration = Annotated[str | float, AfterValidator(partial(_checked, kind="time")), "a time such as '10min'"]
"""A length of time."""

Frequency = Annotated[
    str | float, AfterValidator(partial(_checked, kind="frequency")), "a frequency such as '1.4GHz'"
]
"""A frequency."""

FluxDensity = Annotated[
    str | float, AfterValidator(partial(_checked, kind="flux density")), "a flux density such as '2.5mJy'"
]
"""A flux density."""

Length = Annotated[str | float, AfterValidator(partial(_checked, kind="length")), "a length such as '25m'"]
"""A length."""
