"""The visibilities of the model, written into MODEL_DATA for self-calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from parallactic.kernels.imaging import ImageGeometry, predict, rephase
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.columns import add_columns
from parallactic.tasks.base import run_units
from parallactic.tasks.tclean.plan import Block, Plan
from parallactic.worker.namespace import find_worker

__all__ = ["save_model"]

_COLUMN = "MODEL_DATA"

Unit = tuple[str, int, Sequence[Block], Sequence[npt.NDArray[np.complex64]]]
"""Path and number of a sub-MS, the blocks with rows in it, and their predicted visibilities."""


def save_model(
    ex: Any, ms: MeasurementSet, plan: Plan, model: npt.NDArray[np.float64], grid: ImageGeometry
) -> None:
    """Write the model of the rows and channels that were imaged, flagged ones included.

    The visibilities are predicted block by block, as the image was made, and stay in the data plane; then one
    task for each sub-MS writes them. Both parallel hands get Stokes I, cross hands zero.

    Raises
    ------
    StepFailed
        If units failed; it names them.
    """
    add_columns(ms, [_COLUMN])
    sent = ex.put(model) if hasattr(ex, "put") else model
    predicted = run_units(
        ex, predict_block, plan.blocks, ms, sent, grid, plan.centre, label="predict", futures=True
    )
    units = []
    for subset, path in enumerate(ms.subsets):
        here = [
            i for i, block in enumerate(plan.blocks) if any(part.size for part in _places(ms, block, subset))
        ]
        if here:
            units.append((path, subset, [plan.blocks[i] for i in here], [predicted[i] for i in here]))
    run_units(ex, write_subset, units, ms, label="write the model", writes=lambda unit: str(unit[0]))


def predict_block(
    block: Block,
    ms: MeasurementSet,
    model: npt.NDArray[np.float64],
    grid: ImageGeometry,
    centre: tuple[float, float],
) -> npt.NDArray[np.complex64]:
    """Return the model's visibilities about the fields' own phase centres; shape (row, all channels)."""
    rows = block.rows[0]
    frequency = np.concatenate([band.frequency for band in block.bands])
    uvw = np.asarray(ms.read(rows, "UVW"), np.float64)
    fields = ms.index.field[rows]
    directions = {
        int(i): (float(ms.fields[i].direction[0]), float(ms.fields[i].direction[1])) for i in set(fields)
    }
    nothing = np.zeros((rows.size, 0), np.complex64)
    for field, direction in directions.items():
        here = fields == field
        uvw[here], _ = rephase(uvw[here], frequency[:0], nothing[here], direction, centre)
    worker = find_worker()
    threads = worker.cores if worker else 1
    values = predict(model, uvw, frequency, grid, threads=threads).astype(np.complex64)
    for field, direction in directions.items():
        here = fields == field
        _, values[here] = rephase(uvw[here], frequency, values[here], centre, direction)
    return values


def write_subset(unit: Unit, ms: MeasurementSet) -> int:
    """Write one sub-MS's rows of the predicted blocks, and return how many there are."""
    _, subset, blocks, predicted = unit
    written = 0
    for block, values in zip(blocks, predicted, strict=True):
        start = 0
        for band, rows, places in zip(block.bands, block.rows, _places(ms, block, subset), strict=True):
            stop = start + band.channels.size
            mine = values[places, start:stop]
            correlations = ms.shape(band.ddid)[1]
            for first, last in _runs(band.channels):
                cells = np.zeros((places.size, last - first, correlations), np.complex64)
                cells[..., list(band.hands)] = mine[:, first:last, np.newaxis]
                channels = slice(int(band.channels[first]), int(band.channels[last - 1]) + 1)
                ms.write(subset, ms.index.row[rows[places]], _COLUMN, cells, channels)
            written += int(places.size)
            start = stop
    return written


def _places(ms: MeasurementSet, block: Block, subset: int) -> list[npt.NDArray[np.intp]]:
    """Return for each band which rows of the block lie in a sub-MS."""
    return [np.flatnonzero(ms.index.subset[rows] == subset) for rows in block.rows]


def _runs(channels: npt.NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """Return the places where unbroken runs of channels begin and end."""
    breaks = np.flatnonzero(np.diff(channels) > 1) + 1
    edges = [0, *breaks.tolist(), channels.size]
    return pairwise(edges)
