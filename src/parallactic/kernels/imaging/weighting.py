"""Natural, uniform and Briggs weights, on CASA's weighting grid.

The density of weights is gathered over all the data first, block by block, and applied second; so the
weights do not depend on how the data were divided.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging.geometry import SPEED_OF_LIGHT, ImageGeometry
from parallactic.kernels.imaging.visibilities import Visibilities

__all__ = ["Weighting", "briggs_factor", "density", "imaging_weight"]

Weighting = Literal["natural", "uniform", "briggs"]


def density(vis: Visibilities, geometry: ImageGeometry) -> npt.NDArray[np.float64]:
    """Sum the natural weights into the cells of the weighting grid.

    A visibility at (u, v) wavelengths counts in cell ``floor(u nx cell_x + nx/2)``, likewise in v, and its
    complex conjugate at (-u, -v) counts too, as CASA does it. What falls off the grid counts nowhere.

    Returns
    -------
    ndarray
        Sum of weights per cell; shape (nx, ny), float64. Grids of several blocks add up.
    """
    grid = np.zeros(geometry.shape)
    wavenumber = vis.frequency / SPEED_OF_LIGHT
    _gather(grid, vis.uvw, wavenumber, vis.weight, geometry.cell_x, geometry.cell_y)
    return grid


def briggs_factor(grid: npt.NDArray[np.float64], robust: float) -> float:
    """Return Briggs's f² = (5 · 10^-robust)² / (ΣW² / Σω) from the density of all the data.

    ΣW² runs over the cells W of `grid` and Σω over the weights gathered in it (Briggs 1995, PhD thesis,
    New Mexico Tech, chapter 3). Zero if the grid is empty.

    Raises
    ------
    InvalidSpec
        If `robust` is not within [-2, 2].
    """
    if not -2.0 <= robust <= 2.0:
        raise InvalidSpec(f"robust={robust} must lie between -2 (nearly uniform) and 2 (nearly natural).")
    total = float(grid.sum())
    if total == 0.0:
        return 0.0
    return float((5.0 * 10.0**-robust) ** 2 * total / np.sum(grid * grid))


def imaging_weight(
    vis: Visibilities,
    grid: npt.NDArray[np.float64] | None,
    geometry: ImageGeometry,
    scheme: Weighting,
    robust: float = 0.5,
) -> npt.NDArray[np.float32]:
    """Return the weights with which the visibilities are gridded.

    With ω the natural weight and W the density of its cell: natural ω, uniform ω / W, Briggs
    ω / (1 + W f²). Visibilities off the weighting grid get zero, except with natural weighting.

    Parameters
    ----------
    vis
        The block.
    grid
        Density of *all* the data (see `density`); not needed for natural weighting.
    geometry
        That of the image.
    scheme
        ``"natural"``, ``"uniform"`` or ``"briggs"``.
    robust
        Briggs's parameter, from -2 (nearly uniform) to 2 (nearly natural).

    Returns
    -------
    ndarray
        Shape (row, channel), float32.

    Raises
    ------
    InvalidSpec
        If the scheme is unknown, or needs a density and got none.
    """
    if scheme == "natural":
        return vis.weight
    if scheme not in ("uniform", "briggs"):
        raise InvalidSpec(f"weighting={scheme!r} is unknown; known are natural, uniform and briggs.")
    if grid is None:
        raise InvalidSpec(f"weighting={scheme!r} needs the density of weights of all the data.")
    constant, factor = (0.0, 1.0) if scheme == "uniform" else (1.0, briggs_factor(grid, robust))
    out = np.zeros_like(vis.weight)
    wavenumber = vis.frequency / SPEED_OF_LIGHT
    _apply(out, grid, vis.uvw, wavenumber, vis.weight, geometry.cell_x, geometry.cell_y, constant, factor)
    return out


@njit(cache=True, nogil=True)
def _cell(
    u: float, v: float, grid: npt.NDArray[np.float64], cell_x: float, cell_y: float
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Return the cell of the weighting grid at (u, v) in wavelengths; (-1, -1) off the grid."""
    nx, ny = grid.shape
    i = int(np.floor(u * nx * cell_x + nx / 2))
    j = int(np.floor(v * ny * cell_y + ny / 2))
    return (i, j) if 0 <= i < nx and 0 <= j < ny else (-1, -1)


@njit(cache=True, nogil=True)
def _gather(
    grid: npt.NDArray[np.float64],
    uvw: npt.NDArray[np.float64],
    wavenumber: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float32],
    cell_x: float,
    cell_y: float,
) -> None:  # pragma: no cover - compiled
    for row in range(uvw.shape[0]):
        for channel in range(wavenumber.size):
            omega = weight[row, channel]
            if omega <= 0:
                continue
            u, v = uvw[row, 0] * wavenumber[channel], uvw[row, 1] * wavenumber[channel]
            for sign in (1.0, -1.0):
                i, j = _cell(sign * u, sign * v, grid, cell_x, cell_y)
                if i >= 0:
                    grid[i, j] += omega


@njit(cache=True, nogil=True)
def _apply(
    out: npt.NDArray[np.float32],
    grid: npt.NDArray[np.float64],
    uvw: npt.NDArray[np.float64],
    wavenumber: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float32],
    cell_x: float,
    cell_y: float,
    constant: float,
    factor: float,
) -> None:  # pragma: no cover - compiled
    for row in range(uvw.shape[0]):
        for channel in range(wavenumber.size):
            u, v = uvw[row, 0] * wavenumber[channel], uvw[row, 1] * wavenumber[channel]
            i, j = _cell(u, v, grid, cell_x, cell_y)
            if i >= 0 and weight[row, channel] > 0:
                out[row, channel] = weight[row, channel] / (constant + grid[i, j] * factor)
