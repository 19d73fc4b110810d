"""A plain interferometer for the tests: point sources and their exact visibilities, formula by formula."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parallactic.kernels.imaging import ImageGeometry, Visibilities

C = 299792458.0
ARCSEC = np.pi / 180.0 / 3600.0


@dataclass(frozen=True)
class Point:
    """A point source at pixels `x`, `y` from the centre of the image, in Jy."""

    x: float
    y: float
    flux: float


def phases(
    uvw: npt.NDArray[np.float64], frequency: npt.NDArray[np.float64], east: float, north: float
) -> npt.NDArray[np.complex128]:
    """exp(+2πi (u l + v m + w (n - 1)) ν / c), with l to the east and m to the north."""
    n = np.sqrt(1.0 - east * east - north * north)
    delay = uvw @ np.array([east, north, n - 1.0]) / C
    return np.exp(2j * np.pi * delay[:, None] * frequency)


def observe(
    points: list[Point], geometry: ImageGeometry, *, rows: int = 1500, channels: int = 4, seed: int = 1
) -> Visibilities:
    """Return exact visibilities on random baselines of up to 3 km, w as long as u and v, at 1.0-1.2 GHz."""
    random = np.random.default_rng(seed)
    uvw = random.uniform(-3e3, 3e3, (rows, 3))
    frequency = np.linspace(1.0e9, 1.2e9, channels)
    values = np.zeros((rows, channels), np.complex128)
    for point in points:
        # Pixel x grows to the west, l to the east.
        east, north = -point.x * geometry.cell_x, point.y * geometry.cell_y
        values += point.flux * phases(uvw, frequency, east, north)
    weight = random.uniform(0.5, 2.0, (rows, channels)).astype(np.float32)
    return Visibilities(uvw, frequency, values.astype(np.complex64), weight)
