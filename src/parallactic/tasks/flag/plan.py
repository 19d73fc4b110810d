"""How flagging divides: by sub-MS where nothing is computed, by time for clip, by planes for tfcrop.

Units of clip and tfcrop are cut from the logical data alone, so that a set and any multi-MS made from it give
the same flags, on every backend and for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.kernels.flagging import Expression, quack, scan_bounds
from parallactic.kernels.flagging.quack import QuackMode
from parallactic.measurementset import MeasurementSet, Selected
from parallactic.tasks.flag.parameters import FlagParameters

__all__ = [
    "BlockUnit",
    "RowUnit",
    "SubsetUnit",
    "block_units",
    "check_products",
    "masks",
    "quack_rows",
    "row_units",
    "scan_numbers",
    "subset_units",
]

_LARGE = 128 * 2**20
_SMALL = 4 * 2**20
_PIECES = 4
_ALONE = 16 * 2**20
"""Bytes of data in a unit of rows that are judged alone: a few milliseconds of work."""


@dataclass(frozen=True)
class SubsetUnit:
    """Rows of one sub-MS.

    Parameters
    ----------
    name
        For errors and the progress bar.
    subset
        The number of the sub-MS.
    rows
        Positions in the index, in the order of the disk.
    judged
        Which of them are flagged or unflagged, bool (nrow,); all are counted.
    """

    name: str
    subset: int
    rows: NDArray[np.int64]
    judged: NDArray[np.bool_]


@dataclass(frozen=True)
class RowUnit:
    """Rows of one data description, in the order of time.

    Parameters
    ----------
    name
        For errors and the progress bar.
    ddid
        The data description of all rows.
    rows
        Positions in the index.
    """

    name: str
    ddid: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class BlockUnit:
    """Baselines of one spw, scan and field, each in the order of time.

    Parameters
    ----------
    name
        For errors and the progress bar.
    ddid
        The data description of all rows.
    rows
        Positions in the index, block after block.
    starts
        The first row of each block and the number of rows, (nblock + 1,).
    """

    name: str
    ddid: int
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]


def masks(
    ms: MeasurementSet, selected: Selected, by_expression: bool
) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the selected channels and correlations of every data description that has rows.

    Parameters
    ----------
    ms, selected
        The set and what was selected of it.
    by_expression
        Whether `correlation` is an expression, so that all correlations count.
    """
    result = {}
    for number in np.unique(ms.index.ddid[selected.rows]):
        description = ms.data_descriptions[int(number)]
        ncorr = ms.shape(int(number))[1]
        correlations = np.arange(ncorr) if by_expression else selected.correlations[description.polarization]
        result[int(number)] = (selected.channels[description.spw], correlations)
    return result


def check_products(ms: MeasurementSet, ddids: Iterable[int], parameters: FlagParameters) -> None:
    """Check that the data hold what `correlation` names for clip and tfcrop.

    Raises
    ------
    InvalidSpec
        If no data description has any of it.
    """
    if parameters.mode not in ("clip", "tfcrop"):
        return
    present = dict.fromkeys(ms.correlations(ddid) for ddid in ddids)
    if present and not any(Expression.parse(parameters.correlation, names).products for names in present):
        held = "; ".join(", ".join(names) for names in present)
        raise InvalidSpec(f"correlation={parameters.correlation!r} names nothing that the data hold: {held}.")


def subset_units(ms: MeasurementSet, rows: NDArray[np.int64], judged: NDArray[np.int64]) -> list[SubsetUnit]:
    """Divide rows, of which some are `judged`, by the sub-MS they lie in."""
    wanted = np.zeros(len(ms), dtype=bool)
    wanted[judged] = True
    units = []
    for number in np.unique(ms.index.subset[rows]):
        mine = rows[ms.index.subset[rows] == number]
        mine = mine[np.argsort(ms.index.row[mine], kind="stable")]
        name = f"sub-MS {number}" if ms.is_multi else "the set"
        units.append(SubsetUnit(name, int(number), mine, wanted[mine]))
    return units


