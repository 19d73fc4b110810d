"""What one unit of flagging does. Each function runs on a worker and travels by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parallactic.kernels.flagging import Expression, clip, extend_blocks, tfcrop_blocks
from parallactic.measurementset import MeasurementSet
from parallactic.tasks.flag.parameters import COLUMNS, FlagParameters
from parallactic.tasks.flag.plan import BlockUnit, RowUnit, SubsetUnit
from parallactic.tasks.flag.tally import Tally

__all__ = [
    "Found",
    "Masks",
    "Outcome",
    "clip_rows",
    "find_blocks",
    "flag_subset",
    "unflagged_rows",
    "write_found",
]

Masks = Mapping[int, tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Per data description the selected channels and correlations, rising."""

_CHUNK_SAMPLES = 64 * 2**20
_GROWFREQ = 80.0
"""tfcrop extends a time over all channels at this many percent of them, a channel over all times at 50."""


@dataclass
class Outcome:
    """What became of some rows.

    Parameters
    ----------
    tally
        The flags after.
    changed
        Samples whose effective flag is another than before.
    by_row
        Samples that FLAG_ROW alone flags.
    """

    tally: Tally = field(default_factory=Tally)
    changed: int = 0
    by_row: int = 0

    def merge(self, other: Outcome) -> None:
        """Add the counts of another outcome to this one."""
        self.tally.merge(other.tally)
        self.changed += other.changed
        self.by_row += other.by_row


@dataclass(frozen=True)
class Found:
    """New flags of the rows of a unit, as bits.

    Parameters
    ----------
    rows
        Positions in the index, (nrow,).
    shape
        (nrow, nchan, ncorr) of the flags.
    bits
        The flags, packed.
    """

    rows: NDArray[np.int64]
    shape: tuple[int, int, int]
    bits: NDArray[np.uint8]

    @classmethod
    def packed(cls, rows: NDArray[np.int64], flags: NDArray[np.bool_]) -> Found:
        """Pack the new flags, bool (nrow, nchan, ncorr), of rows."""
        nrow, nchan, ncorr = flags.shape
        return cls(rows, (nrow, nchan, ncorr), np.packbits(flags))

    @property
    def flags(self) -> NDArray[np.bool_]:
        """The flags, bool, of the shape `shape`."""
        count = int(np.prod(self.shape))
        return np.unpackbits(self.bits, count=count).view(np.bool_).reshape(self.shape)


def read_data(ms: MeasurementSet, rows: NDArray[np.int64], datacolumn: str) -> NDArray[np.complex64]:
    """Read what `datacolumn` names: a column, or the difference of two; complex64 (nrow, nchan, ncorr)."""
    columns = COLUMNS[datacolumn]
    data: NDArray[np.complex64] = ms.read(rows, columns[0])
    if len(columns) == 2:
        data = data - ms.read(rows, columns[1])
    return data


def unflagged_rows(unit: SubsetUnit, path: str) -> NDArray[np.bool_]:
    """Tell which rows of the unit hold at least one sample that is not flagged, bool (nrow,)."""
    ms = MeasurementSet(path)
    result = np.zeros(len(unit.rows), dtype=bool)
    for places in _places(ms, unit.rows):
        result[places] = ~ms.flags(unit.rows[places]).all(axis=(1, 2))
    return result


def flag_subset(unit: SubsetUnit, path: str, parameters: FlagParameters, selected: Masks) -> Outcome:
    """Flag or unflag the judged rows of one sub-MS, or none, count all, and write them if so asked."""
    ms = MeasurementSet(path)
    outcome = Outcome(Tally(parameters.details))
    for places in _places(ms, unit.rows):
        rows = unit.rows[places]
        before, stored = _read_flags(ms, rows)
        after = before.copy()
        judged = np.flatnonzero(unit.judged[places])
        if parameters.mode != "summary" and len(judged):
            channels, correlations = selected[int(ms.index.ddid[rows[0]])]
            after[np.ix_(judged, channels, correlations)] = parameters.mode != "unflag"
        _settle(ms, unit.subset, rows, parameters, selected, (stored, before, after), outcome)
    return outcome


