"""A valid MeasurementSet (version 2) from arrays, by casacore alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from casacore.tables import default_ms, makearrcoldesc, maketabdesc
from numpy.typing import ArrayLike, NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.metadata import Antenna, Field, SpectralWindow, State
from parallactic.measurementset.staging import staged
from parallactic.measurementset.subtables import SubTables, check_correlations, fill_subtables
from parallactic.measurementset.tables import building, ensure_room, file_error

__all__ = ["Rows", "create_ms", "tiled"]

_TILE_BYTES = 2**18


@dataclass(frozen=True)
class Rows:
    """Rows of one data description, to be appended to a new MeasurementSet.

    Attributes
    ----------
    ddid
        Their DATA_DESC_ID.
    time, antenna1, antenna2
        Shape (nrow,): mid-point in seconds (MJD, UTC) and antenna ids.
    uvw
        Metres, antenna 2 − antenna 1, shape (nrow, 3).
    data
        Visibilities, shape (nrow, nchan, ncorr); V = sum of S exp(+2πi(ul + vm + w(n−1))/λ).
    field, scan, state, observation
        Ids: one for all rows, or shape (nrow,).
    interval, exposure
        Seconds: one for all rows, or shape (nrow,). `exposure` is `interval` if not given.
    flag
        Shape of `data`; none flagged if not given. FLAG_ROW is all(flag).
    sigma
        Noise of one channel in Jy, shape (nrow, ncorr); 1 if not given.
    weight
        Shape (nrow, ncorr); 1/sigma² if not given, CASA's convention.
    weight_spectrum
        Shape of `data`, if the set is to have it.
    model, corrected
        Shape of `data`, if the set is to have them.
    """

    ddid: int
    time: ArrayLike
    antenna1: ArrayLike
    antenna2: ArrayLike
    uvw: NDArray[np.float64]
    data: NDArray[np.complexfloating[Any, Any]]
    interval: ArrayLike
    field: ArrayLike = 0
    scan: ArrayLike = 1
    state: ArrayLike = 0
    observation: ArrayLike = 0
    exposure: ArrayLike | None = None
    flag: NDArray[np.bool_] | None = None
    sigma: NDArray[np.floating[Any]] | None = None
    weight: NDArray[np.floating[Any]] | None = None
    weight_spectrum: NDArray[np.floating[Any]] | None = None
    model: NDArray[np.complexfloating[Any, Any]] | None = None
    corrected: NDArray[np.complexfloating[Any, Any]] | None = None


def create_ms(
    path: str | os.PathLike[str],
    *,
    antennas: Sequence[Antenna],
    fields: Sequence[Field],
    spws: Sequence[SpectralWindow],
    rows: Iterable[Rows],
    polarizations: Sequence[Sequence[str]] = (("RR", "RL", "LR", "LL"),),
    data_descriptions: Sequence[tuple[int, int]] | None = None,
    states: Sequence[State] = (),
    columns: Sequence[str] = (),
    telescope: str = "EVLA",
    observer: str = "",
    project: str = "",
    history: Sequence[str] = (),
) -> None:
    """Write a new MeasurementSet, whole or not at all.

    Parameters
    ----------
    path
        The set to make; must not exist.
    antennas, fields, spws, states
        The sub-tables; an id is the place in the sequence. `state=-1` in `rows` goes without a state.
    rows
        The main table in pieces, consumed one by one, so that a generator needs the memory of one piece only.
        CASA expects them in order of time.
    polarizations
        Names of the correlations of each POLARIZATION row, linear or circular.
    data_descriptions
        (spw, polarization) of each data description; if not given one per spw, with the first polarization.
    columns
        Optional columns: any of WEIGHT_SPECTRUM, MODEL_DATA, CORRECTED_DATA; just those given in `rows`.
    telescope, observer, project
        Of the one OBSERVATION. A telescope that casacore knows has its position there.
    history
        Messages for the HISTORY table.

    Raises
    ------
    InvalidSpec
        If `path` exists or cannot be written, or ids or shapes do not agree.
    ParallacticError
        If writing fails.
    """
    pairs = list(data_descriptions) if data_descriptions is not None else [(i, 0) for i in range(len(spws))]
    for names in polarizations:
        check_correlations(names)
    for spw, polarization in pairs:
        if not (0 <= spw < len(spws) and 0 <= polarization < len(polarizations)):
            raise InvalidSpec(f"data description ({spw}, {polarization}) names no spw or no polarization.")
    unknown = set(columns) - {"WEIGHT_SPECTRUM", "MODEL_DATA", "CORRECTED_DATA"}
    if unknown:
        raise InvalidSpec(f"create_ms does not make the columns {', '.join(sorted(unknown))}.")
    cell = max((spws[s].nchan, len(polarizations[p])) for s, p in pairs)
    with staged(path, "path") as partial:
        ensure_room(partial.parent, 2**22)
        try:
            default_ms(str(partial), *_description(("DATA", *columns), cell)).close()
        except RuntimeError as error:
            raise file_error(path, error) from error
        span = [np.inf, -np.inf]
        with building(partial) as handle:
            for piece in rows:
                spw, polarization = pairs[piece.ddid]
                shape = (spws[spw].nchan, len(polarizations[polarization]))
                _append(handle, piece, shape, columns)
                if len(np.atleast_1d(piece.time)):
                    span = [min(span[0], np.min(piece.time)), max(span[1], np.max(piece.time))]
        bounds = (float(span[0]), float(span[1])) if span[0] <= span[1] else (0.0, 0.0)
        tables = SubTables(
            antennas, fields, spws, polarizations, pairs, states, telescope, observer, project, bounds
        )
        fill_subtables(partial, tables, history)


def tiled(name: str, columns: Sequence[str], cell: tuple[int, ...], itemsize: int) -> dict[str, Any]:
    """Describe a tiled storage manager whose tiles of whole cells take about a quarter of a megabyte.

    Parameters
    ----------
    name
        Of the manager.
    columns
        What it holds.
    cell
        Shape of a cell in numpy's order.
    itemsize
        Bytes of one value.
    """
    per_row = max(1, int(np.prod(cell)) * itemsize)
    nrow = int(np.clip(_TILE_BYTES // per_row, 16, 4096))
    shape = [*reversed(cell), nrow]
    kind = "TiledColumnStMan" if columns == ("UVW",) else "TiledShapeStMan"
    return {"TYPE": kind, "NAME": name, "SPEC": {"DEFAULTTILESHAPE": shape}, "COLUMNS": list(columns)}


def _description(columns: Sequence[str], cell: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    described = []
    for column in columns:
        kind, zero = ("float", 0.0) if column == "WEIGHT_SPECTRUM" else ("complex", 0j)
        described.append(makearrcoldesc(column, zero, ndim=2, valuetype=kind))
    managers = [
        tiled(f"Tiled{column}", (column,), cell, 4 if "WEIGHT" in column else 8) for column in columns
    ]
    managers.append(tiled("TiledFlag", ("FLAG",), cell, 8))
    managers.append(tiled("TiledUVW", ("UVW",), (3,), 8))
    managers.append(tiled("TiledWeight", ("WEIGHT",), cell[1:], 4))
    managers.append(tiled("TiledSigma", ("SIGMA",), cell[1:], 4))
    return maketabdesc(described), {f"*{i}": {**manager, "SEQNR": i} for i, manager in enumerate(managers)}


def _append(handle: Any, piece: Rows, shape: tuple[int, int], columns: Sequence[str]) -> None:
    data = np.asarray(piece.data)
    if data.shape[1:] != shape:
        raise InvalidSpec(
            f"rows of data description {piece.ddid} have data of shape {data.shape[1:]}, not {shape}."
        )
    nrow = len(data)
    start = handle.nrows()
    handle.addrows(nrow)
    flag = np.zeros(data.shape, dtype=bool) if piece.flag is None else np.asarray(piece.flag, dtype=bool)
    sigma = (
        np.ones((nrow, shape[1]), np.float32) if piece.sigma is None else np.asarray(piece.sigma, np.float32)
    )
    weight = sigma**-2.0 if piece.weight is None else np.asarray(piece.weight)
    interval = _spread(piece.interval, nrow, np.float64)
    given: dict[str, NDArray[Any] | None] = {
        "WEIGHT_SPECTRUM": piece.weight_spectrum,
        "MODEL_DATA": piece.model,
        "CORRECTED_DATA": piece.corrected,
    }
    values: dict[str, NDArray[Any]] = {
        "TIME": _spread(piece.time, nrow, np.float64),
        "TIME_CENTROID": _spread(piece.time, nrow, np.float64),
        "INTERVAL": interval,
        "EXPOSURE": interval if piece.exposure is None else _spread(piece.exposure, nrow, np.float64),
        "ANTENNA1": _spread(piece.antenna1, nrow, np.int32),
        "ANTENNA2": _spread(piece.antenna2, nrow, np.int32),
        "DATA_DESC_ID": np.full(nrow, piece.ddid, dtype=np.int32),
        "FIELD_ID": _spread(piece.field, nrow, np.int32),
        "SCAN_NUMBER": _spread(piece.scan, nrow, np.int32),
        "STATE_ID": _spread(piece.state, nrow, np.int32),
        "OBSERVATION_ID": _spread(piece.observation, nrow, np.int32),
        "ARRAY_ID": np.zeros(nrow, dtype=np.int32),
        "FEED1": np.zeros(nrow, dtype=np.int32),
        "FEED2": np.zeros(nrow, dtype=np.int32),
        "PROCESSOR_ID": np.zeros(nrow, dtype=np.int32),
        "UVW": np.asarray(piece.uvw, dtype=np.float64),
        "DATA": data.astype(np.complex64, copy=False),
        "FLAG": flag,
        "FLAG_ROW": np.asarray(flag.reshape(nrow, -1).all(axis=1)),
        "SIGMA": sigma,
        "WEIGHT": weight.astype(np.float32, copy=False),
    }
    for column, value in given.items():
        if (value is None) is (column in columns):
            raise InvalidSpec(f"rows and columns disagree: {column} must be in both or in neither.")
        if value is not None:
            values[column] = np.asarray(value)
    if not nrow:
        return
    for column, value in values.items():
        if len(value) != nrow or (value.ndim == 3 and value.shape != data.shape):
            raise InvalidSpec(
                f"{column} has shape {value.shape}; it does not fit data of shape {data.shape}."
            )
        handle.putcol(column, value, start, nrow)


def _spread(value: ArrayLike, nrow: int, dtype: type[np.generic]) -> NDArray[Any]:
    array = np.asarray(value, dtype=dtype)
    if array.ndim and array.shape != (nrow,):
        raise InvalidSpec(f"an array of shape {array.shape} was given where one value or {nrow} are needed.")
    return np.ascontiguousarray(np.broadcast_to(array, (nrow,)))
