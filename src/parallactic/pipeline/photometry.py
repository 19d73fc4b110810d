"""Numbers out of images: peaks, noise, dynamic range, and point sources fitted with the beam."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from scipy.optimize import least_squares

from parallactic.errors import InvalidSpec

__all__ = ["FittedSource", "Image", "SkyImage"]

Image = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FittedSource:
    """A point source in an image: place in pixels (x, y from 0) and flux in Jy, with their errors."""

    x: float
    y: float
    flux: float
    flux_error: float
    position_error: float


@dataclass(frozen=True)
class SkyImage:
    """One plane of a FITS image on a SIN projection.

    Attributes
    ----------
    data
        (ny, nx) in Jy/beam; NaN where there is no image.
    cell
        Size of a pixel in arcseconds.
    centre
        Pixel (x, y), from 0, of the phase centre.
    beam
        Major and minor axis (FWHM, arcseconds) and position angle (degrees, north through east); None if
        unknown.
    ra, dec
        Of the phase centre, in degrees.
    frequency
        Of the plane, in Hz; NaN if unknown.
    """

    data: Image
    cell: float
    centre: tuple[float, float]
    beam: tuple[float, float, float] | None
    ra: float
    dec: float
    frequency: float

    @classmethod
    def read(cls, path: str | Path, stokes: int = 0) -> Self:
        """Read the first channel of plane `stokes` of a FITS image.

        Raises
        ------
        InvalidSpec
            If the file is not an image with square pixels on the sky.
        """
        with fits.open(path) as hdus:
            header, data = hdus[0].header, np.asarray(hdus[0].data, dtype=np.float64)
        if data.ndim == 4:
            axes = [str(header[f"CTYPE{axis}"]).split("-")[0] for axis in (3, 4)]
            data = data[0, stokes] if axes[0] == "STOKES" else data[stokes, 0]
        elif data.ndim == 3:
            data = data[stokes]
        if data.ndim != 2 or not np.isclose(-header["CDELT1"], header["CDELT2"]):
            raise InvalidSpec(f"{path} is not an image of the sky with square pixels.")
        known_beam = all(key in header for key in ("BMAJ", "BMIN", "BPA"))
        frequency_axis = [axis for axis in (3, 4) if str(header.get(f"CTYPE{axis}", "")).startswith("FREQ")]
        return cls(
            data=data,
            cell=float(header["CDELT2"]) * 3600.0,
            centre=(float(header["CRPIX1"]) - 1.0, float(header["CRPIX2"]) - 1.0),
            beam=(header["BMAJ"] * 3600.0, header["BMIN"] * 3600.0, float(header["BPA"]))
            if known_beam
            else None,
            ra=float(header["CRVAL1"]),
            dec=float(header["CRVAL2"]),
            frequency=float(header[f"CRVAL{frequency_axis[0]}"]) if frequency_axis else float("nan"),
        )

    def pixel(self, l: float, m: float) -> tuple[float, float]:  # noqa: E741
        """Return the pixel (x, y) of direction cosines `l`, `m`, given in arcseconds."""
        return self.centre[0] - l / self.cell, self.centre[1] + m / self.cell

    def radius(self) -> Image:
        """Return every pixel's distance from the phase centre in arcseconds, (ny, nx)."""
        y, x = np.indices(self.data.shape)
        return np.asarray(np.hypot(x - self.centre[0], y - self.centre[1]) * self.cell, dtype=np.float64)

    def peak(self) -> tuple[float, int, int]:
        """Return the largest value and its pixel (x, y)."""
        y, x = divmod(int(np.nanargmax(self.data)), self.data.shape[1])
        return float(self.data[y, x]), x, y

    def dynamic_range(self, beyond: float) -> tuple[float, float]:
        """Return peak / standard deviation, and the deviation itself, `beyond` arcseconds from the centre."""
        outside = self.data[(self.radius() > beyond) & np.isfinite(self.data)]
        if not outside.size:
            raise InvalidSpec(f"no pixel lies beyond {beyond} arcseconds; the image is smaller.")
        rms = float(outside.std())
        return self.peak()[0] / rms, rms

    def noise(self) -> float:
        """Return the robust standard deviation (1.4826 times the median absolute deviation) of the image."""
        values = self.data[np.isfinite(self.data)]
        return float(1.4826 * np.median(np.abs(values - np.median(values))))

    def fit(self, l: float, m: float) -> FittedSource:  # noqa: E741
        """Fit the beam, its height and place free, to the source near `l`, `m` (arcseconds).

        Least squares over the pixels within 0.6 of the beam's major axis, so that neighbours and sidelobes
        count little. The errors are those of Condon (1997, PASP 109, 166) for a point source.

        Raises
        ------
        InvalidSpec
            If the image has no beam or the source lies outside it.
        """
        if self.beam is None:
            raise InvalidSpec("the image has no beam to fit sources with.")
        x0, y0 = self.pixel(l, m)
        ny, nx = self.data.shape
        major, minor, angle = self.beam
        reach = 0.6 * major / self.cell
        if not (reach <= x0 < nx - reach and reach <= y0 < ny - reach):
            raise InvalidSpec(f"the source at l={l:.1f}, m={m:.1f} arcseconds lies outside the image.")
        rows, columns = np.mgrid[:ny, :nx]
        near = np.hypot(columns - x0, rows - y0) <= max(reach, 1.5)
        east, north = -columns[near] * self.cell, rows[near] * self.cell
        values = self.data[near]
        sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))

        def residual(guess: Image) -> Image:
            flux, px, py = guess
            de, dn = east + px * self.cell, north - py * self.cell
            along, across = de * sine + dn * cosine, de * cosine - dn * sine
            shape = np.exp(-4.0 * np.log(2.0) * ((along / major) ** 2 + (across / minor) ** 2))
            return np.asarray(flux * shape - values, dtype=np.float64)

        start = np.array([self.data[round(y0), round(x0)], x0, y0])
        flux, px, py = least_squares(residual, start, x_scale=[max(abs(start[0]), 1e-12), 0.1, 0.1]).x
        noise = self.noise()
        return FittedSource(
            x=float(px),
            y=float(py),
            flux=float(flux),
            flux_error=noise,
            position_error=float(
                noise / abs(flux) * np.sqrt(major * minor) / self.cell / np.sqrt(8 * np.log(2))
            ),
        )
