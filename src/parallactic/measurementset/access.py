"""Cells of one plain table, read and written by row numbers in any order.

How rows are fetched follows what was measured on tiled columns: consecutive rows straight into the result
(``getcolnp``, four times faster than ``getcol``); rows that fill more than a quarter of their span by reading
the span in blocks and taking them; sparser ones through a reference table of the sorted rows. Rows are never
fetched in a scattered order, which costs some sixty times a read in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset.tables import DTYPES

__all__ = ["read_cells", "write_cells"]

_DENSE = 0.25
_BLOCK_BYTES = 32 * 2**20

Rows = NDArray[np.int64]


def read_cells(
    handle: Any, column: str, rows: Rows, channels: slice | None = None, *, alike: bool = False
) -> NDArray[Any]:
    """Read the cells of `column` at `rows` in the order asked.

    Parameters
    ----------
    handle
        An open casacore table.
    column
        Its name; all cells asked for have one shape.
    rows
        Row numbers, in any order, repetitions allowed.
    channels
        Part of the first axis of each cell; None is all of it.
    alike
        Whether all cells of the column have one shape, so that those between the rows may be read along.

    Returns
    -------
    ndarray
        Shape (nrow,) + the shape of a cell (numpy's order: channel, correlation).

    Raises
    ------
    InvalidSpec
        If the cells differ in shape or are not defined.
    """
    value_type = handle.getcoldesc(column)["valueType"]
    if handle.isscalarcol(column):
        return _read_scalars(handle, column, rows)
    if value_type not in DTYPES:
        raise InvalidSpec(f"column {column} holds {value_type} arrays, which are not read here.")
    if not len(rows):
        return np.empty((0, *_empty_shape(handle, column)), dtype=DTYPES[value_type])
    shape = _cell_shape(handle, column, int(rows[0]))
    section = _section(shape, channels)
    cell = shape if section is None else (len(range(*section.indices(shape[0]))), *shape[1:])
    ascending = bool(np.all(rows[1:] > rows[:-1]))
    wanted, inverse = (rows, None) if ascending else np.unique(rows, return_inverse=True)
    values = np.empty((len(wanted), *cell), dtype=DTYPES[value_type])
    try:
        _fetch(handle, column, wanted, section, shape, values, alike)
    except RuntimeError as error:
        if _uniform(handle, column, wanted, shape):
            raise
        raise InvalidSpec(
            f"column {column} has no cells of one shape {shape} at the rows asked for; "
            "read rows of one data description at a time."
        ) from error
    return values if inverse is None else values[inverse]


def _fetch(
    handle: Any,
    column: str,
    rows: Rows,
    section: slice | None,
    shape: tuple[int, ...],
    out: NDArray[Any],
    alike: bool,
) -> None:
    first, span = int(rows[0]), int(rows[-1] - rows[0]) + 1
    if span == len(rows):
        _into(handle, column, section, shape, first, out)
    elif not alike or len(rows) < _DENSE * span:
        picked = handle.selectrows(rows)
        _into(picked, column, section, shape, 0, out)
    else:
        per_row = max(1, int(np.prod(out.shape[1:])) * out.itemsize)
        step = max(1, _BLOCK_BYTES // per_row)
        block = np.empty((min(step, span), *out.shape[1:]), dtype=out.dtype)
        for start in range(first, first + span, step):
            stop = min(start + step, first + span)
            low, high = np.searchsorted(rows, (start, stop))
            if low == high:
                continue
            part = block[: stop - start]
            _into(handle, column, section, shape, start, part)
            # Places are within the block; by "raise" numpy would copy the result once more.
            np.take(part, rows[low:high] - start, axis=0, out=out[low:high], mode="clip")


def _into(
    handle: Any, column: str, section: slice | None, shape: tuple[int, ...], start: int, out: NDArray[Any]
) -> None:
    if section is None:
        handle.getcolnp(column, out, start, len(out))
    else:
        handle.getcolslicenp(column, out, *_corners(section, shape), start, len(out))


def _corners(section: slice, shape: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    chosen = range(*section.indices(shape[0]))
    rest = [size - 1 for size in shape[1:]]
    return [chosen[0], *(0 for _ in rest)], [chosen[-1], *rest], [chosen.step, *(1 for _ in rest)]


def _section(shape: tuple[int, ...], channels: slice | None) -> slice | None:
    if channels is None:
        return None
    chosen = range(*channels.indices(shape[0]))
    if chosen.step < 1 or not len(chosen):
        raise InvalidSpec(f"{channels} picks none of {shape[0]} channels in rising order.")
    if (chosen[0], len(chosen)) == (0, shape[0]):
        return None
    return slice(chosen[0], chosen[-1] + 1, chosen.step)


def _cell_shape(handle: Any, column: str, row: int) -> tuple[int, ...]:
    if not handle.iscelldefined(column, row):
        raise InvalidSpec(f"column {column} holds nothing in row {row}.")
    return tuple(int(size) for size in np.shape(handle.getcell(column, row)))


def _empty_shape(handle: Any, column: str) -> tuple[int, ...]:
    description: dict[str, Any] = handle.getcoldesc(column)
    fixed = description.get("shape")
    if fixed is None:
        return (0,) * max(0, int(description.get("ndim", 0)))
    return tuple([int(size) for size in fixed])


def _uniform(handle: Any, column: str, rows: Rows, shape: tuple[int, ...]) -> bool:
    return all(
        handle.iscelldefined(column, int(row)) and np.shape(handle.getcell(column, int(row))) == shape
        for row in rows
    )


def _read_scalars(handle: Any, column: str, rows: Rows) -> NDArray[Any]:
    if not len(rows):
        return np.empty(0, dtype=DTYPES.get(handle.getcoldesc(column)["valueType"], "O"))
    first, last = int(rows.min()), int(rows.max())
    values = np.asarray(handle.getcol(column, first, last - first + 1))
    return values if len(values) == len(rows) and bool(np.all(np.diff(rows) == 1)) else values[rows - first]


def write_cells(
    handle: Any, column: str, rows: Rows, values: NDArray[Any], channels: slice | None = None
) -> None:
    """Write `values` to the cells of `column` at `rows`, which must be distinct.

    Parameters
    ----------
    handle
        A casacore table open for writing.
    column, rows, channels
        As in `read_cells`.
    values
        Shape (nrow,) + the shape of a cell, or of its part.

    Raises
    ------
    InvalidSpec
        If the number of values is not that of the rows, or a row comes twice.
    """
    if len(values) != len(rows):
        raise InvalidSpec(f"{len(values)} values of {column} were given for {len(rows)} rows.")
    if not len(rows):
        return
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    if bool(np.any(rows[1:] == rows[:-1])):
        raise InvalidSpec(f"a row of {column} was to be written twice in one call.")
    if not bool(np.all(order[1:] > order[:-1])):
        values = values[order]
    first, span = int(rows[0]), int(rows[-1] - rows[0]) + 1
    target, start = (handle, first) if span == len(rows) else (handle.selectrows(rows), 0)
    if channels is None or handle.isscalarcol(column):
        target.putcol(column, values, start, len(rows))
        return
    shape = _cell_shape(handle, column, first)
    section = _section(shape, channels)
    if section is None:
        target.putcol(column, values, start, len(rows))
    else:
        target.putcolslice(column, values, *_corners(section, shape), start, len(rows))
