"""A MeasurementSet or a multi-MS: what it holds, and its rows read and written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.access import read_cells, write_cells
from parallactic.measurementset.index import Index
from parallactic.measurementset.metadata import (
    PER_CORRELATION,
    SPECTRAL_COLUMNS,
    Antenna,
    DataDescription,
    Field,
    Metadata,
    Observation,
    Polarization,
    SpectralWindow,
    State,
)
from parallactic.measurementset.snapshot import (
    cached_alike,
    cached_index,
    cached_metadata,
    find_subsets,
    stamp,
)
from parallactic.measurementset.tables import glance, is_table, opened
from parallactic.spec import near_match

if TYPE_CHECKING:
    from parallactic.measurementset.selection import Selected, Selection

__all__ = ["MeasurementSet", "RowsLike"]

RowsLike = slice | Sequence[int] | NDArray[np.integer[Any]] | None
"""Positions in the index: an array or a sequence of them, a slice, or None for all."""

_CHUNK_BYTES = 64 * 2**20


class MeasurementSet:
    """One MeasurementSet, plain or multi, seen as one list of rows in canonical order.

    No table stays open: every call opens what it needs and closes it. What was read of the sub-tables and of
    the index stays as it was when the object was made; it is kept per process, so that opening the set again
    is cheap, until a file of the set changes. The object travels by its path.

    Parameters
    ----------
    path
        The folder of the set.

    Attributes
    ----------
    path
        Its absolute path.
    is_multi
        Whether it is a multi-MS.
    subsets
        Absolute paths of the sub-MSs; the set itself if it is plain.

    Raises
    ------
    InvalidSpec
        If there is nothing at `path`, or it is not a MeasurementSet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(Path(os.fspath(path)).expanduser().absolute())
        self._check()
        self.subsets = find_subsets(self.path)
        self.is_multi = self.subsets != [self.path]
        self._stamp = tuple(stamp(subset) for subset in self.subsets)

    def _check(self) -> None:
        root = Path(self.path)
        if not root.exists():
            siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
            raise InvalidSpec(f"there is no MeasurementSet {self.path}{near_match(root.name, siblings)}")
        if not is_table(root):
            raise InvalidSpec(f"{self.path} is not a MeasurementSet: it is not a casacore table.")
        lacking = {"ANTENNA1", "DATA_DESC_ID", "TIME"} - set(glance(root, _column_names))
        if lacking or not is_table(root / "ANTENNA"):
            raise InvalidSpec(
                f"{self.path} is a casacore table but not a MeasurementSet: it lacks "
                f"{', '.join(sorted(lacking)) or 'the sub-table ANTENNA'}."
            )

    def __reduce__(self) -> tuple[type[MeasurementSet], tuple[str]]:
        return MeasurementSet, (self.path,)

    def __repr__(self) -> str:
        return f"MeasurementSet({self.path!r})"

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def metadata(self) -> Metadata:
        """All the sub-tables."""
        return cached_metadata(self.path, self._stamp)

    @cached_property
    def index(self) -> Index:
        """The columns of the main table in canonical order; see `Index`."""
        return cached_index(tuple(self.subsets), self._stamp)

    @property
    def antennas(self) -> tuple[Antenna, ...]:
        """The antennas; an id is a place in this tuple."""
        return self.metadata.antennas

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields."""
        return self.metadata.fields

    @property
    def spws(self) -> tuple[SpectralWindow, ...]:
        """The spectral windows."""
        return self.metadata.spws

    @property
    def polarizations(self) -> tuple[Polarization, ...]:
        """The sets of correlations."""
        return self.metadata.polarizations

    @property
    def data_descriptions(self) -> tuple[DataDescription, ...]:
        """Spectral window and polarization of each DATA_DESC_ID."""
        return self.metadata.data_descriptions

    @property
    def observations(self) -> tuple[Observation, ...]:
        """The observations."""
        return self.metadata.observations

    @property
    def states(self) -> tuple[State, ...]:
        """The states, with the scan intents; may be empty."""
        return self.metadata.states

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that every sub-MS has."""
        found: list[str] | None = None
        for subset in self.subsets:
            names = glance(subset, _column_names)
            found = names if found is None else [name for name in found if name in names]
        return tuple(found or ())

    def shape(self, ddid: int) -> tuple[int, int]:
        """Return (channels, correlations) of the rows of data description `ddid`."""
        description = self.data_descriptions[ddid]
        return self.spws[description.spw].nchan, self.polarizations[description.polarization].ncorr

    def frequencies(self, ddid: int) -> NDArray[np.float64]:
        """Return the channel frequencies in Hz of data description `ddid`, shape (nchan,)."""
        return self.spws[self.data_descriptions[ddid].spw].frequencies

    def correlations(self, ddid: int) -> tuple[str, ...]:
        """Return the names of the correlations of data description `ddid`."""
        return self.polarizations[self.data_descriptions[ddid].polarization].correlations

    def require(self, *columns: str) -> None:
        """Check that every sub-MS has `columns`.

        Raises
        ------
        InvalidSpec
            If one is missing, with the near match; a virtual model is named as such.
        """
        present = self.columns
        for name in columns:
            if name in present:
                continue
            if name == "MODEL_DATA" and self.has_virtual_model:
                raise InvalidSpec(
                    f"{self.path} has a virtual model (definedmodel_field_*), which is not read here, and no "
                    "MODEL_DATA; run setmodel, or CASA's setjy or tclean with the model column, first."
                )
            raise InvalidSpec(f"{self.path} has no column {name}{near_match(name, present)}")

    def require_writable(self, *columns: str) -> None:
        """Check, before any work is done, that the set may be changed.

        Parameters
        ----------
        columns
            Columns that will be added where they are missing.

        Raises
        ------
        InvalidSpec
            If a table of a sub-MS, or its folder where a column is to be added, is not writable by this user.
        """
        adds = not set(columns) <= set(self.columns)
        for subset in self.subsets:
            places = [*([Path(subset)] if adds else []), *sorted(Path(subset).glob("table.*"))]
            for place in places:
                if not os.access(place, os.W_OK):
                    raise InvalidSpec(
                        f"{self.path} may not be changed: {place} is not writable by this user; change its "
                        "permissions or work on a copy."
                    )

    @property
    def has_virtual_model(self) -> bool:
        """Whether a sub-MS or its SOURCE table carries CASA's virtual model."""
        for subset in self.subsets:
            if any(key.startswith("definedmodel_field_") for key in glance(subset, _keyword_names)):
                return True
            source = Path(subset) / "SOURCE"
            if is_table(source):
                with opened(source) as handle:
                    if "SOURCE_MODEL" in handle.colnames() and any(
                        handle.iscelldefined("SOURCE_MODEL", i) and handle.getcell("SOURCE_MODEL", i)
                        for i in range(handle.nrows())
                    ):
                        return True
        return False

    def select(self, selection: Selection) -> Selected:
        """Find what `selection` names; see `Selection`.

        Raises
        ------
        InvalidSpec
            If an expression cannot be read, or names what the set does not have.
        """
        from parallactic.measurementset.selection import select

        return select(self, selection)

    def positions(self, rows: RowsLike = None) -> NDArray[np.int64]:
        """Return `rows` as an array of positions in the index, int64."""
        if rows is None:
            return np.arange(len(self.index), dtype=np.int64)
        if isinstance(rows, slice):
            return np.arange(len(self.index), dtype=np.int64)[rows]
        return np.asarray(rows, dtype=np.int64).reshape(-1)

    def read(self, rows: RowsLike, column: str, channels: slice | None = None) -> NDArray[Any]:
        """Read `column` at `rows`, over all sub-MSs, in the order asked.

        Parameters
        ----------
        rows
            Positions in the index; repetitions are allowed. For columns with a frequency axis their data
            descriptions must agree in shape.
        column
            Any column of the main table. FLAG comes as it is stored; see `flags`.
        channels
            Part of the frequency axis, for DATA, FLAG, WEIGHT_SPECTRUM and their like.

        Returns
        -------
        ndarray
            (nrow, nchan, ncorr) for DATA, (nrow, 3) for UVW, (nrow,) for scalars, in the column's own dtype
            (complex64 for DATA, bool for FLAG, float32 for weights, float64 for UVW).

        Raises
        ------
        InvalidSpec
            If there is no such column, or the rows differ in shape.
        """
        positions = self.positions(rows)
        if column in SPECTRAL_COLUMNS or column in PER_CORRELATION:
            self._one_shape(np.unique(self.index.ddid[positions]), column)
        alike = cached_alike(self.path, tuple(self.subsets), self._stamp)
        subset, row = self.index.subset[positions], self.index.row[positions]
        touched = np.unique(subset) if len(subset) else np.zeros(1, dtype=np.int32)
        result: NDArray[Any] | None = None
        for number in touched:
            here = np.flatnonzero(subset == number)
            with opened(self.subsets[number]) as handle:
                if column not in handle.colnames():
                    self.require(column)
                values = read_cells(handle, column, row[here], channels, alike=alike[number])
            if len(touched) == 1:
                return values
            if result is None:
                result = np.empty((len(positions), *values.shape[1:]), dtype=values.dtype)
            result[here] = values
        if result is None:
            raise InvalidSpec(f"{self.path} has no sub-MS.")
        return result

    def _one_shape(self, ddids: NDArray[np.int32], column: str) -> tuple[int, int]:
        # casacore reads a whole column of cells that differ in shape without a word, and wrong.
        shapes = {self.shape(int(ddid)) for ddid in ddids}
        if len(shapes) > 1:
            raise InvalidSpec(
                f"{column} has cells of shapes {' and '.join(map(str, sorted(shapes)))} at these rows; "
                "use rows of one data description at a time."
            )
        return shapes.pop() if shapes else (0, 0)

    def flags(self, rows: RowsLike, channels: slice | None = None) -> NDArray[np.bool_]:
        """Read the effective flags FLAG | FLAG_ROW at `rows`, bool (nrow, nchan, ncorr)."""
        flags: NDArray[np.bool_] = self.read(rows, "FLAG", channels)
        flags[self.read(rows, "FLAG_ROW")] = True
        return flags

    def weights(self, rows: RowsLike, channels: slice | None = None) -> NDArray[np.float32]:
        """Read the weights at `rows`: WEIGHT_SPECTRUM where it is defined, else WEIGHT for every channel.

        Returns
        -------
        ndarray
            float32, (nrow, nchan, ncorr).
        """
        from parallactic.measurementset.weights import read_weights

        return read_weights(self, self.positions(rows), channels)

    def chunks(
        self,
        rows: RowsLike,
        columns: Sequence[str],
        channels: slice | None = None,
        max_bytes: int = _CHUNK_BYTES,
    ) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        """Read `columns` at `rows` in pieces of at most about `max_bytes` together.

        Parameters
        ----------
        rows, channels
            As in `read`; rows of several data descriptions are allowed: a piece never mixes them.
        columns
            Names of columns; ``"flags"`` and ``"weights"`` give the effective ones.
        max_bytes
            Bound of one piece, at least one row.

        Yields
        ------
        tuple
            The positions of the piece, and the arrays by column.
        """
        positions = self.positions(rows)
        ddids = self.index.ddid[positions]
        for ddid in np.unique(ddids):
            mine = positions[ddids == ddid]
            nchan, ncorr = self.shape(int(ddid))
            if channels is not None:
                nchan = len(range(*channels.indices(nchan)))
            step = max(1, max_bytes // (8 * max(1, nchan * ncorr) * max(1, len(columns))))
            for start in range(0, len(mine), step):
                piece = mine[start : start + step]
                yield piece, {name: self._piece(piece, name, channels) for name in columns}

    def _piece(self, rows: NDArray[np.int64], name: str, channels: slice | None) -> NDArray[Any]:
        if name == "flags":
            return self.flags(rows, channels)
        if name == "weights":
            return self.weights(rows, channels)
        return self.read(rows, name, channels if name in SPECTRAL_COLUMNS else None)

    def write(
        self,
        subset: int,
        rows: NDArray[np.integer[Any]],
        column: str,
        values: NDArray[Any],
        channels: slice | None = None,
    ) -> None:
        """Write rows of one sub-MS; there is one writer per sub-MS at a time.

        Writing FLAG also sets FLAG_ROW = all(FLAG) on the rows written.

        Parameters
        ----------
        subset
            The number of the sub-MS, as in ``index.subset``.
        rows
            Rows in that sub-MS, as in ``index.row``; distinct, in any order.
        column
            A column that exists; see `add_columns`.
        values
            (nrow,) + the shape of a cell, or of its part in `channels`.
        channels
            Part of the frequency axis to write.

        Raises
        ------
        InvalidSpec
            If the set may not be written, or there is no such column, or shapes do not agree.
        """
        if not 0 <= subset < len(self.subsets):
            raise InvalidSpec(f"subset={subset} is none of the {len(self.subsets)} sub-MSs of {self.path}.")
        numbers = np.asarray(rows, dtype=np.int64).reshape(-1)
        with opened(self.subsets[subset], write=True) as handle:
            if column not in handle.colnames():
                self.require(column)
            if column in SPECTRAL_COLUMNS and len(numbers):
                ddids = np.unique(read_cells(handle, "DATA_DESC_ID", numbers))
                nchan, ncorr = self._one_shape(ddids, column)
                nchan = nchan if channels is None else len(range(*channels.indices(nchan)))
                if np.shape(values)[1:] != (nchan, ncorr):
                    raise InvalidSpec(
                        f"{column} takes cells of shape {(nchan, ncorr)} at these rows, not "
                        f"{np.shape(values)[1:]}."
                    )
            write_cells(handle, column, numbers, np.asarray(values), channels)
            if column == "FLAG" and len(numbers):
                whole = np.asarray(values) if channels is None else read_cells(handle, "FLAG", numbers)
                write_cells(
                    handle, "FLAG_ROW", numbers, np.asarray(whole.reshape(len(numbers), -1).all(axis=1))
                )


def _column_names(handle: Any) -> list[str]:
    return list(handle.colnames())


def _keyword_names(handle: Any) -> list[str]:
    return list(handle.keywordnames())
