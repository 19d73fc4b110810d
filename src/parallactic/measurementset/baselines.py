"""CASA's antenna and baseline expressions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.expressions import listed, matching_names, parts
from parallactic.measurementset.metadata import Antenna
from parallactic.spec import near_match

__all__ = ["antenna_ids", "baselines"]

_LENGTH = {"": 1.0, "m": 1.0, "km": 1e3}
_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][+-]?\d+)?"


def baselines(expression: str, antennas: Sequence[Antenna]) -> NDArray[np.bool_]:
    """Read an antenna expression.

    ``A`` every baseline with A but its autocorrelation; ``A&B`` between A and B; ``A&`` within A; ``A&&``
    within A with autocorrelations, ``A&&B`` likewise; ``A&&&`` the autocorrelations alone. A and B are lists
    of names, stations, ``name@station``, ids and ranges; a number is a name first and an id after. ``>300m``,
    ``<1km`` and ``200~400m`` choose by length. Parts separated by ``;`` add up from left to right; a part
    after ``!`` is taken away, and if it is the first, from everything.

    Parameters
    ----------
    expression
        CASA's syntax.
    antennas
        The ANTENNA table.

    Returns
    -------
    ndarray
        Which pairs of ids are asked for, bool (nant, nant), symmetric.

    Raises
    ------
    InvalidSpec
        If the expression cannot be read, or names an antenna that is not in the table.
    """
    wanted: NDArray[np.bool_] | None = None
    for part in parts(expression, ";", "antenna"):
        negated = part.startswith("!")
        pairs = _pairs(part.removeprefix("!").strip(), expression, antennas)
        if negated:
            pairs = ~pairs
        if wanted is None:
            wanted = pairs
        else:
            wanted = wanted & pairs if negated else wanted | pairs
    assert wanted is not None  # parts() gives one part at least
    return wanted


def _pairs(part: str, expression: str, antennas: Sequence[Antenna]) -> NDArray[np.bool_]:
    size = len(antennas)
    if (length := _lengths(part, antennas)) is not None:
        return length
    match = re.fullmatch(r"([^&]+)(&{0,3})([^&]*)", part)
    if match is None or (match[3].strip() and not match[2]) or (match[2] == "&&&" and match[3].strip()):
        raise InvalidSpec(
            f"antenna={expression!r} cannot be read at {part!r}; write for example 'ea01,ea02', "
            "'ea01&ea02', '*&', "
            "'*&&', '*&&&' or '!ea01'."
        )
    first = np.zeros(size, dtype=bool)
    first[antenna_ids(match[1], antennas)] = True
    second = first if match[2] else np.ones(size, dtype=bool)
    if match[3].strip():
        second = np.zeros(size, dtype=bool)
        second[antenna_ids(match[3], antennas)] = True
    same = np.eye(size, dtype=bool)
    if match[2] == "&&&":
        return same & first
    pairs: NDArray[np.bool_] = np.outer(first, second) | np.outer(second, first)
    return pairs if match[2] == "&&" else pairs & ~same


def antenna_ids(expression: str, antennas: Sequence[Antenna]) -> NDArray[np.int64]:
    """Read a list of antennas, such as ``"ea01,W08,3~5"``; a number is a name first and an id after.

    Returns
    -------
    ndarray
        Their ids, sorted.

    Raises
    ------
    InvalidSpec
        If a part fits no antenna; it lists what there is.
    """
    names = [antenna.name for antenna in antennas]
    found: set[int] = set()
    for part in parts(expression, ",", "antenna"):
        here = _named(part, antennas)
        if not here:
            have = listed(f"{a.id} {a.name!r}" for a in antennas if a.name)
            raise InvalidSpec(
                f"antenna={expression!r}: there is no antenna {part!r}{near_match(part, names)} There are "
                f"{have}."
            )
        found.update(here)
    return np.array(sorted(found), dtype=np.int64)


def _named(part: str, antennas: Sequence[Antenna]) -> list[int]:
    names = [antenna.name for antenna in antennas]
    stations = [antenna.station for antenna in antennas]
    if match := re.fullmatch(r"(\d+)(?:\s*~\s*(\d+))?", part):
        numbers = range(int(match[1]), min(int(match[2] or match[1]), 10**5) + 1)
        return [i for number in numbers for i in _numbered(number, names)]
    name, at, station = part.partition("@")
    if at:
        of_station = matching_names(station, stations)
        return [i for i in of_station if not name or i in matching_names(name, names)]
    if part == "*":
        return list(range(len(antennas)))
    return sorted({*matching_names(part, names), *matching_names(part, stations)})


def _numbered(number: int, names: Sequence[str]) -> list[int]:
    named = [i for i, name in enumerate(names) if name == str(number)]
    return named or ([number] if number < len(names) else [])


def _lengths(part: str, antennas: Sequence[Antenna]) -> NDArray[np.bool_] | None:
    positions = np.array([antenna.position for antenna in antennas]).reshape(-1, 3)
    lengths = np.linalg.norm(positions[:, np.newaxis] - positions[np.newaxis], axis=-1)
    if match := re.fullmatch(rf"([<>])\s*({_NUMBER})\s*(m|km)?", part):
        bound = float(match[2]) * _LENGTH[match[3] or ""]
        return np.asarray(lengths > bound if match[1] == ">" else lengths < bound)
    if match := re.fullmatch(rf"({_NUMBER})\s*~\s*({_NUMBER})\s*(m|km)", part):
        low, high = (float(match[k]) * _LENGTH[match[3]] for k in (1, 2))
        return np.asarray((lengths >= low) & (lengths <= high))
    return None
