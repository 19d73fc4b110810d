"""Calibration tables in the format that CASA writes and reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.staging import check_output
from parallactic.measurementset.tables import is_table, opened, read_columns
from parallactic.spec import near_match

__all__ = ["CalTable", "Solutions", "check_caltable_output", "read_caltable"]


@dataclass(frozen=True)
class Solutions:
    """The solutions of one spectral window, one slot after another in the order of time.

    Attributes
    ----------
    spw
        Its id.
    frequencies, widths
        Of the solutions' channels in Hz, float64 (nchan,).
    times, intervals
        Weighted mean time (s, MJD in UTC) and length of each slot in seconds, float64 (nslot,).
    fields, scans, observations
        Ids, int32 (nslot,); −1 where several were combined.
    refants
        The reference antenna, int32 (nslot,); −1 for none.
    values
        complex128 gains, or float64 delays in ns; (nslot, nant, nchan, nreceptor).
    errors, snr, weights
        float32, same shape.
    flags
        bool, same shape: there is no good solution.
    """

    spw: int
    frequencies: NDArray[np.float64]
    widths: NDArray[np.float64]
    times: NDArray[np.float64]
    intervals: NDArray[np.float64]
    fields: NDArray[np.int32]
    scans: NDArray[np.int32]
    observations: NDArray[np.int32]
    refants: NDArray[np.int32]
    values: NDArray[Any]
    errors: NDArray[np.float32]
    snr: NDArray[np.float32]
    weights: NDArray[np.float32]
    flags: NDArray[np.bool_]

    def take(self, slots: NDArray[Any]) -> Solutions:
        """Return the slots that an index or a mask names."""
        per_slot = {
            item.name: getattr(self, item.name)[slots]
            for item in fields(self)
            if item.name not in ("spw", "frequencies", "widths")
        }
        return replace(self, **per_slot)


@dataclass(frozen=True)
class CalTable:
    """A calibration table.

    Attributes
    ----------
    kind
        CASA's name of the Jones matrix, such as ``"G Jones"``.
    ms_name
        The MeasurementSet it was solved from, as written.
    antenna_names, field_names
        Of its sub-tables; an antenna's name may be empty.
    spws
        The frequencies in Hz of each window of its SPECTRAL_WINDOW table.
    solutions
        One entry for each window that has solutions, in the order of the ids.
    """

    kind: str
    ms_name: str
    antenna_names: tuple[str, ...]
    field_names: tuple[str, ...]
    spws: tuple[NDArray[np.float64], ...]
    solutions: tuple[Solutions, ...]

    def of_spw(self, spw: int) -> Solutions | None:
        """Return the solutions of window `spw`, None if there are none."""
        return next((entry for entry in self.solutions if entry.spw == spw), None)

    @property
    def flagged(self) -> tuple[int, int]:
        """How many solutions are flagged, and how many there are, antennas without any data left out."""
        flagged = total = 0
        for entry in self.solutions:
            # CASA gives a row to absent antennas too; their error is 0.
            there = (entry.errors > 0).any(axis=(0, 2, 3)) | ~entry.flags.all(axis=(0, 2, 3))
            flagged += int(entry.flags[:, there].sum())
            total += int(entry.flags[:, there].size)
        return flagged, total


def check_caltable_output(path: str | os.PathLike[str], *, append: bool) -> None:
    """Check before a solve that its table can be written.

    Raises
    ------
    InvalidSpec
        If it exists and is not to be appended to, or is no calibration table, or cannot be made.
    """
    place = Path(path)
    if not append or not place.exists():
        if place.exists():
            raise InvalidSpec(
                f"caltable={os.fspath(path)!r} exists already; remove it, choose another name, or give "
                "append=True."
            )
        check_output(path, "caltable")
        return
    _check_kind(place)
    if not os.access(place.absolute().parent, os.W_OK):
        raise InvalidSpec(f"caltable={os.fspath(path)!r}: its folder is not writable by this user.")


def _check_kind(place: Path) -> str:
    if not place.exists():
        siblings = [p.name for p in place.parent.iterdir() if p.is_dir()] if place.parent.is_dir() else []
        raise InvalidSpec(f"there is no calibration table {place}{near_match(place.name, siblings)}")
    if not is_table(place):
        raise InvalidSpec(f"{place} is not a calibration table: it is not a casacore table.")
    with opened(place) as handle:
        info, columns = handle.info(), handle.colnames()
    if info.get("type") != "Calibration" or "TIME" not in columns:
        raise InvalidSpec(
            f"{place} is a casacore table but not a calibration table; its type is {info.get('type', '')!r}."
        )
    if not {"CPARAM", "FPARAM"} & set(columns):
        raise InvalidSpec(f"{place} is a calibration table of the old format, before CASA 4; solve again.")
    return str(info.get("subType", ""))


def read_caltable(path: str | os.PathLike[str]) -> CalTable:
    """Read a calibration table of ours or of CASA's.

    Rows of one window, time, field, scan and observation make up one slot. An antenna without a row in it is
    flagged.

    Raises
    ------
    InvalidSpec
        If there is none at `path`.
    """
    place = Path(os.fspath(path)).expanduser().absolute()
    kind = _check_kind(place)
    with opened(place) as handle:
        ms_name = str(handle.getkeyword("MSName")) if "MSName" in handle.keywordnames() else ""
        columns = handle.colnames()
    value = "CPARAM" if "CPARAM" in columns else "FPARAM"
    names = (
        "TIME", "INTERVAL", "FIELD_ID", "SPECTRAL_WINDOW_ID", "ANTENNA1", "ANTENNA2", "SCAN_NUMBER",
        "OBSERVATION_ID",
    )  # fmt: skip
    rows = read_columns(place, *names)
    antennas = tuple(read_columns(place / "ANTENNA", "NAME")["NAME"])
    field_names = tuple(read_columns(place / "FIELD", "NAME")["NAME"])
    spws = tuple(
        np.asarray(cell, dtype=np.float64) for cell in _cells(place / "SPECTRAL_WINDOW", "CHAN_FREQ")
    )
    widths = tuple(
        np.asarray(cell, dtype=np.float64) for cell in _cells(place / "SPECTRAL_WINDOW", "CHAN_WIDTH")
    )
    if not len(rows["TIME"]):
        return CalTable(kind, ms_name, antennas, field_names, spws, ())
    solutions = []
    for spw in np.unique(rows["SPECTRAL_WINDOW_ID"]):
        mine = np.flatnonzero(rows["SPECTRAL_WINDOW_ID"] == spw)
        arrays = _values(place, value, mine)
        solutions.append(
            _slots(int(spw), spws[spw], widths[spw], {n: rows[n][mine] for n in names}, arrays, len(antennas))
        )
    return CalTable(kind, ms_name, antennas, field_names, spws, tuple(solutions))


def _cells(path: Path, column: str) -> Iterable[Any]:
    values = read_columns(path, column)[column]
    return values if values is not None else ()


def _values(place: Path, value: str, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Read the arrays of rows that agree in shape; a table whose WEIGHT is not defined has weight 1."""
    with opened(place) as handle:
        picked = handle.selectrows(rows)
        arrays = {"values": np.asarray(picked.getcol(value))}
        shape = arrays["values"].shape
        for name, column in (("errors", "PARAMERR"), ("snr", "SNR"), ("weights", "WEIGHT")):
            there = column in picked.colnames() and picked.iscelldefined(column, 0)
            arrays[name] = picked.getcol(column) if there else np.ones(shape, dtype=np.float32)
        arrays["flags"] = np.asarray(picked.getcol("FLAG"), dtype=bool)
    kind = np.complex128 if np.iscomplexobj(arrays["values"]) else np.float64
    arrays["values"] = arrays["values"].astype(kind)
    return arrays