def scan_numbers(ms: MeasurementSet, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each scan a number; a SCAN_NUMBER comes again in another observation or array for another scan."""
    index = ms.index
    keys = np.stack([index.observation[rows], index.array[rows], index.scan[rows]], axis=1)
    _, place = np.unique(keys, axis=0, return_inverse=True)
    return np.asarray(place.reshape(-1), dtype=np.int64)


def quack_rows(
    ms: MeasurementSet,
    rows: NDArray[np.int64],
    interval: float,
    mode: QuackMode,
    unflagged: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """Find the rows that quack flags.

    Parameters
    ----------
    ms
        The set.
    rows
        The selected positions: a scan begins and ends with them.
    interval
        In s.
    mode
        Which part of a scan.
    unflagged
        Which of `rows` hold unflagged data, if the interval is counted from the first of them; else None.
    """
    time = ms.index.time[rows]
    scan = scan_numbers(ms, rows)
    _, first, last = scan_bounds(time, scan, unflagged)
    return rows[quack(time, first[scan], last[scan], interval, mode)]


def row_units(ms: MeasurementSet, rows: NDArray[np.int64]) -> list[RowUnit]:
    """Cut rows that are judged alone into stretches of time, which lie together on most disks."""
    units = []
    for number in np.unique(ms.index.ddid[rows]):
        ddid = int(number)
        mine = rows[ms.index.ddid[rows] == ddid]
        mine = mine[np.lexsort((mine, ms.index.time[mine]))]
        step = max(1, _ALONE // (8 * int(np.prod(ms.shape(ddid)))))
        pieces = -(-len(mine) // step)
        name = f"spw {ms.data_descriptions[ddid].spw}"
        units += [
            RowUnit(f"{name} ({piece + 1}/{pieces})", ddid, mine[piece * step : (piece + 1) * step])
            for piece in range(pieces)
        ]
    return units


def block_units(
    ms: MeasurementSet, rows: NDArray[np.int64], ntime: float | None, combinescans: bool
) -> list[BlockUnit]:
    """Cut rows into planes of one baseline in time, and gather the planes into units.

    Parameters
    ----------
    ms
        The set.
    rows
        Selected positions.
    ntime
        Length of a plane in s; None for whole scans.
    combinescans
        Whether a plane may hold several scans of a field.
    """
    index = ms.index
    keys = [index.ddid[rows], index.observation[rows], index.array[rows], index.field[rows]]
    if not combinescans:
        keys.append(index.scan[rows])
    _, group = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    time = index.time[rows]
    chunk = np.zeros(len(rows), dtype=np.int64)
    if ntime is not None:
        begin = np.full(group.max(initial=-1) + 1, np.inf)
        np.minimum.at(begin, group, time)
        chunk = np.floor((time - begin[group]) / ntime).astype(np.int64)
    order = np.lexsort((time, index.antenna2[rows], index.antenna1[rows], chunk, group))
    rows, group, chunk = rows[order], group[order], chunk[order]
    units = []
    for start, stop in _runs(group, chunk):
        mine = rows[start:stop]
        first = int(mine[0])
        ddid = int(index.ddid[first])
        edges = np.concatenate(
            (
                [0],
                1 + np.flatnonzero(np.diff(index.antenna1[mine]) | np.diff(index.antenna2[mine])),
                [len(mine)],
            )
        )
        name = f"spw {ms.data_descriptions[ddid].spw} field {index.field[first]}"
        name += "" if combinescans else f" scan {index.scan[first]}"
        for low, high in _pieces(edges, int(np.prod(ms.shape(ddid)))):
            bounds = edges[low : high + 1]
            units.append(BlockUnit(name, ddid, mine[bounds[0] : bounds[-1]], bounds - bounds[0]))
    return [
        BlockUnit(f"{unit.name} ({number + 1}/{len(units)})", unit.ddid, unit.rows, unit.starts)
        for number, unit in enumerate(units)
    ]


def _runs(*keys: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    if not len(keys[0]):
        return
    change = np.zeros(len(keys[0]) - 1, dtype=bool)
    for key in keys:
        change |= np.diff(key) != 0
    edges = np.concatenate(([0], 1 + np.flatnonzero(change), [len(keys[0])]))
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def _pieces(edges: NDArray[np.int64], cell: int) -> Iterator[tuple[int, int]]:
    """Give the first and one past the last block of each unit.

    Every piece of a scan reads over the whole scan on disk, so there are few: four, unless that makes them
    larger than memory likes or too small to be worth a task.
    """
    total = 8 * int(edges[-1]) * cell
    pieces = max(-(-total // _LARGE), min(_PIECES, total // _SMALL), 1)
    blocks = len(edges) - 1
    bounds = np.searchsorted(edges, np.arange(pieces + 1) * (edges[-1] / pieces))
    bounds[0], bounds[-1] = 0, blocks
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if high > low:
            yield low, high
