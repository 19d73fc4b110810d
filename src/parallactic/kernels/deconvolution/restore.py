"""The restored image: components seen through the clean beam, on top of what was not cleaned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve

from parallactic.kernels.imaging.beam import Beam, beam_image
from parallactic.kernels.imaging.geometry import ImageGeometry

__all__ = ["restore"]


def restore(
    model: npt.NDArray[np.float64],
    residual: npt.NDArray[np.float64],
    beam: Beam,
    geometry: ImageGeometry,
) -> npt.NDArray[np.float64]:
    """Convolve the model with the beam and add the residual.

    Parameters
    ----------
    model
        Jy/pixel; shape (nx, ny).
    residual
        Jy/beam; same shape.
    beam
        Its peak is 1, so that a component of 1 Jy shows as 1 Jy/beam.
    geometry
        The image.

    Returns
    -------
    ndarray
        Jy/beam; shape (nx, ny). Nothing wraps round the edges.
    """
    if not model.any():
        return residual.copy()
    # The kernel is centred and of odd size, so that the "same" part of the convolution is not shifted.
    size = ImageGeometry(geometry.nx | 1, geometry.ny | 1, geometry.cell_x, geometry.cell_y)
    blurred = fftconvolve(model, beam_image(beam, size), mode="same")
    return np.asarray(blurred + residual, np.float64)
