"""The sub-tables of a MeasurementSet, as small frozen records."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallactic.measurementset.tables import is_table, opened, read_columns

__all__ = [
    "CORRELATIONS",
    "PER_CORRELATION",
    "SPECTRAL_COLUMNS",
    "VISIBILITIES",
    "Antenna",
    "DataDescription",
    "Field",
    "Metadata",
    "Observation",
    "Polarization",
    "SpectralWindow",
    "State",
    "read_metadata",
]

CORRELATIONS = {
    1: "I", 2: "Q", 3: "U", 4: "V",
    5: "RR", 6: "RL", 7: "LR", 8: "LL",
    9: "XX", 10: "XY", 11: "YX", 12: "YY",
}  # fmt: skip
"""casacore's numbers of the Stokes parameters and correlations."""

VISIBILITIES = ("DATA", "FLOAT_DATA", "MODEL_DATA", "CORRECTED_DATA")
"""The columns of visibilities."""

SPECTRAL_COLUMNS = (*VISIBILITIES, "FLAG", "WEIGHT_SPECTRUM", "SIGMA_SPECTRUM", "CORRECTED_WEIGHT_SPECTRUM")
"""The columns with cells of shape (channel, correlation)."""

PER_CORRELATION = ("WEIGHT", "SIGMA")
"""The columns with cells of shape (correlation,)."""


@dataclass(frozen=True, slots=True)
class Antenna:
    """One antenna: its id is its place in the table.

    Attributes
    ----------
    name, station, mount
        As written; a name may be empty.
    position
        ITRF x, y, z in metres, shape (3,).
    diameter
        Of the dish, in metres.
    """

    id: int
    name: str
    position: NDArray[np.float64] = field(repr=False)
    diameter: float = 25.0
    station: str = ""
    mount: str = "ALT-AZ"


@dataclass(frozen=True, slots=True)
class Field:
    """One pointing on the sky.

    Attributes
    ----------
    direction
        Phase centre (right ascension, declination) in radians, shape (2,); the constant term.
    delay_direction, reference_direction
        Likewise.
    frame
        casacore's name of the frame of the directions, such as ``J2000``.
    """

    id: int
    name: str
    code: str
    source: int
    direction: NDArray[np.float64]
    delay_direction: NDArray[np.float64] = field(repr=False)
    reference_direction: NDArray[np.float64] = field(repr=False)
    frame: str = "J2000"

    @classmethod
    def at(
        cls, id: int, name: str, ra: float, dec: float, code: str = "", source: int | None = None
    ) -> Field:
        """Make a field whose directions are (`ra`, `dec`) in radians; `source` if not given is `id`."""
        direction = np.array([ra, dec], dtype=np.float64)
        return cls(id, name, code, id if source is None else source, direction, direction, direction)


@dataclass(frozen=True, slots=True)
class SpectralWindow:
    """One spectral window.

    Attributes
    ----------
    frequencies, widths
        Centre and (signed) width of each channel in Hz, shape (nchan,).
    reference
        REF_FREQUENCY in Hz.
    frame
        casacore's number of the frequency frame (MEAS_FREQ_REF; 5 is TOPO, 1 is LSRK).
    """

    id: int
    name: str
    frequencies: NDArray[np.float64] = field(repr=False)
    widths: NDArray[np.float64] = field(repr=False)
    reference: float
    bandwidth: float
    frame: int = 5

    @classmethod
    def regular(cls, id: int, name: str, first: float, width: float, nchan: int) -> SpectralWindow:
        """Make a window of `nchan` channels of `width` Hz, the first centred at `first` Hz, topocentric."""
        frequencies = first + width * np.arange(nchan, dtype=np.float64)
        return cls(
            id, name, frequencies, np.full(nchan, float(width)), float(first), abs(float(width)) * nchan
        )

    @property
    def nchan(self) -> int:
        """The number of channels."""
        return len(self.frequencies)


@dataclass(frozen=True, slots=True)
class Polarization:
    """One set of correlations.

    Attributes
    ----------
    correlations
        Their names in the order of the data, such as ``("RR", "RL", "LR", "LL")``.
    products
        The receptors multiplied for each, shape (ncorr, 2).
    """

    id: int
    correlations: tuple[str, ...]
    products: NDArray[np.int32] = field(repr=False)

    @property
    def ncorr(self) -> int:
        """The number of correlations."""
        return len(self.correlations)


