"""CASA's lists of ids, names and channels, read against what a set holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.metadata import Polarization, SpectralWindow, State
from parallactic.spec import near_match

__all__ = [
    "channels",
    "correlations",
    "ids",
    "ids_or_names",
    "intents",
    "matching_names",
    "parts",
]

_FREQUENCY = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "thz": 1e12}
_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"


def parts(expression: str, separator: str, name: str) -> list[str]:
    """Cut `expression` at `separator`, but not inside quotes or a /regular expression/.

    Raises
    ------
    InvalidSpec
        If a part is empty.
    """
    pieces = [""]
    closing = ""
    for letter in expression:
        if closing:
            closing = "" if letter == closing else closing
        elif letter in "\"'" or (letter == "/" and not pieces[-1].strip()):
            closing = letter
        elif letter == separator:
            pieces.append("")
            continue
        pieces[-1] += letter
    cut = [piece.strip() for piece in pieces]
    if not all(cut):
        raise InvalidSpec(f"{name}={expression!r} has an empty part; remove the {separator!r} too many.")
    return cut


def ids(expression: str, known: Iterable[int], name: str) -> NDArray[np.int64]:
    """Read a list of numbers, such as ``"1,3~5,>7"``; ``&`` asks for both sides.

    Parameters
    ----------
    expression
        CASA's syntax for scan and observation.
    known
        The numbers that the data hold.
    name
        What they are called.

    Returns
    -------
    ndarray
        Those of `known` that were asked for, sorted.

    Raises
    ------
    InvalidSpec
        If the expression cannot be read, or a part of it fits nothing.
    """
    there = np.unique(np.fromiter(known, dtype=np.int64))
    wanted = np.zeros(len(there), dtype=bool)
    for part in parts(expression, ",", name):
        chosen = np.ones(len(there), dtype=bool)
        for condition in parts(part, "&", name):
            chosen &= _numbers(condition, there, expression, name)
        if not chosen.any():
            raise InvalidSpec(f"{name}={expression!r}: there is no {name} {part}; there are {listed(there)}.")
        wanted |= chosen
    return there[wanted]


def _numbers(part: str, there: NDArray[np.int64], expression: str, name: str) -> NDArray[np.bool_]:
    if part == "*":
        return np.ones(len(there), dtype=bool)
    chosen = number_range(part)
    if chosen is None:
        raise InvalidSpec(f"{name}={expression!r} cannot be read at {part!r}; write for example '1,3~5,>7'.")
    low, high = chosen
    if low > high:
        raise InvalidSpec(f"{name}={expression!r}: the range {part} runs backwards.")
    return np.asarray((there >= low) & (there <= high))


def number_range(part: str) -> tuple[float, float] | None:
    """Read ``3``, ``3~5``, ``>3``, ``<=5`` as bounds that belong to the range; None if else."""
    if match := re.fullmatch(r"(\d+)(?:\s*~\s*(\d+))?", part):
        return int(match[1]), int(match[2] or match[1])
    if match := re.fullmatch(r"([<>])(=?)\s*(\d+)", part):
        bound = int(match[3])
        if match[1] == ">":
            return bound + (not match[2]), np.inf
        return -np.inf, bound - (not match[2])
    return None


def listed(values: Iterable[object]) -> str:
    """Write what there is for a message, cut after twenty."""
    texts = [str(value) for value in values]
    return (
        ", ".join(texts[:20]) + (f" … ({len(texts)} in all)" if len(texts) > 20 else "") if texts else "none"
    )


def matching_names(part: str, names: Sequence[str]) -> list[int]:
    """Return the ids whose name is `part`: exact, with ``*`` and ``?``, quoted, or a /regular expression/."""
    if len(part) > 1 and part[0] == part[-1] == "/":
        try:
            pattern = re.compile(part[1:-1])
        except re.error as error:
            raise InvalidSpec(f"{part} is not a regular expression: {error}.") from error
        return [i for i, name in enumerate(names) if pattern.fullmatch(name)]
    if len(part) > 1 and part[0] == part[-1] and part[0] in "\"'":
        return [i for i, name in enumerate(names) if name == part[1:-1]]
    exact = [i for i, name in enumerate(names) if name == part]
    if exact or not set(part) & {"*", "?", "["}:
        return exact
    return [i for i, name in enumerate(names) if fnmatchcase(name, part)]


def ids_or_names(expression: str, names: Sequence[str], name: str) -> NDArray[np.int64]:
    """Read a list of ids, ranges and names, such as ``"0,2~3,3C*"``: CASA's syntax for field.

    Returns
    -------
    ndarray
        The ids asked for, sorted.

    Raises
    ------
    InvalidSpec
        If a part fits nothing; it lists what there is.
    """
    found: set[int] = set()
    for part in parts(expression, ",", name):
        chosen = number_range(part)
        if chosen is None:
            here = matching_names(part, names)
        else:
            here = [i for i in range(len(names)) if chosen[0] <= i <= chosen[1]]
        if not here:
            have = listed(f"{i} {label!r}" for i, label in enumerate(names))
            raise InvalidSpec(
                f"{name}={expression!r}: there is no {name} {part!r}{near_match(part, names)} There are "
                f"{have}."
            )
        found.update(here)
    return np.array(sorted(found), dtype=np.int64)


def intents(expression: str, states: Sequence[State]) -> NDArray[np.int64]:
    """Read scan intents, such as ``"*TARGET*,CALIBRATE_FLUX#*"``; ``&`` asks for both sides.

    A name is compared with each intent of a state and with its whole OBS_MODE; a number is a STATE_ID.

    Returns
    -------
    ndarray
        Ids of the states asked for, sorted.
    """
    found: set[int] = set()
    for part in parts(expression, ",", "intent"):
        here = set(range(len(states)))
        for condition in parts(part, "&", "intent"):
            here &= _one_intent(condition, states)
        if not here:
            known = sorted({intent for state in states for intent in state.intents})
            have = f"There are {listed(known)}." if known else "This set has no intents at all."
            raise InvalidSpec(f"intent={expression!r}: no state has {part!r}{near_match(part, known)} {have}")
        found |= here
    return np.array(sorted(found), dtype=np.int64)


def _one_intent(condition: str, states: Sequence[State]) -> set[int]:
    bounds = number_range(condition)
    if bounds is not None:
        return {i for i in range(len(states)) if bounds[0] <= i <= bounds[1]}
    return {
        i for i, state in enumerate(states) if matching_names(condition, [*state.intents, state.obs_mode])
    }


def correlations(expression: str, polarizations: Sequence[Polarization]) -> dict[int, NDArray[np.int64]]:
    """Read a list of correlations, such as ``"RR,LL"``.

    Returns
    -------
    dict
        Per polarization id that has at least one of them, their places, sorted.
    """
    wanted = [part.upper() for part in parts(expression, ",", "correlation")]
    known = sorted({name for polarization in polarizations for name in polarization.correlations})
    for part in wanted:
        if part not in known:
            raise InvalidSpec(
                f"correlation={expression!r}: there is no {part!r}{near_match(part, known)} "
                f"There are {listed(known)}."
            )
    places = {
        p.id: np.array([i for i, name in enumerate(p.correlations) if name in wanted], dtype=np.int64)
        for p in polarizations
    }
    return {number: chosen for number, chosen in places.items() if len(chosen)}


def channels(expression: str, spws: Sequence[SpectralWindow]) -> dict[int, NDArray[np.int64]]:
    """Read spectral windows and channels, such as ``"0:5~60;70,1,2~3:10~50^2,*:1.40~1.41GHz"``.

    A window is an id, a range, ``<`` or ``>``, a name (with ``*`` and ``?``), or a range of frequency, which
    takes the windows whose middle lies in it. Channels of a frequency range are those whose centre lies in
    it.

    Returns
    -------
    dict
        Per spectral window asked for, its channels, sorted, each once.

    Raises
    ------
    InvalidSpec
        If a part cannot be read or fits nothing.
    """
    found: dict[int, NDArray[np.int64]] = {}
    for part in parts(expression, ",", "spw"):
        window, colon, ranges = (piece.strip() for piece in part.partition(":"))
        for number in _windows(window, expression, spws):
            nchan = spws[number].nchan
            chosen = np.arange(nchan) if not colon else _channels(ranges, expression, spws[number])
            found[number] = np.union1d(found.get(number, np.zeros(0, dtype=np.int64)), chosen)
    return dict(sorted(found.items()))


def _windows(part: str, expression: str, spws: Sequence[SpectralWindow]) -> list[int]:
    bounds = number_range(part)
    if bounds is not None:
        here = [s.id for s in spws if bounds[0] <= s.id <= bounds[1]]
        if "~" in part and bounds[1] >= len(spws):
            here = []
    elif (test := _frequency_test(part)) is not None:
        here = [s.id for s in spws if test(s)]
    elif part == "*":
        here = [s.id for s in spws]
    else:
        here = matching_names(part, [s.name for s in spws])
    if not here:
        names = [s.name for s in spws]
        have = listed(f"{s.id} {s.name!r} ({s.nchan} channels at {s.reference / 1e9:.6g} GHz)" for s in spws)
        raise InvalidSpec(
            f"spw={expression!r}: there is no spectral window {part!r}{near_match(part, names)} There are "
            f"{have}."
        )
    return here


def _frequency_test(part: str) -> Callable[[SpectralWindow], bool] | None:
    if (bounds := _frequencies(part)) is not None:
        low, high = bounds
        return lambda spw: bool(low <= spw.frequencies.mean() <= high)
    if match := re.fullmatch(rf"([<>])\s*({_NUMBER})\s*([kMGT]?Hz)", part, re.IGNORECASE):
        bound = float(match[2]) * _FREQUENCY[match[3].lower()]
        if match[1] == ">":
            return lambda spw: spw.reference > bound
        return lambda spw: spw.reference < bound
    return None


def _frequencies(part: str) -> tuple[float, float] | None:
    unit = r"\s*([kMGT]?Hz)"
    match = re.fullmatch(rf"({_NUMBER})(?:{unit})?\s*~\s*({_NUMBER}){unit}", part, re.IGNORECASE)
    if match is None:
        return None
    return (
        float(match[1]) * _FREQUENCY[(match[2] or match[4]).lower()],
        float(match[3]) * _FREQUENCY[match[4].lower()],
    )


def _channels(ranges: str, expression: str, spw: SpectralWindow) -> NDArray[np.int64]:
    chosen: list[NDArray[np.int64]] = []
    for part in parts(ranges, ";", "spw"):
        if match := re.fullmatch(r"(\d+)(?:\s*~\s*(\d+)(?:\s*\^\s*(\d+))?)?", part):
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            if first > last or step < 1:
                raise InvalidSpec(f"spw={expression!r}: the channels {part} run backwards or stand still.")
            here = np.arange(first, min(last, spw.nchan - 1) + 1, step)
        elif (bounds := _frequencies(part)) is not None:
            here = np.flatnonzero((spw.frequencies >= bounds[0]) & (spw.frequencies <= bounds[1]))
        else:
            raise InvalidSpec(
                f"spw={expression!r} cannot be read at {part!r}; write channels as 5~60, 5~60^2, 7 or "
                "1.40~1.41GHz."
            )
        if not len(here):
            raise InvalidSpec(
                f"spw={expression!r}: spectral window {spw.id} has no channels {part}; it has {spw.nchan} "
                f"channels from {spw.frequencies.min() / 1e9:.9g} to {spw.frequencies.max() / 1e9:.9g} GHz."
            )
        chosen.append(here)
    return np.unique(np.concatenate(chosen))
