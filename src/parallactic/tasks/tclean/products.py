"""The images on disk: FITS with world coordinates, beam and history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.time import Time

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging import Beam
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.staging import check_output, staged
from parallactic.tasks.tclean.plan import Plan
from parallactic.tasks.tclean.region import ImageFrame

__all__ = ["Products", "product_names", "write_products"]

_SPECSYS = {
    0: "SOURCE", 1: "LSRK", 2: "LSRD", 3: "BARYCENT", 4: "GEOCENTR", 5: "TOPOCENT", 6: "GALACTOC",
    7: "LOCALGRP", 8: "CMBDIPOL",
}  # fmt: skip
"""FITS's names of casacore's frequency frames."""

_UNITS = {"model": "Jy/pixel", "psf": "", "pb": "", "mask": "", "sumwt": ""}
"""Units of the products that are not in Jy/beam."""

_BEAMED = ("image", "image.pbcor", "residual", "psf")
"""Products whose header carries the beam."""


@dataclass(frozen=True, slots=True)
class Products:
    """What is common to all images of a run.

    Parameters
    ----------
    imagename
        The beginning of every path.
    frame
        Where on the sky they are.
    plan
        What was imaged.
    beam
        The restoring beam.
    restfreq
        Hz.
    history
        Lines for HISTORY.
    """

    imagename: str
    frame: ImageFrame
    plan: Plan
    beam: Beam
    restfreq: float
    history: Sequence[str]


def product_names(imagename: str, *, pbcor: bool) -> dict[str, Path]:
    """Return the path of every product, after checking that each can be written.

    Raises
    ------
    InvalidSpec
        If one exists, or the folder does not, or may not be written.
    """
    if not imagename.strip() or imagename.endswith("/"):
        raise InvalidSpec(
            f"imagename={imagename!r} must end in a name, to which .image.fits and so on are added."
        )
    kinds = ["psf", "residual", "model", "image", "pb", "mask", "sumwt"] + ["image.pbcor"] * pbcor
    return {kind: check_output(f"{imagename}.{kind}.fits", "imagename") for kind in kinds}


def write_products(
    images: Mapping[str, npt.NDArray[np.float64]],
    paths: Mapping[str, Path],
    common: Products,
    ms: MeasurementSet,
) -> None:
    """Write all images aside and rename them together at the end, so that a failure leaves none.

    Parameters
    ----------
    images
        By kind; shape (nx, ny), or (1, 1) for the sum of weights. NaN is blank.
    paths
        By kind; see `product_names`.
    common
        The rest of their headers.
    ms
        The data, for telescope, observer and date.

    Raises
    ------
    ParallacticError
        If the disk is full or refuses.
    """
    with _all_staged(paths) as partials:
        for kind, image in images.items():
            header = _header(kind, common, ms)
            data = np.asarray(image.T, dtype=">f4")[np.newaxis, np.newaxis]
            fits.PrimaryHDU(data, header).writeto(partials[kind])


@contextmanager
def _all_staged(paths: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(staged(path, "imagename")) for kind, path in paths.items()}


def _header(kind: str, common: Products, ms: MeasurementSet) -> fits.Header:
    header = fits.Header()
    header["BTYPE"] = "Intensity"
    header["BUNIT"] = _UNITS.get(kind, "Jy/beam")
    if kind in _BEAMED:
        header["BMAJ"] = math.degrees(common.beam.major), "clean beam, degrees"
        header["BMIN"] = math.degrees(common.beam.minor)
        header["BPA"] = math.degrees(common.beam.angle), "from north through east"
    header["OBJECT"] = ", ".join(ms.fields[field].name for field in common.plan.fields)
    for card, value, comment in (*_axes(kind, common), *_circumstances(ms)):
        header[card] = value, comment
    header["ORIGIN"] = "Parallactic"
    for line in common.history:
        header.add_history(line)
    return header


def _axes(kind: str, common: Products) -> Iterable[tuple[str, Any, str]]:
    plan, geometry = common.plan, common.frame.geometry
    # The sum of weights is one number for the whole image: its only pixel lies on the phase centre.
    centre = (0, 0) if kind == "sumwt" else geometry.centre
    ra, dec = (math.degrees(angle) for angle in common.frame.centre)
    yield "RADESYS", plan.frame, ""
    if plan.frame == "FK5":
        yield "EQUINOX", 2000.0, ""
    yield "LONPOLE", 180.0, ""
    yield "LATPOLE", dec, ""
    axes = (
        ("RA---SIN", ra % 360.0, -math.degrees(geometry.cell_x), centre[0] + 1, "deg"),
        ("DEC--SIN", dec, math.degrees(geometry.cell_y), centre[1] + 1, "deg"),
        ("STOKES", 1.0, 1.0, 1, ""),
        ("FREQ", plan.frequency, plan.bandwidth, 1, "Hz"),
    )
    for number, (name, value, step, pixel, unit) in enumerate(axes, start=1):
        yield f"CTYPE{number}", name, ""
        yield f"CRVAL{number}", value, ""
        yield f"CDELT{number}", step, ""
        yield f"CRPIX{number}", float(pixel), ""
        yield f"CUNIT{number}", unit, ""
    yield "RESTFRQ", common.restfreq, "rest frequency, Hz"
    yield "SPECSYS", _SPECSYS.get(plan.spectral_frame, "TOPOCENT"), "frame of the frequencies"


def _circumstances(ms: MeasurementSet) -> Iterable[tuple[str, Any, str]]:
    if ms.observations:
        yield "TELESCOP", ms.observations[0].telescope, ""
        yield "INSTRUME", ms.observations[0].telescope, ""
        yield "OBSERVER", ms.observations[0].observer, ""
    first = Time(float(ms.index.time.min()) / 86400.0, format="mjd", scale="utc")
    yield "DATE-OBS", first.isot, ""
    yield "MJD-OBS", first.mjd, "the same, days"
    yield "TIMESYS", "UTC", ""
