"""What a simulation is asked for: fields, windows, scans, instrument and interference."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from parallactic.errors import InvalidSpec
from parallactic.measurementset.simulation.array import Configuration
from parallactic.measurementset.simulation.instrument import Effects
from parallactic.measurementset.simulation.rfi import Rfi
from parallactic.measurementset.simulation.sky import Feeds, Source
from parallactic.spec import near_match

__all__ = ["Observation", "Scan", "SkyField", "Window"]


@dataclass(frozen=True, slots=True)
class SkyField:
    """A pointing: where it is, why it is observed, what is there.

    Parameters
    ----------
    name
        Unique among the fields.
    ra, dec
        Phase centre, J2000, in degrees.
    intent
        As in the STATE table, for example ``CALIBRATE_PHASE#ON_SOURCE``.
    sources
        The sky, in offsets from the phase centre.
    """

    name: str
    ra: float
    dec: float
    intent: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A spectral window of equal channels.

    Parameters
    ----------
    frequency
        Centre of the first channel, in Hz.
    width
        Of a channel, in Hz.
    nchan
        Number of channels.
    """

    frequency: float
    width: float
    nchan: int

    @property
    def frequencies(self) -> npt.NDArray[np.float64]:
        """Channel centres in Hz, (nchan,)."""
        return np.asarray(self.frequency + self.width * np.arange(self.nchan), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Scan:
    """A stay on one field.

    Parameters
    ----------
    field
        Name of the field.
    integrations
        How many integrations it lasts.
    """

    field: str
    integrations: int


@dataclass(frozen=True)
class Observation:
    """A whole observation, as `simulate` makes it. Every random number follows from `seed`.

    Parameters
    ----------
    fields, windows, scans
        What is looked at, in which frequencies, in which order. Scans are numbered from 1.
    nantennas, configuration
        The array, as in `vla_layout`.
    feeds
        ``circular`` gives RR RL LR LL, ``linear`` XX XY YX YY.
    start
        Beginning of the first scan, MJD in days, UTC.
    integration
        Seconds of an integration.
    gap
        Seconds between scans.
    effects
        What the instrument does to the signal.
    rfi
        Interference, each entry of its own kind and strength.
    sefd
        System equivalent flux density in Jy: thermal noise has a standard deviation of
        sefd / sqrt(2 width integration) in the real and in the imaginary part of every visibility. 0: none.
    autocorrelations
        Whether an antenna's product with itself is kept; it holds the system's own power, sefd, too.
    seed
        Of every random number. One effect switched off leaves the others as they were.
    """

    fields: tuple[SkyField, ...]
    windows: tuple[Window, ...]
    scans: tuple[Scan, ...]
    nantennas: int = 10
    configuration: Configuration = "C"
    feeds: Feeds = "circular"
    start: float = 59000.2
    integration: float = 10.0
    gap: float = 60.0
    effects: Effects = field(default_factory=Effects)
    rfi: tuple[Rfi, ...] = ()
    sefd: float = 400.0
    autocorrelations: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.fields]
        if not (self.fields and self.windows and self.scans):
            raise InvalidSpec("an observation needs at least one field, one spectral window and one scan.")
        if len(set(names)) != len(names):
            raise InvalidSpec(f"two fields have the same name among {', '.join(names)}; give each its own.")
        for scan in self.scans:
            if scan.field not in names:
                raise InvalidSpec(f"a scan asks for the field {scan.field!r}{near_match(scan.field, names)}")
            if scan.integrations < 1:
                raise InvalidSpec(
                    f"a scan of {scan.field!r} has {scan.integrations} integrations; ask for 1 or more."
                )
        for window in self.windows:
            if window.nchan < 1 or window.width <= 0 or window.frequency <= 0:
                raise InvalidSpec(f"{window} needs a positive frequency, width and number of channels.")
        for name in ("integration", "gap", "sefd"):
            value = getattr(self, name)
            if value < 0 or (name == "integration" and value == 0):
                least = "longer than nothing" if name == "integration" else "0 or more"
                raise InvalidSpec(f"{name}={value!r} must be {least}.")
        for source in (source for entry in self.fields for source in entry.sources):
            if np.hypot(source.l, source.m) > 3600.0 * 50:
                raise InvalidSpec(f"{source} is more than 50 degrees off its phase centre.")
        for entry in self.rfi:
            if entry.spw is not None and not 0 <= entry.spw < len(self.windows):
                raise InvalidSpec(
                    f"{entry} names a spectral window that is not among the {len(self.windows)}."
                )

    @property
    def reffreq(self) -> float:
        """Mean of all channels of all windows, in Hz: the default reference of spectral indices."""
        return float(np.mean(np.concatenate([window.frequencies for window in self.windows])))

    @property
    def correlations(self) -> tuple[str, str, str, str]:
        """Names of the four products, in the order of the data."""
        return ("RR", "RL", "LR", "LL") if self.feeds == "circular" else ("XX", "XY", "YX", "YY")

    def timeline(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return mid-time (seconds of MJD), scan number and field of every integration, each (ntime,)."""
        times, scans, fields = [], [], []
        names = [entry.name for entry in self.fields]
        begin = self.start * 86400.0
        for number, scan in enumerate(self.scans, start=1):
            times.append(begin + self.integration * (np.arange(scan.integrations) + 0.5))
            scans.append(np.full(scan.integrations, number, dtype=np.int32))
            fields.append(np.full(scan.integrations, names.index(scan.field), dtype=np.int32))
            begin += self.integration * scan.integrations + self.gap
        return np.concatenate(times), np.concatenate(scans), np.concatenate(fields)

    def sigma(self, spw: int) -> float:
        """Return the thermal noise of window `spw`, in Jy, of the real (and of the imaginary) part."""
        return float(self.sefd / np.sqrt(2.0 * self.windows[spw].width * self.integration))

    def to_dict(self) -> dict[str, Any]:
        """Return the observation in plain types, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Return the observation that `to_dict` wrote."""
        fields = tuple(
            SkyField(**{**entry, "sources": tuple(Source(**source) for source in entry["sources"])})
            for entry in plain["fields"]
        )
        built = {
            "fields": fields,
            "windows": tuple(Window(**entry) for entry in plain["windows"]),
            "scans": tuple(Scan(**entry) for entry in plain["scans"]),
            "effects": Effects(**plain["effects"]),
            "rfi": tuple(Rfi.from_dict(entry) for entry in plain["rfi"]),
        }
        return cls(**{**plain, **built})
