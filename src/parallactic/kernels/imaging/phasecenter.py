"""Turning visibilities from one phase centre to another."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from parallactic.kernels.imaging.geometry import SPEED_OF_LIGHT

__all__ = ["direction_cosines", "rephase", "separation"]

Direction = tuple[float, float]
"""Right ascension and declination, radians."""


def separation(first: Direction, second: Direction) -> float:
    """Return the angle between two directions, radians (haversine: exact also for tiny angles)."""
    half = math.sin((second[1] - first[1]) / 2) ** 2
    half += math.cos(first[1]) * math.cos(second[1]) * math.sin((second[0] - first[0]) / 2) ** 2
    return 2 * math.asin(math.sqrt(min(1.0, half)))


def direction_cosines(direction: Direction, centre: Direction) -> tuple[float, float, float]:
    """Return (l, m, n) of a direction about a phase centre; n is negative on the far side of the sky."""
    ra, dec = direction
    ra0, dec0 = centre
    l = math.cos(dec) * math.sin(ra - ra0)  # noqa: E741 - the letter of the papers
    m = math.sin(dec) * math.cos(dec0) - math.cos(dec) * math.sin(dec0) * math.cos(ra - ra0)
    n = math.sin(dec) * math.sin(dec0) + math.cos(dec) * math.cos(dec0) * math.cos(ra - ra0)
    return l, m, n


def rephase(
    uvw: npt.NDArray[np.float64],
    frequency: npt.NDArray[np.float64],
    values: npt.NDArray[np.complex64],
    old: Direction,
    new: Direction,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.complex64]]:
    """Move visibilities to a new phase centre, exactly.

    The baseline is turned from the axes (east, north, source) of the old centre to those of the new one.
    The delay towards the centre is the component w, hence the phase turns by ``2π (w_old - w_new) / λ``
    under the sign of `parallactic.kernels.imaging.gridding` (Thompson, Moran & Swenson 2017, chapter 4).

    Parameters
    ----------
    uvw
        Metres about the old centre; shape (row, 3).
    frequency
        Hz; shape (channel,).
    values
        Jy; shape (row, channel).
    old, new
        Right ascension and declination, radians.

    Returns
    -------
    uvw, values
        About the new centre.
    """
    if old == new:
        return uvw, values
    turned = uvw @ (_axes(new) @ _axes(old).T).T
    delay = (uvw[:, 2] - turned[:, 2]) / SPEED_OF_LIGHT
    phasor = np.exp(2j * np.pi * delay[:, None] * frequency)
    return turned, (values * phasor).astype(np.complex64)


def _axes(centre: Direction) -> npt.NDArray[np.float64]:
    """Return the unit vectors u (east), v (north) and w (source) as rows, in equatorial coordinates."""
    sa, ca = math.sin(centre[0]), math.cos(centre[0])
    sd, cd = math.sin(centre[1]), math.cos(centre[1])
    return np.array([[-sa, ca, 0.0], [-ca * sd, -sa * sd, cd], [ca * cd, sa * cd, sd]])