def _slots(
    spw: int,
    frequencies: NDArray[np.float64],
    widths: NDArray[np.float64],
    rows: dict[str, NDArray[Any]],
    arrays: dict[str, NDArray[Any]],
    nant: int,
) -> Solutions:
    keys = np.stack([rows[name] for name in ("TIME", "FIELD_ID", "SCAN_NUMBER", "OBSERVATION_ID")], axis=1)
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    filled: dict[str, NDArray[Any]] = {}
    empty = {"values": 1.0 if np.iscomplexobj(arrays["values"]) else 0.0, "flags": True}
    for name, values in arrays.items():
        cube = np.full((len(first), nant, *values.shape[1:]), empty.get(name, 0), dtype=values.dtype)
        cube[which, rows["ANTENNA1"]] = values
        filled[name] = cube
    refants = np.full(len(first), -1, dtype=np.int32)
    # CASA writes -1 for antennas that had no data; the reference of the slot is that of the others.
    for slot, antenna in zip(which, rows["ANTENNA2"], strict=True):
        refants[slot] = max(refants[slot], antenna)
    return Solutions(
        spw=spw,
        frequencies=frequencies,
        widths=widths,
        times=rows["TIME"][first].astype(np.float64),
        intervals=rows["INTERVAL"][first].astype(np.float64),
        fields=rows["FIELD_ID"][first].astype(np.int32),
        scans=rows["SCAN_NUMBER"][first].astype(np.int32),
        observations=rows["OBSERVATION_ID"][first].astype(np.int32),
        refants=refants,
        **filled,
    )
