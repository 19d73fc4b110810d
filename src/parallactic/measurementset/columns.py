"""Adding the scratch columns that calibration and imaging need."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from casacore.tables import makearrcoldesc, maketabdesc
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.create import tiled
from parallactic.measurementset.ms import MeasurementSet
from parallactic.measurementset.tables import ensure_room, opened
from parallactic.spec import near_match

__all__ = ["add_columns"]

_KINDS = {
    "DATA": ("complex", 0j),
    "MODEL_DATA": ("complex", 0j),
    "CORRECTED_DATA": ("complex", 0j),
    "WEIGHT_SPECTRUM": ("float", 0.0),
    "SIGMA_SPECTRUM": ("float", 0.0),
}
_PARALLEL = ("RR", "LL", "XX", "YY", "I")


def add_columns(ms: MeasurementSet, columns: Sequence[str]) -> list[str]:
    """Add `columns` to every sub-MS that lacks them, filled.

    MODEL_DATA begins as 1 in the parallel hands and 0 in the cross hands, as in CASA; CORRECTED_DATA as DATA;
    WEIGHT_SPECTRUM and SIGMA_SPECTRUM as WEIGHT and SIGMA in every channel.

    Parameters
    ----------
    ms
        The set; nobody else may write it meanwhile.
    columns
        Any of MODEL_DATA, CORRECTED_DATA, WEIGHT_SPECTRUM, SIGMA_SPECTRUM.

    Returns
    -------
    list of str
        Those that at least one sub-MS lacked.

    Raises
    ------
    InvalidSpec
        If a column is none of these, or the set may not be written.
    """
    for name in columns:
        if name not in _KINDS or name == "DATA":
            known = [key for key in _KINDS if key != "DATA"]
            raise InvalidSpec(
                f"{name} is not a column that can be added{near_match(name, known)} "
                f"Known are {', '.join(known)}."
            )
    added: list[str] = []
    for number, path in enumerate(ms.subsets):
        with opened(path, write=True) as handle:
            lacking = [name for name in columns if name not in handle.colnames()]
            # The room is made sure of first: casacore ends the process that closes a table on a full disk.
            ensure_room(path, _size(ms, number, lacking))
            for name in lacking:
                _add(handle, name, _largest_cell(ms))
                _fill(ms, handle, name)
        added += [name for name in lacking if name not in added]
    return added


def _size(ms: MeasurementSet, subset: int, columns: Sequence[str]) -> int:
    total = 0
    ddids = ms.index.ddid[ms.index.subset == subset]
    for ddid, count in zip(*np.unique(ddids, return_counts=True), strict=True):
        total += int(count) * int(np.prod(ms.shape(int(ddid)))) * 8 * len(columns)
    return total


def _largest_cell(ms: MeasurementSet) -> tuple[int, int]:
    return max((ms.shape(d.id) for d in ms.data_descriptions), default=(1, 1))


def _add(handle: Any, name: str, cell: tuple[int, int]) -> None:
    kind, zero = _KINDS[name]
    manager = f"Tiled{name}"
    taken = {entry["NAME"] for entry in handle.getdminfo().values()}
    while manager in taken:
        manager += "_"
    description = maketabdesc([makearrcoldesc(name, zero, ndim=2, valuetype=kind)])
    handle.addcols(description, {"*1": {**tiled(manager, (name,), cell, 8), "SEQNR": 0}})


def _fill(ms: MeasurementSet, handle: Any, name: str) -> None:
    ddids = handle.getcol("DATA_DESC_ID") if handle.nrows() else np.zeros(0, dtype=np.int32)
    # Runs of one data description: casacore writes cells of one shape at a time.
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(ddids)) + 1, [len(ddids)]))
    for low, high in pairwise(cuts):
        nchan, ncorr = ms.shape(int(ddids[low])) if high > low else (1, 1)
        step = max(1, 2**25 // (8 * nchan * ncorr))
        for start in range(int(low), int(high), step):
            nrow = min(step, int(high) - start)
            handle.putcol(name, _initial(ms, handle, name, int(ddids[low]), start, nrow), start, nrow)


def _initial(ms: MeasurementSet, handle: Any, name: str, ddid: int, start: int, nrow: int) -> NDArray[Any]:
    nchan, ncorr = ms.shape(ddid)
    if name == "CORRECTED_DATA":
        source = "DATA" if "DATA" in handle.colnames() else "FLOAT_DATA"
        values: NDArray[Any] = handle.getcol(source, start, nrow)
        return values.astype(np.complex64, copy=False)
    if name == "MODEL_DATA":
        unit = np.array([c in _PARALLEL for c in ms.correlations(ddid)], dtype=np.complex64)
        return np.broadcast_to(unit, (nrow, nchan, ncorr)).copy()
    per_row = handle.getcol(name.removesuffix("_SPECTRUM"), start, nrow)
    return np.broadcast_to(per_row[:, np.newaxis, :], (nrow, nchan, ncorr)).astype(np.float32)
