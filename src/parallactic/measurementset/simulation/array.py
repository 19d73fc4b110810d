"""Where the simulated antennas stand, and the baselines that the sky sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from casacore.measures import measures
from casacore.quanta import quantity

from parallactic.errors import InvalidSpec

__all__ = ["CONFIGURATIONS", "Configuration", "Geometry", "Layout", "vla_layout"]

Configuration = Literal["A", "B", "C", "D"]
CONFIGURATIONS: dict[Configuration, float] = {"A": 20991.0, "B": 6388.0, "C": 1943.0, "D": 591.0}
"""Length of the VLA's longest arm in each configuration, in metres."""

_VLA_CENTRE = np.array([-1601185.4, -5041977.5, 3554875.9])  # ITRF, metres
_ARMS = {"N": 355.0, "E": 115.0, "W": 236.0}  # azimuth of the three arms, degrees from north through east
_EXPONENT = 1.716  # of the stations' distances (Thompson et al. 1980, ApJS 44, 151)


@dataclass(frozen=True)
class Layout:
    """The antennas of an array.

    Attributes
    ----------
    names, stations
        One each, unique.
    positions
        (nant, 3) ITRF, in metres.
    centre
        (3,) ITRF of the array's reference, in metres.
    diameter
        Of every dish, in metres.
    telescope
        As the observatories' tables know it.
    """

    names: tuple[str, ...]
    stations: tuple[str, ...]
    positions: npt.NDArray[np.float64]
    centre: npt.NDArray[np.float64]
    diameter: float
    telescope: str


def vla_layout(nantennas: int, configuration: Configuration) -> Layout:
    """Return `nantennas` dishes of 25 m on the VLA's three arms, at distances that follow its power law.

    Raises
    ------
    InvalidSpec
        If there are fewer than 3 or more than 27 antennas, or the configuration is unknown.
    """
    if not 3 <= nantennas <= 27:
        raise InvalidSpec(f"nantennas={nantennas} does not fit the VLA's arms; ask for 3 to 27.")
    if configuration not in CONFIGURATIONS:
        raise InvalidSpec(
            f"configuration={configuration!r} is unknown; known are {', '.join(CONFIGURATIONS)}."
        )
    longest = CONFIGURATIONS[configuration]
    names, stations, enu = [], [], []
    for number in range(nantennas):
        arm, place = list(_ARMS)[number % 3], number // 3 + 1
        count = (nantennas - number % 3 + 2) // 3  # antennas on this arm
        distance = longest * (place / count) ** _EXPONENT
        azimuth = np.radians(_ARMS[arm])
        names.append(f"ea{number + 1:02d}")
        stations.append(f"{arm}{place:02d}")
        enu.append([distance * np.sin(azimuth), distance * np.cos(azimuth), 0.0])
    positions = _VLA_CENTRE + np.array(enu) @ _east_north_up(_VLA_CENTRE)
    return Layout(tuple(names), tuple(stations), positions, _VLA_CENTRE, 25.0, "EVLA")


def _east_north_up(position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the unit vectors east, north and up of the sphere at `position`, as rows."""
    up = position / np.linalg.norm(position)
    east = np.cross([0.0, 0.0, 1.0], up)
    east /= np.linalg.norm(east)
    return np.array([east, np.cross(up, east), up])


class Geometry:
    """How the array lies to the sky at a time, by casacore's measures.

    Parameters
    ----------
    layout
        The array.
    """

    def __init__(self, layout: Layout) -> None:
        self._positions = layout.positions
        self._measures = measures()
        self._sites = [
            self._measures.position("itrf", *(quantity(float(x), "m") for x in site))
            for site in (layout.centre, *layout.positions)
        ]

    def uvw(self, time: float, ra: float, dec: float) -> npt.NDArray[np.float64]:
        """Return the antennas' UVW, (nant, 3) in metres; a baseline is the difference of two.

        Parameters
        ----------
        time
            Seconds of MJD, UTC.
        ra, dec
            J2000, in radians.
        """
        self._frame(time, ra, dec, site=0)
        # The conversion is a rotation: three unit baselines (here 10 km) give its matrix for all antennas.
        unit = 1e4
        axes = [quantity(list(row), "m") for row in np.eye(3) * unit]
        turned = self._measures.to_uvw(self._measures.baseline("itrf", *axes))
        rotation = np.array(turned["xyz"].get_value("m")).reshape(3, 3) / unit
        return np.asarray((self._positions - self._positions[0]) @ rotation, dtype=np.float64)

    def elevation(self, time: float, ra: float, dec: float) -> float:
        """Return the elevation seen from the array's centre, in radians."""
        direction = self._frame(time, ra, dec, site=0)
        return float(self._measures.measure(direction, "azel")["m1"]["value"])

    def parallactic_angle(self, time: float, ra: float, dec: float) -> npt.NDArray[np.float64]:
        """Return every antenna's parallactic angle, (nant,) in radians, from north through east.

        By CASA's convention, so that its tools undo it: north is that of the date, and the zenith lies in the
        direction from the centre of the Earth (a true vertical differs by up to a degree for high sources).
        """
        angles = []
        for site in range(1, len(self._sites)):
            direction = self._frame(time, ra, dec, site=site)
            apparent = self._measures.measure(direction, "hadec")
            hour, declination = apparent["m0"]["value"], apparent["m1"]["value"]
            x, y, z = self._positions[site - 1]
            latitude = np.arctan2(z, np.hypot(x, y))
            towards_east = np.cos(latitude) * np.sin(hour)
            towards_north = np.sin(latitude) * np.cos(declination)
            towards_north -= np.cos(latitude) * np.sin(declination) * np.cos(hour)
            angles.append(np.arctan2(towards_east, towards_north))
        return np.array(angles, dtype=np.float64)

    def _frame(self, time: float, ra: float, dec: float, *, site: int) -> dict[str, object]:
        self._measures.do_frame(self._sites[site])
        self._measures.do_frame(self._measures.epoch("utc", quantity(float(time), "s")))
        direction: dict[str, object] = self._measures.direction(
            "j2000", quantity(float(ra), "rad"), quantity(float(dec), "rad")
        )
        self._measures.do_frame(direction)
        return direction
