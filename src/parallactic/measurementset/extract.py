"""Writing rows of one set as another: the main table, and the sub-tables that go with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from casacore.tables import required_ms_desc, table
from numpy.typing import NDArray

from parallactic.measurementset.access import write_cells
from parallactic.measurementset.create import tiled
from parallactic.measurementset.layout import Layout
from parallactic.measurementset.metadata import PER_CORRELATION, SPECTRAL_COLUMNS, VISIBILITIES
from parallactic.measurementset.ms import MeasurementSet
from parallactic.measurementset.staging import remove
from parallactic.measurementset.tables import building, ensure_room, file_error, is_table, opened
from parallactic.measurementset.weights import defined_cells

__all__ = ["subtable_names", "write_main", "write_subtables"]

_CHUNK_BYTES = 32 * 2**20
_STANDARD = 2
_OVERHEAD = 2**20
"""Bytes of an empty set, with room to spare."""


def write_main(
    ms: MeasurementSet, rows: NDArray[np.int64], path: str | os.PathLike[str], layout: Layout
) -> int:
    """Write the main table of a new set with `rows` of `ms`, without sub-tables.

    The rows are put in order of time, data description and baseline.

    Parameters
    ----------
    ms
        The source.
    rows
        Positions in its index, of data descriptions that `layout` keeps.
    path
        The set to make, for `write_subtables` to complete.
    layout
        What is kept.

    Returns
    -------
    int
        The bytes of the files written.

    Raises
    ------
    ParallacticError
        If it cannot be written; what was begun is removed.
    """
    index = ms.index
    keys = (index.antenna2[rows], index.antenna1[rows], index.ddid[rows], index.time[rows])
    order = np.lexsort(keys)
    rows = rows[order]
    target = Path(path)
    ensure_room(target.parent, _size(ms, rows, layout) + _OVERHEAD)
    try:
        _make(ms, target, layout)
        with building(target) as handle:
            handle.addrows(len(rows))
            for start, stop in _pieces(ms, rows, layout):
                _copy(ms, rows[start:stop], handle, start, layout)
    except OSError as error:
        remove(target)
        raise file_error(target, error) from error
    except BaseException:
        remove(target)
        raise
    return sum(file.stat().st_size for file in target.iterdir() if file.is_file())


def _size(ms: MeasurementSet, rows: NDArray[np.int64], layout: Layout) -> int:
    """Return about how many bytes the spectral columns of `rows` take."""
    each = sum(1 if old == "FLAG" else 8 for old, _ in layout.columns if old in VISIBILITIES or old == "FLAG")
    total = 0
    for ddid, count in zip(*np.unique(ms.index.ddid[rows], return_counts=True), strict=True):
        total += int(count) * int(np.prod(_shape(ms, int(ddid), layout))) * each
    return total


def _make(ms: MeasurementSet, target: Path, layout: Layout) -> None:
    cell = max((_shape(ms, ddid, layout) for ddid in layout.ddids), default=(1, 1))
    with opened(ms.subsets[0]) as source:
        extra = {new: source.getcoldesc(old) for old, new in layout.columns}
        keywords = {new: source.getcolkeywords(old) for old, new in layout.columns}
        info = source.info()
    sizes = {"DATA": 8, "MODEL_DATA": 8, "CORRECTED_DATA": 8}
    managers = [
        tiled(f"Tiled{name}", (name,), cell, sizes.get(name, 4)) for name in SPECTRAL_COLUMNS if name in extra
    ]
    managers += [tiled(f"Tiled{name}", (name,), cell[1:], 4) for name in PER_CORRELATION]
    managers.append(tiled("TiledUVW", ("UVW",), (3,), 8))
    description = required_ms_desc()
    for name, column in extra.items():
        if name not in description or name in SPECTRAL_COLUMNS:
            description[name] = _free(column, name)
    numbered = {f"*{i}": {**manager, "SEQNR": i} for i, manager in enumerate(managers)}
    try:
        table(str(target), description, nrow=0, dminfo=numbered, readonly=False, ack=False).close()
    except RuntimeError as error:
        raise file_error(target, error) from error
    with building(target) as handle:
        handle.putinfo(info)
        # The column stays empty, but CASA opens no set without this keyword.
        handle.putcolkeyword("FLAG_CATEGORY", "CATEGORY", ["FLAG_CMD", "ORIGINAL", "USER"])
        for name, words in keywords.items():
            if words:
                handle.putcolkeywords(name, words)


def _free(description: dict[str, Any], name: str) -> dict[str, Any]:
    """Describe a column anew: the storage is ours, and a spectral cell may have any shape."""
    keep = ("valueType", "maxlen", "comment", "ndim", "shape", "option", "_c_order")
    fresh = {key: description[key] for key in keep if key in description}
    if name in SPECTRAL_COLUMNS:
        fresh.pop("shape", None)
        fresh |= {"ndim": _STANDARD, "option": 0}
    return {"dataManagerType": "", "dataManagerGroup": "", "keywords": {}, **fresh}


def _shape(ms: MeasurementSet, ddid: int, layout: Layout) -> tuple[int, int]:
    description = ms.data_descriptions[ddid]
    return len(layout.channels[description.spw]), len(layout.correlations[description.polarization])


def _pieces(ms: MeasurementSet, rows: NDArray[np.int64], layout: Layout) -> list[tuple[int, int]]:
    largest = max((int(np.prod(ms.shape(ddid))) for ddid in layout.ddids), default=1)
    step = max(1, _CHUNK_BYTES // (8 * largest))
    return [(start, min(start + step, len(rows))) for start in range(0, len(rows), step)]


def _copy(ms: MeasurementSet, rows: NDArray[np.int64], handle: Any, start: int, layout: Layout) -> None:
    ddids = ms.index.ddid[rows]
    for old, new in layout.columns:
        if old in SPECTRAL_COLUMNS or old in PER_CORRELATION:
            for ddid in np.unique(ddids):
                here = np.flatnonzero(ddids == ddid)
                _copy_spectral(ms, rows[here], handle, here + start, (old, new), int(ddid), layout)
        elif handle.isscalarcol(new):
            handle.putcol(new, _renumbered(ms.read(rows, old), old, layout), start, len(rows))
        else:
            _copy_cells(ms, rows, handle, np.arange(start, start + len(rows)), (old, new))


def _copy_spectral(
    ms: MeasurementSet,
    rows: NDArray[np.int64],
    handle: Any,
    places: NDArray[np.int64],
    column: tuple[str, str],
    ddid: int,
    layout: Layout,
) -> None:
    description = ms.data_descriptions[ddid]
    old, new = column
    there = _defined(ms, rows, old)
    rows, places = rows[there], places[there]
    if not len(rows):
        return
    corrs = layout.correlations[description.polarization]
    if old in PER_CORRELATION:
        values = ms.read(rows, old)
    else:
        chans = layout.channels[description.spw]
        envelope = slice(int(chans[0]), int(chans[-1]) + 1)
        values = ms.read(rows, old, envelope)
        if len(chans) < values.shape[1]:
            values = values[:, chans - chans[0]]
    if len(corrs) < values.shape[-1]:
        values = values[..., corrs]
    write_cells(handle, new, places, np.ascontiguousarray(values))


def _copy_cells(
    ms: MeasurementSet,
    rows: NDArray[np.int64],
    handle: Any,
    places: NDArray[np.int64],
    column: tuple[str, str],
) -> None:
    old, new = column
    there = _defined(ms, rows, old)
    if there.any():
        write_cells(handle, new, places[there], ms.read(rows[there], old))


def _defined(ms: MeasurementSet, rows: NDArray[np.int64], column: str) -> NDArray[np.bool_]:
    result = np.zeros(len(rows), dtype=bool)
    subset, row = ms.index.subset[rows], ms.index.row[rows]
    for number in np.unique(subset):
        here = np.flatnonzero(subset == number)
        with opened(ms.subsets[number]) as handle:
            result[here] = defined_cells(handle, column, row[here])
    return result


def _renumbered(values: NDArray[Any], column: str, layout: Layout) -> NDArray[Any]:
    if column == "DATA_DESC_ID":
        return layout.new_ids("ddids", values)
    if column == "FIELD_ID":
        return layout.new_ids("fields", values)
    return values


def subtable_names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the sub-tables that the set at `path` has on disk, sorted.

    CASA's SORTED_TABLE is none: it is a list of row numbers of one main table, and wrong beside another.
    """
    tables = (entry.name for entry in Path(path).iterdir() if entry.is_dir() and is_table(entry))
    return sorted(name for name in tables if name != "SORTED_TABLE")


