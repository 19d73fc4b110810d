"""The parameters of tclean, checked and in base units, before any data are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from parallactic.errors import InvalidSpec
from parallactic.kernels.deconvolution import CleanControl
from parallactic.kernels.imaging import ImageGeometry, Weighting
from parallactic.tasks.quantity import quantity

__all__ = [
    "DATA_COLUMNS",
    "DataColumn",
    "Deconvolver",
    "Gridder",
    "SaveModel",
    "Settings",
    "SpecMode",
    "UseMask",
    "settings",
]

SpecMode = Literal["mfs", "cube"]
Gridder = Literal["wgridder", "standard", "widefield", "wproject", "mosaic", "awproject"]
Deconvolver = Literal["hogbom", "clark", "multiscale", "mtmfs"]
UseMask = Literal["user", "pb", "auto-multithresh"]
DataColumn = Literal["corrected", "data", "model"]
SaveModel = Literal["none", "modelcolumn", "virtual"]

DATA_COLUMNS = {"corrected": "CORRECTED_DATA", "data": "DATA", "model": "MODEL_DATA"}

_NOT_YET: dict[str, tuple[Any, str]] = {
    "specmode": ("mfs", "only specmode='mfs' is there"),
    "deconvolver": ("hogbom", "only deconvolver='hogbom' is there"),
    "usemask": ("user", "only usemask='user' is there"),
    "stokes": ("I", "only stokes='I' is there"),
    "uvtaper": ((), "leave uvtaper empty"),
    "scales": ((), "leave scales empty"),
    "nterms": (1, "only nterms=1 is there"),
    "start": ("", "it belongs to cubes, which are not there either"),
    "width": ("", "it belongs to cubes, which are not there either"),
    "nchan": (-1, "it belongs to cubes, which are not there either"),
    "outframe": ("", "images keep the frequency frame of the data"),
    "restart": (False, "give a new imagename"),
}
"""What CASA's tclean takes and this one cannot do yet: the value it must have, and what to do instead."""

_STOKES = (
    "I",
    "Q",
    "U",
    "V",
    "IQ",
    "UV",
    "IV",
    "QU",
    "IQUV",
    "RR",
    "LL",
    "RRLL",
    "XX",
    "YY",
    "XXYY",
    "pseudoI",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to image, in base units.

    Parameters
    ----------
    geometry
        Size and cell of the image.
    weighting, robust
        The scheme of weights, and Briggs's parameter.
    control
        The limits of cleaning.
    psfcutoff
        Level that bounds the main lobe to which the beam is fitted.
    pblimit
        Level of the primary beam below which images are blank; negative: none is.
    restfreq
        Hz, or None: the frequency of the image.
    """

    geometry: ImageGeometry
    weighting: Weighting
    robust: float
    control: CleanControl
    psfcutoff: float
    pblimit: float
    restfreq: float | None


def settings(
    *,
    imsize: int | Sequence[int],
    cell: str | float | Sequence[str | float],
    weighting: Weighting,
    robust: float,
    niter: int,
    gain: float,
    threshold: str | float,
    nsigma: float,
    cycleniter: int,
    cyclefactor: float,
    minpsffraction: float,
    maxpsffraction: float,
    psfcutoff: float,
    pblimit: float,
    restfreq: str | float,
    gridder: str,
    **others: Any,
) -> Settings:
    """Check the parameters of a call, by the names of tclean, and turn them into base units.

    Raises
    ------
    InvalidSpec
        If one is out of range, or asks for what is not there yet.
    """
    _check_not_yet(others)
    if gridder in ("mosaic", "awproject"):
        raise InvalidSpec(
            f"gridder={gridder!r} is not there: it corrects for the primary beam while gridding. "
            "Use gridder='wgridder', and pbcor=True for a single pointing."
        )
    if not 0.0 < psfcutoff < 1.0:
        raise InvalidSpec(f"psfcutoff={psfcutoff} must lie between 0 and 1.")
    if pblimit >= 1.0:
        raise InvalidSpec(f"pblimit={pblimit} must be below 1; a negative one blanks nothing.")
    if not -2.0 <= robust <= 2.0:
        raise InvalidSpec(f"robust={robust} must lie between -2 (nearly uniform) and 2 (nearly natural).")
    control = CleanControl(
        niter=niter,
        gain=gain,
        threshold=quantity(threshold, "flux density"),
        nsigma=nsigma,
        cycleniter=cycleniter,
        cyclefactor=cyclefactor,
        minpsffraction=minpsffraction,
        maxpsffraction=maxpsffraction,
    )
    rest = quantity(restfreq, "frequency") if restfreq != "" else None
    if rest is not None and rest <= 0:
        raise InvalidSpec(f"restfreq={restfreq!r} must be positive.")
    return Settings(_geometry(imsize, cell), weighting, robust, control, psfcutoff, pblimit, rest)


def _check_not_yet(given: dict[str, Any]) -> None:
    stokes = given.get("stokes", "I")
    if stokes not in _STOKES:
        raise InvalidSpec(f"stokes={stokes!r} is unknown; write stokes='I'.")
    for name, (only, advice) in _NOT_YET.items():
        value = given.get(name, only)
        if value != only and not (only == () and not value):
            raise InvalidSpec(f"tclean cannot do {name}={value!r} yet: {advice}.")


def _geometry(imsize: int | Sequence[int], cell: str | float | Sequence[str | float]) -> ImageGeometry:
    sizes = _pair(imsize, "imsize")
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidSpec(f"imsize={imsize!r} must be a positive whole number of pixels, or two of them.")
    cells = [quantity(item, "angle", default="arcsec") for item in _pair(cell, "cell")]
    for radians in cells:
        if radians <= 0:
            raise InvalidSpec(f"cell={cell!r} must be a positive angle, such as '0.5arcsec', or two of them.")
    return ImageGeometry(sizes[0], sizes[1], cells[0], cells[1])


def _pair(value: Any, name: str) -> tuple[Any, Any]:
    items = list(value) if isinstance(value, list | tuple) else [value]
    if len(items) not in (1, 2):
        raise InvalidSpec(f"{name}={value!r} must be one value for both axes, or two, not {len(items)}.")
    return items[0], items[-1]
