"""From visibilities to images and back, by ducc0's w-gridder (Arras et al. 2021, A&A 646, A58).

Everything is computed in double precision: sums of blocks then agree to about 1e-14 of the peak however
many threads the gridder uses, and exactly with one. The model of the measurement is that of CASA,

    V(u, v, w) = Σ I(l, m) exp(+2πi (u l + v m + w (n - 1)) / λ),    n = sqrt(1 - l² - m²)

with l to the east, m to the north and I in Jy/pixel (no division by n: a component is a flux, not a
surface brightness).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ducc0.wgridder.experimental import dirty2vis, vis2dirty

from parallactic.kernels.imaging.geometry import ImageGeometry
from parallactic.kernels.imaging.visibilities import Visibilities

__all__ = ["EPSILON", "dirty_image", "predict", "psf_image", "residual_image"]

EPSILON = 1e-5
"""Accuracy asked of the gridder, in the sense of ducc0 (rms error relative to the rms of the image)."""


def dirty_image(
    vis: Visibilities,
    weight: npt.NDArray[np.float32],
    geometry: ImageGeometry,
    *,
    epsilon: float = EPSILON,
    threads: int = 1,
) -> npt.NDArray[np.float64]:
    """Grid the visibilities into an image that is not yet divided by the sum of weights.

    Parameters
    ----------
    vis
        The block.
    weight
        Imaging weights; shape (row, channel).
    geometry
        The image.
    epsilon
        Accuracy, from 2e-13 to 1e-1.
    threads
        Threads to use.

    Returns
    -------
    ndarray
        Jy times weight; shape (nx, ny), float64. Images of several blocks add up; divided by the sum of
        all weights they are in Jy/beam.
    """
    return _grid(vis, vis.values.astype(np.complex128), weight, geometry, epsilon, threads)


def psf_image(
    vis: Visibilities,
    weight: npt.NDArray[np.float32],
    geometry: ImageGeometry,
    *,
    epsilon: float = EPSILON,
    threads: int = 1,
) -> npt.NDArray[np.float64]:
    """Grid a source of 1 Jy at the phase centre; parameters and result as of `dirty_image`."""
    return _grid(vis, np.ones(weight.shape, np.complex128), weight, geometry, epsilon, threads)


def predict(
    model: npt.NDArray[np.float64],
    uvw: npt.NDArray[np.float64],
    frequency: npt.NDArray[np.float64],
    geometry: ImageGeometry,
    *,
    weight: npt.NDArray[np.float32] | None = None,
    epsilon: float = EPSILON,
    threads: int = 1,
) -> npt.NDArray[np.complex128]:
    """Compute the visibilities of a model image.

    Parameters
    ----------
    model
        Jy/pixel; shape (nx, ny).
    uvw
        Metres; shape (row, 3).
    frequency
        Hz; shape (channel,).
    geometry
        The image.
    weight
        If given, nothing is computed where it is zero; shape (row, channel).
    epsilon, threads
        As for `dirty_image`.

    Returns
    -------
    ndarray
        Jy; shape (row, channel), complex128. Zero where `weight` is zero.
    """
    if uvw.shape[0] == 0 or not model.any():
        return np.zeros((uvw.shape[0], frequency.size), np.complex128)
    image = np.zeros(geometry.gridded)
    image[geometry.window] = model
    mask = None if weight is None else (weight > 0).astype(np.uint8)
    how = _gridder(uvw, frequency, geometry, epsilon, threads)
    predicted: npt.NDArray[np.complex128] = dirty2vis(dirty=image, mask=mask, **how)
    return predicted


def residual_image(
    vis: Visibilities,
    weight: npt.NDArray[np.float32],
    model: npt.NDArray[np.float64],
    geometry: ImageGeometry,
    *,
    epsilon: float = EPSILON,
    threads: int = 1,
) -> npt.NDArray[np.float64]:
    """Grid the visibilities minus those of a model; parameters as of `dirty_image` and `predict`."""
    predicted = predict(
        model, vis.uvw, vis.frequency, geometry, weight=weight, epsilon=epsilon, threads=threads
    )
    return _grid(vis, np.subtract(vis.values, predicted, out=predicted), weight, geometry, epsilon, threads)


def _grid(
    vis: Visibilities,
    values: npt.NDArray[np.complex128],
    weight: npt.NDArray[np.float32],
    geometry: ImageGeometry,
    epsilon: float,
    threads: int,
) -> npt.NDArray[np.float64]:
    if not weight.any():
        return np.zeros(geometry.shape)
    nx, ny = geometry.gridded
    how = _gridder(vis.uvw, vis.frequency, geometry, epsilon, threads)
    image: npt.NDArray[np.float64] = vis2dirty(
        vis=values, wgt=weight.astype(np.float64), npix_x=nx, npix_y=ny, **how
    )
    return np.ascontiguousarray(image[geometry.window])


def _gridder(
    uvw: npt.NDArray[np.float64],
    frequency: npt.NDArray[np.float64],
    geometry: ImageGeometry,
    epsilon: float,
    threads: int,
) -> dict[str, Any]:
    """Return what ducc0 is told in both directions, so that one is the adjoint of the other."""
    return {
        "uvw": np.ascontiguousarray(uvw, np.float64),
        "freq": np.ascontiguousarray(frequency, np.float64),
        "pixsize_x": geometry.cell_x,
        "pixsize_y": geometry.cell_y,
        "epsilon": epsilon,
        "do_wgridding": True,
        "nthreads": threads,
        "flip_v": True,
        "divide_by_n": False,
    }