def write_subtables(ms: MeasurementSet, path: str | os.PathLike[str], layout: Layout) -> None:
    """Give the set at `path`, made by `write_main`, the sub-tables of `ms` as `layout` numbers them.

    Channels, correlations, spectral windows and fields that are not kept are removed; every sub-table with a
    SPECTRAL_WINDOW_ID loses the rows of windows that are not kept. A virtual model is not carried over.

    Parameters
    ----------
    ms
        The source.
    path
        The product.
    layout
        As given to `write_main`.
    """
    source, target = Path(ms.subsets[0]), Path(path)
    names = subtable_names(source)
    ensure_room(target, sum(file.stat().st_size for name in names for file in (source / name).rglob("*")))
    for name in names:
        place = target / name
        remove(place)
        keep = _kept_rows(source / name, name, layout)
        if keep is None:
            shutil.copytree(source / name, place)
        else:
            with opened(source / name) as handle:
                handle.selectrows(keep).copy(str(place), deep=True, valuecopy=True).close()
            # Ephemerides of moving sources lie inside FIELD and go by their names.
            for inner in subtable_names(source / name):
                if not (place / inner).exists():
                    shutil.copytree(source / name / inner, place / inner)
        _edit(place, name, ms, layout)
    attach_subtables(target)


def attach_subtables(path: str | os.PathLike[str]) -> None:
    """Name every sub-table that lies in the folder in the keywords of its main table."""
    with opened(path, write=True) as handle:
        known = set(handle.keywordnames())
        for name in subtable_names(path):
            if name not in known:
                handle.putkeyword(name, f"Table: {Path(path) / name}")


