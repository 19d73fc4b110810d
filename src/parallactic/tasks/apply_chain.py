"""A chain of calibration tables as it bears on the rows of a set: used to apply and to pre-apply."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.kernels.solving import correct, interpolate_frequency, interpolate_time
from parallactic.kernels.solving.interpolation import Interpolation
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.caltable import CalTable, Solutions, read_caltable
from parallactic.measurementset.expressions import ids_or_names
from parallactic.measurementset.tables import is_table
from parallactic.spec import near_match

__all__ = ["Link", "correct_rows", "make_chain", "missing_windows"]

_KINDS = ("G Jones", "B Jones", "T Jones", "K Jones")
_IN_TIME = {"": "linear", "linear": "linear", "nearest": "nearest"}
_IN_FREQUENCY = {
    "": ("linear", False),
    "linear": ("linear", False),
    "nearest": ("nearest", False),
    "linearflag": ("linear", True),
    "nearestflag": ("nearest", True),
}
_RECEPTORS = {"R": 0, "L": 1, "X": 0, "Y": 1}


@dataclass(frozen=True)
class Link:
    """One table of the chain.

    Attributes
    ----------
    path
        The table.
    fields
        For each field of the set, the fields whose solutions are used for it.
    in_time, in_frequency
        How solutions are interpolated.
    keep_flags
        Whether flagged channels of solutions flag the data about them.
    spwmap
        For each window of the set, the window whose solutions are used for it.
    """

    path: str
    fields: tuple[tuple[int, ...], ...]
    in_time: Interpolation
    in_frequency: Interpolation
    keep_flags: bool
    spwmap: tuple[int, ...]

    def solutions(self, spw: int) -> Solutions | None:
        """Return the solutions for window `spw` of the set, None if there are none."""
        return _table(self.path).of_spw(self.spwmap[spw])


def _table(path: str) -> CalTable:
    stamp = (Path(path) / "table.dat").stat().st_mtime_ns if is_table(path) else 0
    return _cached(path, stamp)


@lru_cache(maxsize=8)
def _cached(path: str, _stamp: int) -> CalTable:
    return read_caltable(path)


def make_chain(
    ms: MeasurementSet,
    gaintable: str | Sequence[str],
    gainfield: str | Sequence[str] = (),
    interp: str | Sequence[str] = (),
    spwmap: Sequence[int] | Sequence[Sequence[int]] = (),
) -> tuple[Link, ...]:
    """Check the tables and how they are to be used.

    Parameters
    ----------
    ms
        The set that they will correct.
    gaintable
        One or more tables, used one after another.
    gainfield
        For each table the fields whose solutions are used: names or ids, ``"nearest"`` on the sky, or empty
        for all.
    interp
        For each table ``"<in time>,<along frequency>"``: ``"linear"`` or ``"nearest"``, and ``"linear"``,
        ``"nearest"``, ``"linearflag"`` or ``"nearestflag"``.
    spwmap
        For each table a list with the window to take for each window of the set.

    Raises
    ------
    InvalidSpec
        If a table is missing, not a calibration table, of another array or of a kind that is not there yet,
        or what is said of it cannot be.
    """
    tables = _listed(gaintable)
    fields = _per_table(_listed(gainfield), tables, "gainfield", "")
    ways = _per_table(_listed(interp), tables, "interp", "")
    flat = bool(spwmap) and all(isinstance(entry, int) for entry in spwmap)
    maps = _per_table([spwmap] if flat else spwmap, tables, "spwmap", ())
    return tuple(_link(ms, *entry) for entry in zip(tables, fields, ways, maps, strict=True))


def _listed(value: str | Sequence[str]) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return list(value) if any(value) else []


def _per_table(values: Sequence[Any], tables: Sequence[str], name: str, default: Any) -> list[Any]:
    if len(values) > len(tables):
        raise InvalidSpec(f"{name} has {len(values)} entries for {len(tables)} gaintable(s).")
    return [*values, *[default] * (len(tables) - len(values))]


def _link(ms: MeasurementSet, path: str, field: str, way: str, windows: Sequence[int]) -> Link:
    place = str(Path(os.fspath(path)).expanduser().absolute())
    if not Path(place).exists():
        folder = Path(place).parent
        siblings = [p.name for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        raise InvalidSpec(f"gaintable={path!r} does not exist{near_match(Path(place).name, siblings)}")
    table = _table(place)
    if table.kind not in _KINDS:
        raise InvalidSpec(
            f"gaintable={path!r} holds {table.kind!r}, which is not there yet; known are {', '.join(_KINDS)}."
        )
    if not table.solutions:
        raise InvalidSpec(f"gaintable={path!r} holds no solution at all; solve again.")
    names = tuple(antenna.name for antenna in ms.antennas)
    if len(table.antenna_names) != len(names):
        raise InvalidSpec(
            f"gaintable={path!r} is of an array of {len(table.antenna_names)} antennas, {ms.path} has "
            f"{len(names)}; it was made from another set."
        )
    if table.antenna_names != names:
        differ = next((a, b) for a, b in zip(table.antenna_names, names, strict=True) if a != b)
        raise InvalidSpec(
            f"gaintable={path!r} was made from another array: it has antenna {differ[0]!r} where {ms.path} "
            f"has {differ[1]!r}."
        )
    in_time, in_frequency, keep = _ways(way)
    return Link(
        place,
        _fields(ms, table, path, field),
        in_time,
        in_frequency,
        keep,
        _windows(ms, table, path, windows),
    )


def _ways(way: str) -> tuple[Interpolation, Interpolation, bool]:
    time, _, frequency = (part.strip() for part in way.partition(","))
    if time not in _IN_TIME:
        raise InvalidSpec(
            f"interp={way!r}: the interpolation {time!r} in time is not there{near_match(time, _IN_TIME)} "
            "There are 'linear' and 'nearest'."
        )
    if frequency not in _IN_FREQUENCY:
        raise InvalidSpec(
            f"interp={way!r}: the interpolation {frequency!r} along frequency is not there"
            f"{near_match(frequency, _IN_FREQUENCY)} There are 'linear', 'nearest', 'linearflag' and "
            "'nearestflag'."
        )
    kind, keep = _IN_FREQUENCY[frequency]
    known: dict[str, Interpolation] = {"linear": "linear", "nearest": "nearest"}
    return known[_IN_TIME[time]], known[kind], keep


def _fields(ms: MeasurementSet, table: CalTable, path: str, expression: str) -> tuple[tuple[int, ...], ...]:
    have = sorted({int(f) for entry in table.solutions for f in entry.fields})
    if expression == "nearest":
        return tuple((_nearest(ms, field.id, have),) for field in ms.fields)
    if not expression:
        return tuple(tuple(have) for _ in ms.fields)
    asked = {int(f) for f in ids_or_names(expression, table.field_names, "gainfield")}
    chosen = tuple(f for f in have if f in asked)
    if not chosen:
        there = ", ".join(table.field_names[f] if f < len(table.field_names) else str(f) for f in have)
        raise InvalidSpec(f"gainfield={expression!r}: {path} has no solution of it; it has some of {there}.")
    return tuple(chosen for _ in ms.fields)


def _nearest(ms: MeasurementSet, field: int, have: Sequence[int]) -> int:
    def separation(other: int) -> float:
        (ra, dec), (ra2, dec2) = ms.fields[field].direction, ms.fields[other].direction
        half = np.sin((dec - dec2) / 2) ** 2 + np.cos(dec) * np.cos(dec2) * np.sin((ra - ra2) / 2) ** 2
        return float(half)

    candidates = [other for other in have if 0 <= other < len(ms.fields)]
    return min(candidates, key=separation) if candidates else have[0]


def _windows(ms: MeasurementSet, table: CalTable, path: str, windows: Sequence[int]) -> tuple[int, ...]:
    chosen = list(range(len(ms.spws)))
    if len(windows) > len(chosen):
        raise InvalidSpec(
            f"spwmap={list(windows)} has more entries than the {len(chosen)} windows of {ms.path}."
        )
    for spw, other in enumerate(windows):
        if other == -1:
            continue
        if table.of_spw(other) is None:
            there = ", ".join(str(entry.spw) for entry in table.solutions)
            raise InvalidSpec(
                f"spwmap={list(windows)}: {path} has no solution of window {other}, only of {there}."
            )
        chosen[spw] = other
    return tuple(chosen)


def missing_windows(chain: Sequence[Link], spws: Sequence[int]) -> list[int]:
    """Return those of `spws` for which a table of the chain has no solution: they cannot be corrected."""
    return [spw for spw in spws if any(link.solutions(spw) is None for link in chain)]


def correct_rows(
    ms: MeasurementSet,
    chain: Sequence[Link],
    rows: NDArray[np.int64],
    data: NDArray[np.complex64],
    scales: NDArray[np.float64],
    calwt: Sequence[bool],
) -> NDArray[np.bool_]:
    """Correct rows of one data description by all tables, in place.

    Parameters
    ----------
    ms, chain
        The set and its tables.
    rows
        Positions in the index, all of one data description whose window no table lacks.
    data
        complex64 (nrow, nchan, ncorr), divided by the gains in place.
    scales
        float64 (nrow, ncorr), multiplied in place by what the weights gain: |g_p g_q|², for a bandpass
        the mean over its good channels.
    calwt
        Whether each table scales the weights.

    Returns
    -------
    ndarray
        bool like `data`: a solution was flagged and counted as 1.
    """
    bad = np.zeros(data.shape, dtype=np.bool_)
    if not len(rows):
        return bad
    ddid = int(ms.index.ddid[rows[0]])
    spw = ms.data_descriptions[ddid].spw
    products = np.array(
        [[_RECEPTORS[hand] for hand in name] for name in ms.correlations(ddid)], dtype=np.int64
    )
    antenna1, antenna2 = ms.index.antenna1[rows], ms.index.antenna2[rows]
    frequencies = ms.spws[spw].frequencies
    for link, weighs in zip(chain, calwt, strict=True):
        solutions = link.solutions(spw)
        if solutions is None:
            raise InvalidSpec(f"{link.path} has no solution for window {spw}.")
        entries, gains, flags, powers = _evaluate(link, solutions, ms, rows, frequencies)
        correct(data, bad, gains, flags, entries, antenna1, antenna2, products)
        if weighs:
            one = powers[entries[:, np.newaxis], antenna1[:, np.newaxis], products[:, 0]]
            other = powers[entries[:, np.newaxis], antenna2[:, np.newaxis], products[:, 1]]
            scales *= one * other
    return bad


def _nothing(solutions: Solutions) -> Solutions:
    """Return one flagged slot: what a window has of fields that were not solved in it."""
    slot = solutions.take(np.zeros(1, dtype=np.int64))
    return replace(slot, flags=np.ones_like(slot.flags))


def _evaluate(
    link: Link,
    solutions: Solutions,
    ms: MeasurementSet,
    rows: NDArray[np.int64],
    frequencies: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.complex128], NDArray[np.bool_], NDArray[np.float64]]:
    """Return each row's entry, and gains, flags (nentry, nant, nchan or 1, 2) and powers of the entries."""
    times, fields = ms.index.time[rows], ms.index.field[rows]
    entries = np.zeros(len(rows), dtype=np.int64)
    parts = []
    count = 0
    groups = sorted({link.fields[f] for f in np.unique(fields)})
    for group in groups:
        mine = np.flatnonzero(np.isin(fields, [f for f in np.unique(fields) if link.fields[f] == group]))
        chosen = solutions.take(np.isin(solutions.fields, group))
        if not len(chosen.times):
            chosen = _nothing(solutions)
        wanted, inverse = np.unique(times[mine], return_inverse=True)
        # Of two solutions of one moment the later row counts.
        known, first = np.unique(chosen.times[::-1], return_index=True)
        chosen = chosen.take(len(chosen.times) - 1 - first)
        if len(known) == 1:
            wanted, inverse = known, np.zeros(len(mine), dtype=np.int64)
        values, flags = interpolate_time(known, chosen.values, chosen.flags, wanted, link.in_time)
        parts.append((values, flags))
        entries[mine] = count + inverse.reshape(-1)
        count += len(wanted)
    values = np.concatenate([part[0] for part in parts])
    flags = np.concatenate([part[1] for part in parts])
    if values.shape[3] == 1:
        values, flags = np.repeat(values, 2, axis=3), np.repeat(flags, 2, axis=3)
    if not np.iscomplexobj(values):
        gains, flags = _turned(values, flags, frequencies - solutions.frequencies[0])
        return entries, gains, flags, np.ones(values[:, :, 0].shape)
    good = np.maximum((~flags).sum(axis=2), 1)
    powers = np.where(flags, 0.0, np.abs(values) ** 2).sum(axis=2) / good
    powers[flags.all(axis=2)] = 1.0
    if values.shape[2] > 1:
        values, flags = _along_frequency(link, solutions, values, flags, frequencies)
    return entries, values, flags, powers


def _turned(
    delays: NDArray[np.float64], flags: NDArray[np.bool_], offsets: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Turn delays in ns into gains at `offsets` (Hz) from the mean frequency of the window."""
    gains = np.exp(2j * np.pi * delays * 1e-9 * offsets[:, np.newaxis])
    return gains, np.broadcast_to(flags, gains.shape)


def _along_frequency(
    link: Link,
    solutions: Solutions,
    values: NDArray[Any],
    flags: NDArray[np.bool_],
    frequencies: NDArray[np.float64],
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    nentry, nant, nknown, nreceptor = values.shape
    flat = np.moveaxis(values, 2, 3).reshape(-1, nknown)
    flat_flags = np.moveaxis(flags, 2, 3).reshape(-1, nknown)
    values, flags = interpolate_frequency(
        solutions.frequencies, flat, flat_flags, frequencies, link.in_frequency, keep_flags=link.keep_flags
    )
    shape = (nentry, nant, nreceptor, len(frequencies))
    return (
        np.ascontiguousarray(np.moveaxis(values.reshape(shape), 3, 2)),
        np.ascontiguousarray(np.moveaxis(flags.reshape(shape), 3, 2)),
    )
