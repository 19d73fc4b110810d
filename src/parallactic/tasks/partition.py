"""``partition``: a MeasurementSet as a multi-MS, one unit of work for each sub-MS."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet, Selection, check_output, staged
from parallactic.measurementset.extract import write_main, write_subtables
from parallactic.measurementset.layout import DataColumn, Layout, make_layout
from parallactic.measurementset.metadata import SPECTRAL_COLUMNS
from parallactic.measurementset.multims import assemble, sub_name
from parallactic.measurementset.selection import Selected
from parallactic.measurementset.separation import Axis, axis_label, separate
from parallactic.measurementset.subtables import add_history
from parallactic.measurementset.tables import DiskFull
from parallactic.tasks.base import (
    ExecutorLike,
    SelectionParameters,
    StepFailed,
    TaskResult,
    run_units,
    task,
    using,
)
from parallactic.tasks.quantity import Duration, quantity

__all__ = ["PartitionResult", "partition"]


@dataclass(frozen=True)
class Piece:
    """One sub-MS to write: `rows` are positions in the index of the source."""

    name: str
    path: str
    rows: NDArray[np.int64]


@dataclass(kw_only=True)
class PartitionResult(TaskResult):
    """What was written.

    Attributes
    ----------
    axis
        How the rows were separated; empty for one plain set.
    subsets
        Per sub-MS its name, rows, scans, spectral windows (ids of the source), number of baselines and bytes.
    """

    axis: str = ""
    subsets: list[dict[str, Any]] = field(default_factory=list)


def _check(*, chanbin: int, timebin: Duration, numsubms: int | Literal["auto"], **_others: Any) -> None:
    if chanbin != 1:
        raise InvalidSpec(f"partition: chanbin={chanbin}: channel averaging is not there yet; leave it at 1.")
    if quantity(timebin, "time") != 0:
        raise InvalidSpec(
            f"partition: timebin={timebin!r}: time averaging is not there yet; leave it at '0s'."
        )
    if numsubms != "auto" and numsubms < 1:
        raise InvalidSpec(f"partition: numsubms={numsubms} must be 'auto' or at least 1.")


@task(check=_check)
def partition(
    vis: str,
    outputvis: str,
    separationaxis: Axis = "auto",
    numsubms: int | Literal["auto"] = "auto",
    *,
    datacolumn: DataColumn = "all",
    createmms: bool = True,
    chanbin: int = 1,
    timebin: Duration = "0s",
    executor: ExecutorLike = None,
    **selection: Unpack[SelectionParameters],
) -> PartitionResult:
    """Divide a MeasurementSet into a multi-MS, whose sub-MSs are written in parallel.

    CASA opens the product as one MeasurementSet. As in CASA, spectral windows and fields that `spw` and
    `field` leave out are removed from the sub-tables and the others are numbered anew.

    Parameters
    ----------
    vis
        The MeasurementSet or multi-MS to read.
    outputvis
        The multi-MS to write. It must not exist; it appears when it is whole.
    separationaxis
        What divides the sub-MSs: scan, spw or baseline, in groups of nearly equal number; scan,spw, the pairs
        of both; time, stretches of nearly equal number of rows; auto, the pairs of scan and spw shared so
        that all hold about equally much.
    numsubms
        How many sub-MSs at most. auto: 8.
    datacolumn
        all copies every column of visibilities under its name; data, model or corrected copies that one, as
        DATA.
    createmms
        Whether to write a multi-MS. If not, outputvis is one plain MeasurementSet with the selected data.
    chanbin
        Channels to average into one. Only 1 so far.
    timebin
        Time to average over. Only 0s so far.
    executor
        Where to run: an executor or the name of a backend. None: the configured backend.

    Returns
    -------
    PartitionResult
        The sub-MSs with their rows and sizes.

    Raises
    ------
    InvalidSpec
        If `vis` cannot be read, `outputvis` exists or cannot be written, or the selection fits no row.
    DiskFull
        If the disk is or gets full; nothing is left behind.
    """
    output = check_output(outputvis, "outputvis")
    ms = MeasurementSet(vis)
    chosen = Selection(**selection)
    selected = ms.select(chosen)
    if not len(selected):
        raise InvalidSpec(f"partition: no row of {ms.path} fits {chosen}; nothing was written.")
    layout = make_layout(ms, chosen, selected, datacolumn)
    _check_space(ms, selected, layout, output.parent)
    message = (
        f"partition vis={ms.path} separationaxis={separationaxis} datacolumn={datacolumn} chanbin={chanbin} "
        f"timebin={timebin} selection: {chosen}"
    )
    with using(executor) as ex, staged(output, "outputvis") as partial:
        pieces = _pieces(ms, selected, separationaxis if createmms else None, numsubms, partial, output.name)
        try:
            sizes = run_units(ex, _write, pieces, ms, layout, label="writing", writes=_path)
        except StepFailed as failed:
            full = next((error for error in failed.failures.values() if isinstance(error, DiskFull)), None)
            if full is None:
                raise
            raise DiskFull(f"partition: {full}") from failed
        first = Path(pieces[0].path)
        write_subtables(ms, first, layout)
        add_history(first, [message])
        if createmms:
            assemble(partial, output.name, len(pieces), axis_label(separationaxis))
    subsets = [_described(ms, piece, size) for piece, size in zip(pieces, sizes, strict=True)]
    return PartitionResult(
        axis=axis_label(separationaxis) if createmms else "",
        subsets=subsets,
        counts={
            "rows": len(selected),
            "visibilities": _visibilities(ms, selected.rows, layout),
            "sub-MSs": len(pieces) if createmms else 0,
            "bytes": sum(sizes),
        },
        products=[str(output)],
        warnings=_warnings(ms, layout),
    )


def _pieces(
    ms: MeasurementSet,
    selected: Selected,
    axis: Axis | None,
    numsubms: int | Literal["auto"],
    folder: Path,
    name: str,
) -> list[Piece]:
    if axis is None:
        return [Piece(name, str(folder), selected.rows)]
    store = folder / "SUBMSS"
    store.mkdir(parents=True)
    shares = separate(ms, selected.rows, axis, numsubms)
    return [Piece(sub_name(name, k), str(store / sub_name(name, k)), rows) for k, rows in enumerate(shares)]


def _path(piece: Piece) -> str:
    return piece.path


def _write(piece: Piece, ms: MeasurementSet, layout: Layout) -> int:
    return write_main(ms, piece.rows, piece.path, layout)


def _visibilities(ms: MeasurementSet, rows: NDArray[np.int64], layout: Layout) -> int:
    count = np.bincount(ms.index.ddid[rows], minlength=len(ms.data_descriptions))
    total = 0
    for ddid in layout.ddids:
        description = ms.data_descriptions[ddid]
        cell = len(layout.channels[description.spw]) * len(layout.correlations[description.polarization])
        total += int(count[ddid]) * cell
    return total


def _check_space(ms: MeasurementSet, selected: Selected, layout: Layout, folder: Path) -> None:
    """Refuse before the work what the disk cannot hold: the visibilities, flags and weights alone."""
    sizes = {"FLAG": 1 / 8, "WEIGHT_SPECTRUM": 4, "SIGMA_SPECTRUM": 4, "FLOAT_DATA": 4}
    each = sum(sizes.get(old, 8) for old, _ in layout.columns if old in SPECTRAL_COLUMNS)
    need = int(_visibilities(ms, selected.rows, layout) * each)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DiskFull(
            f"partition: the product needs at least {need / 1e6:,.1f} MB, and {folder} has only "
            f"{free / 1e6:,.1f} MB free; make room or write elsewhere. Nothing was written."
        )


def _described(ms: MeasurementSet, piece: Piece, size: int) -> dict[str, Any]:
    index = ms.index
    pairs = np.stack([index.antenna1[piece.rows], index.antenna2[piece.rows]])
    spw = np.array([d.spw for d in ms.data_descriptions])
    return {
        "name": piece.name,
        "rows": len(piece.rows),
        "scans": np.unique(index.scan[piece.rows]).tolist(),
        "spws": np.unique(spw[index.ddid[piece.rows]]).tolist(),
        "baselines": int(np.unique(pairs, axis=1).shape[1]),
        "bytes": size,
    }


def _warnings(ms: MeasurementSet, layout: Layout) -> list[str]:
    if ms.has_virtual_model and "MODEL_DATA" not in dict(layout.columns):
        return ["the virtual model of the source is not carried over; run setmodel on the product."]
    return []
