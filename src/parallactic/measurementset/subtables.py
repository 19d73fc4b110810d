"""The sub-tables of a new MeasurementSet, filled so that CASA takes it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casacore.tables import default_ms_subtable
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.metadata import CORRELATIONS, Antenna, Field, SpectralWindow, State
from parallactic.measurementset.tables import opened

__all__ = ["SubTables", "add_history", "check_correlations", "fill_subtables"]

_UNIX_EPOCH = 40587 * 86400.0
"""1970-01-01 in seconds of MJD."""

_NUMBERS = {name: number for number, name in CORRELATIONS.items()}


@dataclass(frozen=True)
class SubTables:
    """What `fill_subtables` writes; the meaning of each is that of `create_ms`."""

    antennas: Sequence[Antenna]
    fields: Sequence[Field]
    spws: Sequence[SpectralWindow]
    polarizations: Sequence[Sequence[str]]
    data_descriptions: Sequence[tuple[int, int]]
    states: Sequence[State]
    telescope: str
    observer: str
    project: str
    time_range: tuple[float, float]


def fill_subtables(path: str | os.PathLike[str], tables: SubTables, history: Sequence[str]) -> None:
    """Fill the empty sub-tables of the new set at `path`, and add SOURCE."""
    root = Path(path)
    middle = (tables.time_range[0] + tables.time_range[1]) / 2
    length = max(tables.time_range[1] - tables.time_range[0], 0.0) + 1e30
    _fill(root / "ANTENNA", _antenna(tables.antennas))
    _fill(root / "FIELD", _field(tables.fields, tables.time_range[0]))
    for number, spw in enumerate(tables.spws):
        _fill(root / "SPECTRAL_WINDOW", _spw(spw), number)
    for number, names in enumerate(tables.polarizations):
        _fill(root / "POLARIZATION", _polarization(names), number)
    pairs = np.asarray(tables.data_descriptions, dtype=np.int32).reshape(-1, 2)
    _fill(
        root / "DATA_DESCRIPTION",
        {
            "SPECTRAL_WINDOW_ID": pairs[:, 0],
            "POLARIZATION_ID": pairs[:, 1],
            "FLAG_ROW": np.zeros(len(pairs), bool),
        },
    )
    _fill(root / "FEED", _feed(tables, middle, length))
    _fill(root / "OBSERVATION", _observation(tables))
    _fill(root / "STATE", _state(tables.states))
    _fill(
        root / "PROCESSOR",
        {"TYPE": ["CORRELATOR"], "SUB_TYPE": [""], "MODE_ID": [-1], "TYPE_ID": [-1], "FLAG_ROW": [False]},
    )
    _fill(root / "HISTORY", _history(history, middle))
    source = root / "SOURCE"
    made = default_ms_subtable("SOURCE", str(source))
    made.close()
    with opened(root, write=True) as handle:
        handle.putkeyword("SOURCE", "Table: " + str(source))
    _fill(source, _source(tables, middle, length))


def add_history(path: str | os.PathLike[str], messages: Sequence[str]) -> None:
    """Append `messages`, dated now, to the HISTORY of the set at `path`."""
    now = time.time() + _UNIX_EPOCH
    place = Path(path) / "HISTORY"
    with opened(place) as handle:
        start = handle.nrows()
    _fill(place, _history(messages, now), start)


def _fill(path: Path, columns: dict[str, Any], start: int = 0) -> None:
    nrow = len(next(iter(columns.values())))
    if not nrow:
        return
    with opened(path, write=True) as handle:
        handle.addrows(nrow)
        for name, values in columns.items():
            handle.putcol(name, values, start, nrow)


def _antenna(antennas: Sequence[Antenna]) -> dict[str, Any]:
    n = len(antennas)
    return {
        "NAME": [a.name for a in antennas],
        "STATION": [a.station or a.name for a in antennas],
        "TYPE": ["GROUND-BASED"] * n,
        "MOUNT": [a.mount for a in antennas],
        "POSITION": np.array([a.position for a in antennas], dtype=np.float64).reshape(n, 3),
        "OFFSET": np.zeros((n, 3)),
        "DISH_DIAMETER": np.array([a.diameter for a in antennas], dtype=np.float64),
        "FLAG_ROW": np.zeros(n, dtype=bool),
    }


def _field(fields: Sequence[Field], begin: float) -> dict[str, Any]:
    n = len(fields)
    return {
        "NAME": [f.name for f in fields],
        "CODE": [f.code for f in fields],
        "TIME": np.full(n, begin),
        "NUM_POLY": np.zeros(n, dtype=np.int32),
        "SOURCE_ID": np.array([f.source for f in fields], dtype=np.int32),
        "PHASE_DIR": np.array([f.direction for f in fields]).reshape(n, 1, 2),
        "DELAY_DIR": np.array([f.delay_direction for f in fields]).reshape(n, 1, 2),
        "REFERENCE_DIR": np.array([f.reference_direction for f in fields]).reshape(n, 1, 2),
        "FLAG_ROW": np.zeros(n, dtype=bool),
    }


def _spw(spw: SpectralWindow) -> dict[str, Any]:
    widths = np.asarray(spw.widths, dtype=np.float64)
    return {
        "NAME": [spw.name],
        "NUM_CHAN": [spw.nchan],
        "CHAN_FREQ": np.asarray(spw.frequencies, dtype=np.float64)[np.newaxis],
        "CHAN_WIDTH": widths[np.newaxis],
        "EFFECTIVE_BW": np.abs(widths)[np.newaxis],
        "RESOLUTION": np.abs(widths)[np.newaxis],
        "REF_FREQUENCY": [spw.reference],
        "TOTAL_BANDWIDTH": [spw.bandwidth],
        "MEAS_FREQ_REF": [spw.frame],
        "NET_SIDEBAND": [1 if widths[0] > 0 else -1],
        "FREQ_GROUP": [0],
        "FREQ_GROUP_NAME": ["Group 1"],
        "IF_CONV_CHAIN": [0],
        "FLAG_ROW": [False],
    }


def check_correlations(names: Sequence[str]) -> None:
    """Raise InvalidSpec unless `names` are correlations of circular or linear receptors."""
    unknown = [name for name in names if name not in _NUMBERS or len(name) != 2]
    if unknown or not names:
        raise InvalidSpec(
            f"{', '.join(unknown) or 'nothing'} is no set of correlations; write RR, RL … or XX, XY …."
        )


def _polarization(names: Sequence[str]) -> dict[str, Any]:
    receptors = {"R": 0, "L": 1, "X": 0, "Y": 1}
    products = np.array([[receptors[hand] for hand in name] for name in names], dtype=np.int32)
    return {
        "NUM_CORR": [len(names)],
        "CORR_TYPE": np.array([[_NUMBERS[name] for name in names]], dtype=np.int32),
        "CORR_PRODUCT": products[np.newaxis],
        "FLAG_ROW": [False],
    }


def _feed(tables: SubTables, middle: float, length: float) -> dict[str, Any]:
    n = len(tables.antennas)
    linear = any(name[0] in "XY" for names in tables.polarizations for name in names)
    return {
        "ANTENNA_ID": np.arange(n, dtype=np.int32),
        "FEED_ID": np.zeros(n, dtype=np.int32),
        "SPECTRAL_WINDOW_ID": np.full(n, -1, dtype=np.int32),
        "BEAM_ID": np.full(n, -1, dtype=np.int32),
        "TIME": np.full(n, middle),
        "INTERVAL": np.full(n, length),
        "NUM_RECEPTORS": np.full(n, 2, dtype=np.int32),
        "BEAM_OFFSET": np.zeros((n, 2, 2)),
        "POLARIZATION_TYPE": {"shape": [n, 2], "array": (["X", "Y"] if linear else ["R", "L"]) * n},
        "POL_RESPONSE": np.tile(np.eye(2, dtype=np.complex64), (n, 1, 1)),
        "POSITION": np.zeros((n, 3)),
        "RECEPTOR_ANGLE": np.zeros((n, 2)),
    }


def _observation(tables: SubTables) -> dict[str, Any]:
    return {
        "TELESCOPE_NAME": [tables.telescope],
        "OBSERVER": [tables.observer],
        "PROJECT": [tables.project],
        "SCHEDULE_TYPE": [""],
        "SCHEDULE": {"shape": [1, 1], "array": [""]},
        "LOG": {"shape": [1, 1], "array": [""]},
        "RELEASE_DATE": [0.0],
        "TIME_RANGE": np.array([tables.time_range], dtype=np.float64),
        "FLAG_ROW": [False],
    }


def _state(states: Sequence[State]) -> dict[str, Any]:
    n = len(states)
    return {
        "OBS_MODE": [s.obs_mode for s in states],
        "SUB_SCAN": np.array([s.sub_scan for s in states], dtype=np.int32),
        "SIG": np.ones(n, dtype=bool),
        "REF": np.zeros(n, dtype=bool),
        "CAL": np.zeros(n),
        "LOAD": np.zeros(n),
        "FLAG_ROW": np.zeros(n, dtype=bool),
    }


def _history(messages: Sequence[str], when: float) -> dict[str, Any]:
    n = len(messages)
    empty = {"shape": [n, 1], "array": [""] * n}
    return {
        "TIME": np.full(n, when),
        "OBSERVATION_ID": np.zeros(n, dtype=np.int32),
        "MESSAGE": list(messages),
        "PRIORITY": ["INFO"] * n,
        "ORIGIN": ["parallactic"] * n,
        "OBJECT_ID": np.full(n, -1, dtype=np.int32),
        "APPLICATION": ["parallactic"] * n,
        "CLI_COMMAND": empty,
        "APP_PARAMS": empty,
    }


def _source(tables: SubTables, middle: float, length: float) -> dict[str, Any]:
    sources: dict[int, Field] = {}
    for entry in tables.fields:
        if entry.source >= 0:
            sources.setdefault(entry.source, entry)
    n = len(sources)
    directions: NDArray[np.float64] = np.array([f.direction for f in sources.values()]).reshape(n, 2)
    return {
        "SOURCE_ID": np.array(list(sources), dtype=np.int32),
        "NAME": [f.name for f in sources.values()],
        "CODE": [f.code for f in sources.values()],
        "DIRECTION": directions,
        "PROPER_MOTION": np.zeros((n, 2)),
        "TIME": np.full(n, middle),
        "INTERVAL": np.full(n, length),
        "SPECTRAL_WINDOW_ID": np.full(n, -1, dtype=np.int32),
        "NUM_LINES": np.zeros(n, dtype=np.int32),
        "CALIBRATION_GROUP": np.zeros(n, dtype=np.int32),
    }
