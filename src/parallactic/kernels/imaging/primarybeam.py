"""The primary beam of a dish: an Airy pattern with a central blockage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import j1

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging.geometry import SPEED_OF_LIGHT, ImageGeometry

__all__ = ["airy_power", "primary_beam"]


def airy_power(
    angle: npt.NDArray[np.float64], frequency: float, diameter: float, blockage: float = 0.0
) -> npt.NDArray[np.float64]:
    """Return the power pattern of a uniformly lit circular aperture with a circular hole.

    The voltage pattern is ``(D² A(D) - d² A(d)) / (D² - d²)``, ``A(D) = 2 J1(x) / x``, ``x = π D sin θ / λ``
    (Born & Wolf 1999, Principles of Optics, section 8.6.2).

    Parameters
    ----------
    angle
        Sine of the angle from the axis.
    frequency
        Hz.
    diameter, blockage
        Of the dish and of the shadow in its centre, metres.

    Returns
    -------
    ndarray
        1 on the axis; same shape as `angle`.

    Raises
    ------
    InvalidSpec
        If the blockage is not smaller than the dish.
    """
    if not 0.0 <= blockage < diameter:
        raise InvalidSpec(f"a dish of {diameter} m with a blockage of {blockage} m has no beam.")

    def disk(across: float) -> npt.NDArray[np.float64]:
        x = np.pi * across * np.asarray(angle, np.float64) * frequency / SPEED_OF_LIGHT
        small = np.abs(x) < 1e-6
        safe = np.where(small, 1.0, x)
        return np.where(small, 1.0, 2.0 * j1(safe) / safe)

    voltage = diameter**2 * disk(diameter)
    if blockage > 0:
        voltage = voltage - blockage**2 * disk(blockage)
    return np.asarray((voltage / (diameter**2 - blockage**2)) ** 2, np.float64)


def primary_beam(
    geometry: ImageGeometry, frequency: float, diameter: float, blockage: float = 0.0
) -> npt.NDArray[np.float64]:
    """Return the primary beam (see `airy_power`) on an image's grid; shape (nx, ny), 1 at the centre."""
    cx, cy = geometry.centre
    l = (np.arange(geometry.nx) - cx)[:, None] * geometry.cell_x  # noqa: E741 - the letter of the papers
    m = (np.arange(geometry.ny) - cy)[None, :] * geometry.cell_y
    return airy_power(np.hypot(l, m), frequency, diameter, blockage)
