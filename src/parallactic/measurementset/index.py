"""The logical main table: one record per row, in an order that no partition and no backend changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallactic.measurementset.tables import glance

__all__ = ["Index", "read_index"]

_COLUMNS = {
    "time": "TIME",
    "interval": "INTERVAL",
    "antenna1": "ANTENNA1",
    "antenna2": "ANTENNA2",
    "ddid": "DATA_DESC_ID",
    "field": "FIELD_ID",
    "scan": "SCAN_NUMBER",
    "state": "STATE_ID",
    "observation": "OBSERVATION_ID",
    "array": "ARRAY_ID",
}


@dataclass(frozen=True, slots=True)
class Index:
    """Columns of all rows in canonical order: data description, then baseline, then time.

    Every attribute is an array of shape (nrow,). A position in them is what the rest of the library means by
    "row of the set"; `subset` and `row` say where it lies on disk.

    Attributes
    ----------
    time, interval
        Seconds (MJD, UTC) and seconds, float64.
    antenna1, antenna2, ddid, field, scan, state, observation, array
        Ids, int32; `state` may be −1.
    subset
        Which sub-MS holds the row (0 in a plain MS), int32.
    row
        The row in that sub-MS, int64.
    """

    time: NDArray[np.float64]
    interval: NDArray[np.float64]
    antenna1: NDArray[np.int32]
    antenna2: NDArray[np.int32]
    ddid: NDArray[np.int32]
    field: NDArray[np.int32]
    scan: NDArray[np.int32]
    state: NDArray[np.int32]
    observation: NDArray[np.int32]
    array: NDArray[np.int32]
    subset: NDArray[np.int32]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)


def _read_columns(handle: Any) -> dict[str, NDArray[Any]]:
    rows = handle.nrows()
    return {name: handle.getcol(column) if rows else np.zeros(0) for name, column in _COLUMNS.items()}


def read_index(subsets: Sequence[str]) -> Index:
    """Read the index of the set whose sub-MSs are `subsets` and put it in canonical order.

    Rows equal in data description, baseline and time are ordered by field, scan, state, observation and
    array; only rows alike in all of these keep the order of the disk.
    """
    parts: dict[str, list[NDArray[Any]]] = {f.name: [] for f in fields(Index)}
    for number, path in enumerate(subsets):
        columns_of_part = glance(path, _read_columns)
        rows = len(columns_of_part["time"])
        for name, values in columns_of_part.items():
            parts[name].append(values)
        parts["subset"].append(np.full(rows, number, dtype=np.int32))
        parts["row"].append(np.arange(rows, dtype=np.int64))
    kinds: dict[str, Any] = {"time": np.float64, "interval": np.float64, "row": np.int64}
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate(part).astype(kinds.get(name, np.int32)) for name, part in parts.items()
    }
    keys = ("ddid", "antenna1", "antenna2", "time", "field", "scan", "state", "observation", "array")
    order = np.lexsort([columns[key] for key in reversed(keys)])
    sorted_columns = {name: values[order] for name, values in columns.items()}
    for values in sorted_columns.values():
        values.setflags(write=False)
    return Index(**sorted_columns)