def clip_rows(unit: RowUnit, path: str, parameters: FlagParameters, selected: Masks) -> Found:
    """Find what clip flags in the rows of a unit; nothing is written."""
    ms = MeasurementSet(path)
    channels, _ = selected[unit.ddid]
    expression = Expression.parse(parameters.correlation, ms.correlations(unit.ddid))
    values = expression.values(read_data(ms, unit.rows, parameters.datacolumn)[:, channels])
    outside = clip(
        values, parameters.clipminmax, clipoutside=parameters.clipoutside, clipzeros=parameters.clipzeros
    )
    nchan, ncorr = ms.shape(unit.ddid)
    part = np.zeros((len(unit.rows), len(channels), ncorr), dtype=bool)
    expression.scatter(outside, part)
    found = np.zeros((len(unit.rows), nchan, ncorr), dtype=bool)
    found[:, channels] = part
    return Found.packed(unit.rows, found)


def find_blocks(unit: BlockUnit, path: str, parameters: FlagParameters, selected: Masks) -> Found:
    """Find what tfcrop flags in the planes of a unit; nothing is written."""
    ms = MeasurementSet(path)
    channels, _ = selected[unit.ddid]
    expression = Expression.parse(parameters.correlation, ms.correlations(unit.ddid))
    values = expression.values(read_data(ms, unit.rows, parameters.datacolumn)[:, channels])
    before = ms.flags(unit.rows)
    after = np.ascontiguousarray(before[:, channels])
    judged = expression.gather(after)
    known = judged.copy()
    tfcrop_blocks(values, judged, unit.starts, parameters.tfcrop)
    expression.scatter(judged & ~known, after)
    if parameters.extendflags:
        extend_blocks(after, unit.starts, growfreq=_GROWFREQ)
    found = np.zeros_like(before)
    found[:, channels] = after & ~before[:, channels]
    return Found.packed(unit.rows, found)


def write_found(
    unit: tuple[int, Sequence[Found]], path: str, parameters: FlagParameters, selected: Masks
) -> Outcome:
    """Add what was found to the flags of one sub-MS, and count them; write them if so asked."""
    ms = MeasurementSet(path)
    subset, parts = unit
    outcome = Outcome(Tally(parameters.details))
    for part in parts:
        here = np.flatnonzero(ms.index.subset[part.rows] == subset)
        here = here[np.argsort(ms.index.row[part.rows[here]], kind="stable")]
        rows = part.rows[here]
        before, stored = _read_flags(ms, rows)
        after = before | part.flags[here]
        _settle(ms, subset, rows, parameters, selected, (stored, before, after), outcome)
    return outcome


def _read_flags(ms: MeasurementSet, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the effective flags of rows and those of the column FLAG, bool (nrow, nchan, ncorr)."""
    stored: NDArray[np.bool_] = ms.read(rows, "FLAG")
    whole: NDArray[np.bool_] = ms.read(rows, "FLAG_ROW")
    return (stored | whole[:, None, None]) if whole.any() else stored, stored


def _settle(
    ms: MeasurementSet,
    subset: int,
    rows: NDArray[np.int64],
    parameters: FlagParameters,
    selected: Masks,
    flags: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]],
    outcome: Outcome,
) -> None:
    """Write the rows that changed, with FLAG_ROW where all of a row is flagged, and count the flags after."""
    stored, before, after = flags
    changes = before != after
    rewritten = changes.any(axis=(1, 2))
    if parameters.writes and rewritten.any():
        ms.write(subset, ms.index.row[rows[rewritten]], "FLAG", after[rewritten])
    final = np.where(rewritten[:, None, None], after, stored)
    channels, correlations = selected[int(ms.index.ddid[rows[0]])]
    outcome.tally.add(ms, rows, final, channels, correlations)
    outcome.changed += int(np.count_nonzero(changes))
    outcome.by_row += int(np.count_nonzero((after & ~final)[:, channels[:, None], correlations]))


def _places(ms: MeasurementSet, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut rows into pieces of one data description and a bounded size; return their places in `rows`."""
    result = []
    ddids = ms.index.ddid[rows]
    for ddid in np.unique(ddids):
        places = np.flatnonzero(ddids == ddid)
        step = max(1, _CHUNK_SAMPLES // int(np.prod(ms.shape(int(ddid)))))
        result += [places[start : start + step] for start in range(0, len(places), step)]
    return result
