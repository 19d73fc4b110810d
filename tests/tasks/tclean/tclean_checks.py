"""What the tests of tclean share beside fixtures: reading images, and the exact image by plain sums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from casacore.tables import table

from parallactic.measurementset.simulation import Effects, Source

C = 299792458.0
ARCSEC = np.pi / 180 / 3600
CELL = 3.0
"""Arcsec; the sources lie on pixels of this size."""
RA, DEC = 201.0, 33.0


NOTHING = Effects(
    gain_amplitude=0, gain_phase=0, drift_amplitude=0, drift_phase=0,
    bandpass_amplitude=0, bandpass_phase=0, delay=0, leakage=0,
)  # fmt: skip
"""A perfect instrument."""


@dataclass(frozen=True)
class Field:
    """A MeasurementSet of a perfect instrument without noise, and its sources."""

    path: Path
    sources: tuple[Source, ...]


def read(path: Path) -> npt.NDArray[np.float64]:
    """Return an image as [x, y]."""
    return np.squeeze(fits.getdata(path)).T.astype(np.float64)


def exact_image(path: Path, pixels: list[tuple[int, int]], weighting: str, n: int) -> npt.NDArray[np.float64]:
    """Sum the visibilities of a set at pixels of an image of n x n, with the weights of the formulae."""
    with table(str(path), ack=False) as main, table(f"{path}/SPECTRAL_WINDOW", ack=False) as windows:
        data, uvw, ddid = main.getcol("DATA"), main.getcol("UVW"), main.getcol("DATA_DESC_ID")
        frequency = windows.getcol("CHAN_FREQ")[ddid]
    values = 0.5 * (data[..., 0] + data[..., 3])
    scaled = uvw[:, None, :] * frequency[..., None] / C
    cells = np.floor(scaled[..., :2] * n * CELL * ARCSEC + n / 2).astype(int)
    mirrored = np.floor(-scaled[..., :2] * n * CELL * ARCSEC + n / 2).astype(int)
    grid = np.zeros((n, n))
    for places in (cells, mirrored):
        np.add.at(grid, (places[..., 0], places[..., 1]), 1.0)
    density = grid[cells[..., 0], cells[..., 1]]
    weight = np.ones(density.shape)
    if weighting == "uniform":
        weight = 1 / density
    elif weighting == "briggs":
        weight = 1 / (1 + density * (5 * 10**-0.5) ** 2 * grid.sum() / (grid**2).sum())
    image = []
    for x, y in pixels:
        east, north = -(x - n // 2) * CELL * ARCSEC, (y - n // 2) * CELL * ARCSEC
        turn = scaled @ np.array([east, north, np.sqrt(1 - east**2 - north**2) - 1])
        image.append(np.sum(weight * (values * np.exp(-2j * np.pi * turn)).real) / weight.sum())
    return np.array(image)


def exact_visibilities(
    model: npt.NDArray[np.float64],
    uvw: npt.NDArray[np.float64],
    frequency: npt.NDArray[np.float64],
    *,
    centre: tuple[float, float],
    phase: tuple[float, float],
) -> npt.NDArray[np.complex128]:
    """Sum the components of an image about `centre` as seen from the phase centre `phase` (degrees)."""
    n = model.shape[0]
    (ra0, dec0), (ra1, dec1) = np.radians(centre), np.radians(phase)
    total = np.zeros((len(uvw), frequency.size), np.complex128)
    for x, y in np.argwhere(model):
        l, m = -(x - n // 2) * CELL * ARCSEC, (y - n // 2) * CELL * ARCSEC  # noqa: E741
        w = np.sqrt(1 - l * l - m * m)
        dec = np.arcsin(m * np.cos(dec0) + w * np.sin(dec0))
        ra = ra0 + np.arctan2(l, w * np.cos(dec0) - m * np.sin(dec0))
        east = np.cos(dec) * np.sin(ra - ra1)
        north = np.sin(dec) * np.cos(dec1) - np.cos(dec) * np.sin(dec1) * np.cos(ra - ra1)
        delay = uvw @ np.array([east, north, np.sqrt(1 - east**2 - north**2) - 1]) / C
        total += model[x, y] * np.exp(2j * np.pi * delay[:, None] * frequency)
    return total
