"""What a worker does in imaging: read a block, weigh it, grid it, subtract a model from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging import (
    ImageGeometry,
    Visibilities,
    Weighting,
    density,
    dirty_image,
    imaging_weight,
    psf_image,
    rephase,
    residual_image,
    stokes_i,
)
from parallactic.measurementset import MeasurementSet
from parallactic.tasks.tclean.plan import Band, Block
from parallactic.worker.namespace import find_worker

__all__ = ["Partial", "add", "block_density", "block_psf", "block_residual", "block_weight", "read_block"]

Image = npt.NDArray[np.float64]
Weighed = tuple[Visibilities, npt.NDArray[np.float32] | None]
"""A block and its imaging weights; None: the natural ones that it carries."""

_PIECE = 2**22
"""Visibilities (of two hands) read at a time, about 100 MB with flags and weights."""


@dataclass(frozen=True, slots=True)
class Partial:
    """One block's share of an image, or of the weighting grid.

    Parameters
    ----------
    image
        Not divided by the weights; shape (nx, ny), float64.
    weight
        Sum of its weights.
    visibilities
        How many of them are not flagged.
    """

    image: Image
    weight: float
    visibilities: int


def read_block(block: Block, ms: MeasurementSet, column: str, centre: tuple[float, float]) -> Visibilities:
    """Read a block as Stokes I about the phase centre of the image; rows without data are dropped.

    Raises
    ------
    InvalidSpec
        If rows of the same baseline and time disagree in UVW.
    """
    first = block.rows[0]
    channels = sum(band.channels.size for band in block.bands)
    uvw = np.asarray(ms.read(first, "UVW"), np.float64)
    values = np.empty((first.size, channels), np.complex64)
    weight = np.empty((first.size, channels), np.float32)
    start = 0
    for band, rows in zip(block.bands, block.rows, strict=True):
        if rows is not first and not np.array_equal(uvw, ms.read(rows, "UVW")):
            raise InvalidSpec(
                f"data descriptions {block.bands[0].ddid} and {band.ddid} of {ms.path} have the same "
                "baselines and times but different UVW; image them one by one, with spw=."
            )
        stop = start + band.channels.size
        _read_band(ms, column, band, rows, values[:, start:stop], weight[:, start:stop])
        start = stop
    frequency = np.concatenate([band.frequency for band in block.bands])
    fields = ms.index.field[first]
    for field in np.unique(fields):
        here = np.flatnonzero(fields == field)
        ra, dec = ms.fields[int(field)].direction
        if (float(ra), float(dec)) != centre:
            old = (float(ra), float(dec))
            uvw[here], values[here] = rephase(uvw[here], frequency, values[here], old, centre)
    return Visibilities(uvw, frequency, values, weight).without_empty_rows()


def _read_band(
    ms: MeasurementSet,
    column: str,
    band: Band,
    rows: npt.NDArray[np.int64],
    values: npt.NDArray[np.complex64],
    weight: npt.NDArray[np.float32],
) -> None:
    low, high = int(band.channels[0]), int(band.channels[-1]) + 1
    inner, hands = band.channels - low, list(band.hands)
    step = max(1, _PIECE // (high - low))
    for start in range(0, rows.size, step):
        piece = rows[start : start + step]
        data = ms.read(piece, column, slice(low, high))[:, inner][..., hands]
        flag = ms.flags(piece, slice(low, high))[:, inner][..., hands]
        both = ms.weights(piece, slice(low, high))[:, inner][..., hands]
        here = slice(start, start + piece.size)
        values[here], weight[here] = stokes_i(data, flag, both)


def block_density(vis: Visibilities, geometry: ImageGeometry) -> Partial:
    """Return the block's share of the density of weights."""
    return Partial(density(vis, geometry), *_totals(vis.weight))


def block_weight(
    vis: Visibilities, grid: Partial, geometry: ImageGeometry, scheme: Weighting, robust: float
) -> npt.NDArray[np.float32]:
    """Return the block's imaging weights, from the density of all the data."""
    return imaging_weight(vis, grid.image, geometry, scheme, robust)


def block_psf(unit: Weighed, geometry: ImageGeometry) -> Partial:
    """Return the block's share of the point spread function."""
    vis, weight = _weighed(unit)
    return Partial(psf_image(vis, weight, geometry, threads=_threads()), *_totals(weight))


def block_residual(unit: Weighed, model: Image | None, geometry: ImageGeometry) -> Partial:
    """Return the block's share of the residual image; of the dirty image if there is no model."""
    vis, weight = _weighed(unit)
    if model is None:
        image = dirty_image(vis, weight, geometry, threads=_threads())
    else:
        image = residual_image(vis, weight, model, geometry, threads=_threads())
    return Partial(image, *_totals(weight))


def add(parts: Sequence[Partial]) -> Partial:
    """Add the shares of several blocks, in their order: the sum has the same bits wherever it is made."""
    total = parts[0].image.copy()
    for part in parts[1:]:
        total += part.image
    return Partial(total, sum(part.weight for part in parts), sum(part.visibilities for part in parts))


def _totals(weight: npt.NDArray[np.float32]) -> tuple[float, int]:
    return float(np.sum(weight, dtype=np.float64)), int(np.count_nonzero(weight))


def _weighed(unit: Weighed) -> tuple[Visibilities, npt.NDArray[np.float32]]:
    vis, weight = unit
    return vis, vis.weight if weight is None else weight


def _threads() -> int:
    worker = find_worker()
    return worker.cores if worker else 1
