"""Counting flags by antenna, field, scan and so on: partial sums that add up in any order to the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parallactic.kernels.flagging import count_axes
from parallactic.measurementset import MeasurementSet

__all__ = ["Axis", "Tally"]

Axis = dict[tuple[int | str, ...], list[int]]
"""Per key the flagged samples and all samples."""


@dataclass
class Tally:
    """Flagged and all samples, by what they belong to.

    Parameters
    ----------
    details
        Which of ``channel``, ``correlation``, ``baseline`` (with antenna and scan), ``field`` to count too.
    axes
        The counts by axis; keys are ids, correlations names.
    fields
        The whole tally of each field by its id, if asked for.
    """

    details: frozenset[str] = frozenset()
    axes: dict[str, Axis] = field(default_factory=dict)
    fields: dict[int, Tally] = field(default_factory=dict)

    def add(
        self,
        ms: MeasurementSet,
        rows: NDArray[np.int64],
        flags: NDArray[np.bool_],
        channels: NDArray[np.int64],
        correlations: NDArray[np.int64],
    ) -> None:
        """Count the flags of some rows of one data description.

        Parameters
        ----------
        ms
            The set.
        rows
            Positions in its index, (nrow,).
        flags
            bool, (nrow, nchan, ncorr), all channels and correlations.
        channels, correlations
            Those that are counted, rising.
        """
        if not len(rows):
            return
        index = ms.index
        ddid = int(index.ddid[rows[0]])
        spw = ms.data_descriptions[ddid].spw
        names = ms.correlations(ddid)
        counted = flags
        if (len(channels), len(correlations)) != flags.shape[1:]:
            counted = flags[:, channels[:, None], correlations]
        by_row, by_channel, by_corr = count_axes(np.ascontiguousarray(counted))
        flagged = by_row.sum(axis=1)
        each = len(channels) * len(correlations)
        self._rows("field", flagged, each, index.field[rows])
        self._rows("scan", flagged, each, index.scan[rows])
        self._rows("observation", flagged, each, index.observation[rows])
        self._rows("array", flagged, each, index.array[rows])
        antenna1, antenna2 = index.antenna1[rows], index.antenna2[rows]
        cross = antenna1 != antenna2
        self._rows("antenna", flagged, each, antenna1)
        self._rows("antenna", flagged[cross], each, antenna2[cross])
        total = len(rows) * each
        self._add("spw", (spw,), int(flagged.sum()), total)
        for place, corr in enumerate(correlations):
            self._add("correlation", (names[corr],), int(by_corr[place]), len(rows) * len(channels))
            if "correlation" in self.details:
                self._add(
                    "spw:correlation", (spw, names[corr]), int(by_corr[place]), len(rows) * len(channels)
                )
        if "channel" in self.details:
            for place, channel in enumerate(channels):
                key = (spw, int(channel))
                self._add("spw:channel", key, int(by_channel[place]), len(rows) * len(correlations))
        if "baseline" in self.details:
            scan = index.scan[rows]
            self._rows("baseline", flagged, each, antenna1, antenna2)
            self._rows("antenna:scan", flagged, each, antenna1, scan)
            self._rows("antenna:scan", flagged[cross], each, antenna2[cross], scan[cross])
        if "field" in self.details:
            for number in np.unique(index.field[rows]):
                part = self.fields.setdefault(int(number), Tally(self.details - {"field"}))
                mine = index.field[rows] == number
                part.add(ms, rows[mine], flags[mine], channels, correlations)

    def merge(self, other: Tally) -> None:
        """Add the counts of another tally to this one."""
        for name, axis in other.axes.items():
            for key, (flagged, total) in axis.items():
                self._add(name, key, flagged, total)
        for number, part in other.fields.items():
            self.fields.setdefault(number, Tally(part.details)).merge(part)

    @property
    def totals(self) -> tuple[int, int]:
        """Flagged samples and all samples."""
        axis: Mapping[tuple[int | str, ...], list[int]] = self.axes.get("spw", {})
        return sum(entry[0] for entry in axis.values()), sum(entry[1] for entry in axis.values())

    def _rows(self, name: str, flagged: NDArray[np.int64], each: int, *keys: NDArray[np.int32]) -> None:
        if not len(flagged):
            return
        code = np.zeros(len(flagged), dtype=np.int64)
        for key in keys:
            code = code * (int(key.max()) - int(key.min()) + 1) + (key - key.min())
        _, first, place, rows = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
        sums = np.zeros(len(first), dtype=np.int64)
        np.add.at(sums, place, flagged)
        found = zip(*(key[first].tolist() for key in keys), strict=True)
        for ids, number, count in zip(found, sums.tolist(), rows.tolist(), strict=True):
            self._add(name, ids, number, count * each)

    def _add(self, name: str, key: tuple[int | str, ...], flagged: int, total: int) -> None:
        entry = self.axes.setdefault(name, {}).setdefault(key, [0, 0])
        entry[0] += flagged
        entry[1] += total