def _kept_rows(place: Path, name: str, layout: Layout) -> NDArray[np.int64] | None:
    """Return the rows of a sub-table that are kept; None is all of them."""
    with opened(place) as handle:
        nrow = handle.nrows()
        if name in ("SPECTRAL_WINDOW", "DATA_DESCRIPTION", "FIELD"):
            kept = {"SPECTRAL_WINDOW": layout.spws, "DATA_DESCRIPTION": layout.ddids, "FIELD": layout.fields}[
                name
            ]
            rows = np.array(kept, dtype=np.int64)
        elif "SPECTRAL_WINDOW_ID" in handle.colnames() and nrow:
            windows = handle.getcol("SPECTRAL_WINDOW_ID")
            rows = np.flatnonzero((windows < 0) | np.isin(windows, layout.spws))
        else:
            return None
    return None if len(rows) == nrow else rows


def _edit(place: Path, name: str, ms: MeasurementSet, layout: Layout) -> None:
    with opened(place, write=True) as handle:
        if name == "SOURCE" and "SOURCE_MODEL" in handle.colnames():
            # The virtual model in it goes by the old numbers of the fields.
            handle.removecols("SOURCE_MODEL")
        if not handle.nrows():
            return
        if name == "SPECTRAL_WINDOW":
            for new, old in enumerate(layout.spws):
                if len(layout.channels[old]) < ms.spws[old].nchan:
                    _cut_window(handle, new, layout.channels[old])
        elif name == "POLARIZATION":
            for old, corrs in layout.correlations.items():
                if len(corrs) < ms.polarizations[old].ncorr:
                    handle.putcell("NUM_CORR", old, len(corrs))
                    for column in ("CORR_TYPE", "CORR_PRODUCT"):
                        handle.putcell(column, old, np.ascontiguousarray(handle.getcell(column, old)[corrs]))
        elif "SPECTRAL_WINDOW_ID" in handle.colnames():
            windows = handle.getcol("SPECTRAL_WINDOW_ID")
            handle.putcol("SPECTRAL_WINDOW_ID", layout.new_ids("spws", windows))


def _cut_window(handle: Any, row: int, channels: NDArray[np.int64]) -> None:
    for column in ("CHAN_FREQ", "CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION"):
        handle.putcell(column, row, np.ascontiguousarray(handle.getcell(column, row)[channels]))
    handle.putcell("NUM_CHAN", row, len(channels))
    handle.putcell("REF_FREQUENCY", row, float(handle.getcell("CHAN_FREQ", row)[0]))
    handle.putcell("TOTAL_BANDWIDTH", row, float(np.abs(handle.getcell("CHAN_WIDTH", row)).sum()))
