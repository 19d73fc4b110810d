"""The main lobe of a point spread function: its elliptical Gaussian and its sidelobes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging.geometry import ImageGeometry

__all__ = ["Beam", "beam_image", "fit_beam", "sidelobe_level"]

_FWHM = 4.0 * math.log(2.0)
_SAMPLES = 3000
"""Points wanted in the main lobe; a coarser one is interpolated (a beam of 3 pixels has only some 7)."""


@dataclass(frozen=True, slots=True)
class Beam:
    """An elliptical Gaussian of peak 1.

    Parameters
    ----------
    major, minor
        Full widths at half maximum, radians.
    angle
        Position angle of the major axis from north through east, radians, in (-π/2, π/2].
    """

    major: float
    minor: float
    angle: float

    def area(self, geometry: ImageGeometry) -> float:
        """Return the integral of the beam in pixels: Jy/beam = Jy/pixel times this."""
        return math.pi * self.major * self.minor / _FWHM / geometry.pixel_area


def fit_beam(psf: npt.NDArray[np.float64], geometry: ImageGeometry, cutoff: float = 0.35) -> Beam:
    """Fit an elliptical Gaussian of peak 1 to the main lobe by least squares.

    The main lobe is what lies above `cutoff` and is connected with the centre.

    Parameters
    ----------
    psf
        Normalised to 1 at ``geometry.centre``; shape (nx, ny).
    geometry
        That of the PSF.
    cutoff
        Level that bounds the main lobe, between 0 and 1 (CASA's ``psfcutoff``).

    Raises
    ------
    InvalidSpec
        If `cutoff` is not between 0 and 1, or the main lobe reaches the edge of the image.
    """
    if not 0.0 < cutoff < 1.0:
        raise InvalidSpec(f"psfcutoff={cutoff} must lie between 0 and 1.")
    unit = math.sqrt(geometry.pixel_area)
    east, north, level = _main_lobe(psf, geometry, cutoff)
    x, y = east / unit, north / unit
    # Start from the Gaussian that fits the logarithm, a linear problem; then fit the lobe itself.
    design = np.stack([x * x, 2 * x * y, y * y], axis=1) * level[:, None]
    start, *_ = np.linalg.lstsq(design, -level * np.log(level), rcond=None)

    def misfit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.exp(-(p[0] * x * x + 2 * p[1] * x * y + p[2] * y * y)) - level, np.float64)

    found = optimize.least_squares(misfit, start, method="lm")
    a, b, c = found.x
    try:
        low, high = np.linalg.eigvalsh([[a, b], [b, c]])
        major, minor = unit * math.sqrt(_FWHM / low), unit * math.sqrt(_FWHM / high)
    except ValueError:
        raise InvalidSpec(
            "the main lobe of the point spread function is not peaked along both axes, so no beam can be "
            "fitted; image more data, or use a smaller cell."
        ) from None
    # x is east and y north, so that the angle of the major axis is from north through east.
    angle = 0.5 * math.atan2(-2 * b, a - c) if (b or a != c) else 0.0
    return Beam(major, minor, _within_half_turn(angle))


def _within_half_turn(angle: float) -> float:
    return angle - math.pi * math.ceil(angle / math.pi - 0.5)


def _main_lobe(
    psf: npt.NDArray[np.float64], geometry: ImageGeometry, cutoff: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return offsets east and north (radians) and levels of the main lobe, finely sampled."""
    cx, cy = geometry.centre
    labels, _ = ndimage.label(psf > cutoff)
    if labels[cx, cy] == 0:
        raise InvalidSpec("the point spread function has no peak at the centre; is it normalised?")
    lobe_mask = labels == labels[cx, cy]
    lobe = ndimage.find_objects(lobe_mask.astype(np.intp))[0]
    margin = 8  # so that the ends of the splines do not matter
    window = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in lobe)
    if any(s.start == 0 or s.stop == n for s, n in zip(lobe, psf.shape, strict=True)):
        raise InvalidSpec(
            "the main lobe of the point spread function reaches the edge of the image; "
            "use more pixels or a larger cell."
        )
    patch = psf[window]
    fine = max(1, math.ceil(math.sqrt(_SAMPLES / np.count_nonzero(lobe_mask))))
    ox, oy = cx - window[0].start, cy - window[1].start
    # The fine grid has a point on the centre, so that the peak stays exactly 1.
    px = np.arange(-ox * fine, (patch.shape[0] - 1 - ox) * fine + 1) / fine
    py = np.arange(-oy * fine, (patch.shape[1] - 1 - oy) * fine + 1) / fine
    gx, gy = np.meshgrid(px, py, indexing="ij")
    values = (
        ndimage.map_coordinates(patch, [gx + ox, gy + oy], order=5, mode="nearest") if fine > 1 else patch
    )
    inner, _ = ndimage.label(values > cutoff)
    inside = inner == inner[ox * fine, oy * fine]
    return -gx[inside] * geometry.cell_x, gy[inside] * geometry.cell_y, values[inside]


def beam_image(beam: Beam, geometry: ImageGeometry) -> npt.NDArray[np.float64]:
    """Return the beam about the centre of an image; shape (nx, ny), peak 1."""
    cx, cy = geometry.centre
    east = -(np.arange(geometry.nx) - cx)[:, None] * geometry.cell_x
    north = (np.arange(geometry.ny) - cy)[None, :] * geometry.cell_y
    along = east * math.sin(beam.angle) + north * math.cos(beam.angle)
    across = east * math.cos(beam.angle) - north * math.sin(beam.angle)
    return np.exp(-_FWHM * ((along / beam.major) ** 2 + (across / beam.minor) ** 2))


def sidelobe_level(psf: npt.NDArray[np.float64], beam: Beam, geometry: ImageGeometry) -> float:
    """Return the strongest sidelobe: the deepest dip, or what is left highest without the main lobe."""
    without = psf - beam_image(beam, geometry)
    return float(max(abs(psf.min()), without.max()))