@dataclass(frozen=True, slots=True)
class DataDescription:
    """Which spectral window and which polarization rows of one DATA_DESC_ID have."""

    id: int
    spw: int
    polarization: int


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation: its telescope, project, observer and time range (s, MJD in UTC)."""

    id: int
    telescope: str
    project: str
    observer: str
    time_range: tuple[float, float]


@dataclass(frozen=True, slots=True)
class State:
    """One state; `obs_mode` holds the scan intents, separated by commas."""

    id: int
    obs_mode: str
    sub_scan: int = 0

    @property
    def intents(self) -> tuple[str, ...]:
        """The single intents of `obs_mode`."""
        return tuple(part.strip() for part in self.obs_mode.split(",") if part.strip())


@dataclass(frozen=True, slots=True)
class Metadata:
    """All the sub-tables that tasks read."""

    antennas: tuple[Antenna, ...]
    fields: tuple[Field, ...]
    spws: tuple[SpectralWindow, ...]
    polarizations: tuple[Polarization, ...]
    data_descriptions: tuple[DataDescription, ...]
    observations: tuple[Observation, ...]
    states: tuple[State, ...]


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """Read the sub-tables of the plain MeasurementSet at `path`.

    Raises
    ------
    InvalidSpec
        If a required sub-table is missing.
    """
    root = Path(path)
    return Metadata(
        antennas=_antennas(root),
        fields=_fields(root),
        spws=_spws(root),
        polarizations=_polarizations(root),
        data_descriptions=_data_descriptions(root),
        observations=_observations(root),
        states=_states(root),
    )


def _antennas(root: Path) -> tuple[Antenna, ...]:
    c = read_columns(root / "ANTENNA", "NAME", "STATION", "MOUNT", "POSITION", "DISH_DIAMETER")
    rows = zip(*c.values(), strict=True)
    return tuple(
        Antenna(i, name, np.asarray(position, dtype=np.float64), float(diameter), station, mount)
        for i, (name, station, mount, position, diameter) in enumerate(rows)
    )


def _fields(root: Path) -> tuple[Field, ...]:
    c = read_columns(root / "FIELD", "NAME", "CODE", "SOURCE_ID", "PHASE_DIR", "DELAY_DIR", "REFERENCE_DIR")
    with opened(root / "FIELD") as handle:
        frame = str(handle.getcolkeywords("PHASE_DIR").get("MEASINFO", {}).get("Ref", "J2000"))
    rows = zip(*c.values(), strict=True)
    return tuple(
        Field(i, name, code, int(source), _constant(phase), _constant(delay), _constant(reference), frame)
        for i, (name, code, source, phase, delay, reference) in enumerate(rows)
    )


def _constant(direction: Any) -> NDArray[np.float64]:
    # The directions are polynomials in time, (order + 1, 2); the constant term is the direction.
    if direction is None:
        return np.zeros(2)
    terms: NDArray[np.float64] = np.asarray(direction, dtype=np.float64).reshape(-1, 2)
    return np.array(terms[0])


def _spws(root: Path) -> tuple[SpectralWindow, ...]:
    c = read_columns(
        root / "SPECTRAL_WINDOW",
        "NAME", "CHAN_FREQ", "CHAN_WIDTH", "REF_FREQUENCY", "TOTAL_BANDWIDTH", "MEAS_FREQ_REF",
    )  # fmt: skip
    rows = zip(*c.values(), strict=True)
    return tuple(
        SpectralWindow(
            i, name, np.asarray(freq, dtype=np.float64), np.asarray(width, dtype=np.float64),
            float(reference), float(bandwidth), int(frame),
        )
        for i, (name, freq, width, reference, bandwidth, frame) in enumerate(rows)
    )  # fmt: skip


def _polarizations(root: Path) -> tuple[Polarization, ...]:
    c = read_columns(root / "POLARIZATION", "CORR_TYPE", "CORR_PRODUCT")
    return tuple(
        Polarization(
            i,
            tuple(CORRELATIONS.get(int(t), f"corr{int(t)}") for t in types),
            np.asarray(products, dtype=np.int32),
        )
        for i, (types, products) in enumerate(zip(c["CORR_TYPE"], c["CORR_PRODUCT"], strict=True))
    )


def _data_descriptions(root: Path) -> tuple[DataDescription, ...]:
    c = read_columns(root / "DATA_DESCRIPTION", "SPECTRAL_WINDOW_ID", "POLARIZATION_ID")
    return tuple(
        DataDescription(i, int(spw), int(polarization))
        for i, (spw, polarization) in enumerate(zip(*c.values(), strict=True))
    )


def _observations(root: Path) -> tuple[Observation, ...]:
    c = read_columns(root / "OBSERVATION", "TELESCOPE_NAME", "PROJECT", "OBSERVER", "TIME_RANGE")
    rows = zip(*c.values(), strict=True)
    return tuple(
        Observation(
            i, telescope, project, observer, (0.0, 0.0) if span is None else (float(span[0]), float(span[1]))
        )
        for i, (telescope, project, observer, span) in enumerate(rows)
    )


def _states(root: Path) -> tuple[State, ...]:
    if not is_table(root / "STATE"):
        return ()
    c = read_columns(root / "STATE", "OBS_MODE", "SUB_SCAN")
    return tuple(State(i, mode, int(sub)) for i, (mode, sub) in enumerate(zip(*c.values(), strict=True)))
