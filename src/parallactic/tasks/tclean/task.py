"""The task: an image, dirty or cleaned, of a MeasurementSet."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from parallactic.kernels.deconvolution import peak, restore, robust_rms
from parallactic.kernels.imaging import Beam, Weighting, fit_beam, primary_beam, sidelobe_level
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.selection import Selection
from parallactic.tasks.base import ExecutorLike, SelectionParameters, TaskResult, task, using
from parallactic.tasks.quantity import Angle, FluxDensity
from parallactic.tasks.tclean.antenna import dish
from parallactic.tasks.tclean.clean import Cleaned, clean
from parallactic.tasks.tclean.imager import Imager
from parallactic.tasks.tclean.plan import Plan, plan_imaging
from parallactic.tasks.tclean.products import Products, product_names, write_products
from parallactic.tasks.tclean.region import ImageFrame, clean_mask
from parallactic.tasks.tclean.savemodel import save_model
from parallactic.tasks.tclean.settings import (
    DATA_COLUMNS,
    DataColumn,
    Deconvolver,
    Gridder,
    SaveModel,
    Settings,
    SpecMode,
    UseMask,
    settings,
)

__all__ = ["ImagingSummary", "tclean"]

Image = npt.NDArray[np.float64]

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class ImagingSummary(TaskResult):
    """What tclean did.

    Parameters
    ----------
    peak
        Highest pixel of the restored image, Jy/beam.
    rms
        Robust rms (1.4826 MAD) of the residual image, Jy/beam.
    model_flux
        Sum of the components, Jy.
    beam
        Major and minor axis in arcsec, position angle in degrees.
    stopped
        Why cleaning ended; empty if there was none.
    """

    peak: float = 0.0
    rms: float = 0.0
    model_flux: float = 0.0
    beam: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stopped: str = ""


@task(check=settings)
def tclean(
    vis: str,
    imagename: str,
    imsize: int | list[int] = [100],  # noqa: B006 - CASA's default, never changed
    cell: Angle | list[Angle] = "1arcsec",
    *,
    stokes: str = "I",
    specmode: SpecMode = "mfs",
    gridder: Gridder = "wgridder",
    weighting: Weighting = "natural",
    robust: float = 0.5,
    uvtaper: str | list[str] = "",
    deconvolver: Deconvolver = "hogbom",
    scales: list[int] = [],  # noqa: B006 - never changed
    nterms: int = 1,
    niter: int = 0,
    gain: float = 0.1,
    threshold: FluxDensity = 0.0,
    nsigma: float = 0.0,
    cycleniter: int = -1,
    cyclefactor: float = 1.0,
    minpsffraction: float = 0.05,
    maxpsffraction: float = 0.8,
    usemask: UseMask = "user",
    mask: str | list[str] = "",
    pblimit: float = 0.2,
    pbcor: bool = False,
    savemodel: SaveModel = "none",
    psfcutoff: float = 0.35,
    datacolumn: DataColumn = "corrected",
    phasecenter: str | int = "",
    start: str | int = "",
    width: str | int = "",
    nchan: int = -1,
    restfreq: str | float = "",
    outframe: str = "",
    restart: bool = False,
    executor: ExecutorLike = None,
    **selection: Unpack[SelectionParameters],
) -> ImagingSummary:
    """Image a MeasurementSet, and clean the image.

    Writes ``<imagename>.{psf,residual,model,image,pb,mask,sumwt}.fits``, and ``.image.pbcor.fits`` with
    `pbcor`. The visibilities are read once, in blocks, and stay with the workers; every worker grids whole
    blocks in double precision and the partial images are added in a fixed order, so that every backend and
    any number of workers give the same image. Autocorrelations are left out; a flag on either parallel hand
    drops both.

    Parameters
    ----------
    vis
        The MeasurementSet or multi-MS.
    imagename
        The beginning of the paths of all products. None of them may exist.
    imsize
        Pixels along right ascension and declination; one number for both.
    cell
        Size of a pixel: '0.5arcsec'; two for unequal axes. A bare number is in arcsec.
    stokes
        'I', the mean of RR and LL or of XX and YY.
    specmode
        'mfs': one image of all channels together.
    gridder
        'wgridder': exact for wide fields, and quicker than the approximations; 'standard', 'widefield' and
        'wproject' are taken for it.
    weighting
        'natural', 'uniform' or 'briggs'.
    robust
        Briggs's parameter, from -2 (nearly uniform) to 2 (nearly natural).
    uvtaper
        Not there yet.
    deconvolver
        'hogbom'.
    scales
        Not there yet.
    nterms
        Not there yet.
    niter
        The most iterations of CLEAN; 0 makes the dirty image.
    gain
        Part of the peak that one iteration subtracts.
    threshold
        Stop at this peak residual: '0.1mJy'. A bare number is in Jy.
    nsigma
        Stop at this many times the robust rms of the residual image.
    cycleniter
        The most iterations between two major cycles; -1 for no limit.
    cyclefactor
        A minor cycle stops at the peak times the sidelobe level of the PSF times this.
    minpsffraction
        The least that the product of sidelobe level and cyclefactor may be.
    maxpsffraction
        The most that the product of sidelobe level and cyclefactor may be.
    usemask
        'user': the mask given by `mask`.
    mask
        Where components may lie: a region such as 'circle[[128pix,128pix],6pix]' or
        'box[[10h08m01s,7d30m10s],[10h07m59s,7d30m20s]]', a FITS image, or a list of them. Empty: everywhere.
    pblimit
        Images are blank, and nothing is cleaned, where the primary beam is below this. -1: nowhere.
    pbcor
        Write the image divided by the primary beam too.
    savemodel
        'modelcolumn' writes the visibilities of the model into MODEL_DATA, for the rows and channels imaged;
        'virtual' does the same.
    psfcutoff
        The beam is fitted to the part of the main lobe above this level.
    datacolumn
        'corrected', or 'data' or 'model'. Without CORRECTED_DATA, 'corrected' takes DATA and says so.
    phasecenter
        Centre of the image: a field, or 'J2000 10h08m00.016s 7d30m16.55s'. Empty: the first field imaged.
    start
        Not there yet.
    width
        Not there yet.
    nchan
        Not there yet.
    restfreq
        Rest frequency for the header. Empty: the centre of the band.
    outframe
        Not there yet; images keep the frequency frame of the data.
    restart
        Not there yet.
    executor
        Where to run: an executor, or the name of a backend.

    Returns
    -------
    ImagingSummary
        Counts, beam, peak, noise, products.

    Raises
    ------
    InvalidSpec
        If a parameter is wrong, nothing is selected, or a product exists.
    ParallacticError
        If all the data are flagged, or the work or the writing failed.
    """
    given = {name: value for name, value in locals().items() if name not in ("executor", "selection")}
    how = settings(**given)
    paths = product_names(imagename, pbcor=pbcor)
    ms = MeasurementSet(vis)
    column, warnings = _column(ms, datacolumn)
    selected = ms.select(Selection(**selection))
    plan = plan_imaging(ms, selected, how.geometry, phasecenter)
    frame = ImageFrame(how.geometry, plan.centre)
    aperture, dish_warnings = dish(ms, _antennas(ms, plan))
    beam_power = primary_beam(how.geometry, plan.frequency, aperture.diameter, aperture.blockage)
    seen = beam_power >= how.pblimit
    allowed = clean_mask(mask, frame) & seen
    warnings += [*plan.warnings, *dish_warnings, *_remarks(gridder, savemodel)]
    for warning in warnings:
        _log.warning("%s", warning)
    if savemodel != "none":
        ms.require_writable("MODEL_DATA")
    with using(executor) as ex, Imager(ex, plan, how) as imager:
        imager.load(ms, column)
        psf, dirty, totals = imager.psf_and_dirty()
        beam = fit_beam(psf, how.geometry, how.psfcutoff)
        sidelobe = sidelobe_level(psf, beam, how.geometry)
        cleaned = clean(dirty, psf, allowed, sidelobe, how.control, imager.residual)
        warnings += _concerns(cleaned, how)
        if savemodel != "none":
            save_model(ex, ms, plan, cleaned.model, how.geometry)
    restored = restore(cleaned.model, cleaned.residual, beam, how.geometry)
    images = _images(psf, cleaned, restored, beam_power, allowed, seen, totals.weight, pbcor=pbcor)
    history = [f"tclean {name}={value!r}" for name, value in (given | dict(selection)).items()]
    common = Products(imagename, frame, plan, beam, how.restfreq or plan.frequency, history)
    write_products(images, paths, common, ms)
    return _summary(how, plan, cleaned, restored, seen, beam, totals.visibilities, warnings, paths)


def _column(ms: MeasurementSet, datacolumn: str) -> tuple[str, list[str]]:
    """Return the column to image, and what to say about it."""
    if datacolumn == "corrected" and "CORRECTED_DATA" not in ms.columns:
        ms.require("DATA")
        return "DATA", [f"{ms.path} has no CORRECTED_DATA; DATA is imaged."]
    ms.require(DATA_COLUMNS[datacolumn])
    return DATA_COLUMNS[datacolumn], []


def _antennas(ms: MeasurementSet, plan: Plan) -> list[int]:
    rows = np.concatenate([block.rows[0] for block in plan.blocks])
    return [int(i) for i in np.union1d(ms.index.antenna1[rows], ms.index.antenna2[rows])]


def _remarks(gridder: str, savemodel: str) -> list[str]:
    remarks = []
    if gridder != "wgridder":
        remarks.append(f"gridder={gridder!r} is done by the w-gridder, which is exact.")
    if savemodel == "virtual":
        remarks.append("savemodel='virtual' writes the column MODEL_DATA.")
    return remarks


def _concerns(cleaned: Cleaned, how: Settings) -> list[str]:
    """Say aloud what would otherwise pass for a cleaned image."""
    if how.control.niter and not cleaned.iterations:
        concern = f"CLEAN made no iteration ({cleaned.stopped}); the image is the dirty one."
    elif cleaned.stopped == "divergence":
        concern = "CLEAN diverged: use a mask, a smaller gain, or a smaller cycleniter."
    else:
        return []
    _log.warning("%s", concern)
    return [concern]


def _images(
    psf: Image,
    cleaned: Cleaned,
    restored: Image,
    beam_power: Image,
    allowed: npt.NDArray[np.bool_],
    seen: npt.NDArray[np.bool_],
    weight: float,
    *,
    pbcor: bool,
) -> dict[str, Image]:
    def blanked(image: Image) -> Image:
        return np.where(seen, image, np.nan)

    images = {
        "psf": psf,
        "residual": blanked(cleaned.residual),
        "model": cleaned.model,
        "image": blanked(restored),
        "pb": blanked(beam_power),
        "mask": allowed.astype(np.float64),
        # CASA counts the weights of both hands.
        "sumwt": np.array([[2.0 * weight]]),
    }
    if pbcor:
        images["image.pbcor"] = blanked(restored / np.where(beam_power > 0, beam_power, np.nan))
    return images


def _summary(
    how: Settings,
    plan: Plan,
    cleaned: Cleaned,
    restored: Image,
    seen: npt.NDArray[np.bool_],
    beam: Beam,
    visibilities: int,
    warnings: Sequence[str],
    paths: dict[str, Any],
) -> ImagingSummary:
    arcsec = math.degrees(1.0) * 3600.0
    counts = {
        "rows": plan.rows,
        "visibilities": plan.visibilities,
        "flagged": plan.visibilities - visibilities,
        "blocks": len(plan.blocks),
        "iterations": cleaned.iterations,
        "major cycles": len(cleaned.cycles),
    }
    return ImagingSummary(
        counts=counts,
        products=[str(path) for path in paths.values()],
        warnings=list(warnings),
        peak=float(restored[seen].max()) if seen.any() else peak(restored, seen),
        rms=robust_rms(cleaned.residual[seen]),
        model_flux=float(cleaned.model.sum()),
        beam=(beam.major * arcsec, beam.minor * arcsec, math.degrees(beam.angle)),
        stopped=cleaned.stopped if how.control.niter else "",
    )
