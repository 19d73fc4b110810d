"""Selecting rows, channels and correlations in CASA's own syntax."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset import expressions, ranges
from parallactic.measurementset.baselines import baselines
from parallactic.measurementset.tables import opened

if TYPE_CHECKING:
    from parallactic.measurementset.ms import MeasurementSet

__all__ = ["Selected", "Selection", "select"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a task is to work on; an empty expression selects everything.

    The syntax and its meaning are CASA's. Stricter than CASA: a field, spw, scan, antenna, intent or
    observation that the set does not have is an error, and so is a channel beyond the last. Not read: times
    without hh:mm:ss or with wildcards, uv distances with a percentage, channels by one frequency or by
    velocity.

    Attributes
    ----------
    field
        Ids, ranges and names: ``"0,2~3,3C*"``.
    spw
        Windows and channels: ``"0:5~60;70~80,1"``.
    scan, observation
        Numbers: ``"1,3~5,>7"``.
    antenna
        Antennas and baselines: ``"ea01"``, ``"ea01&ea02"``, ``"*&"``, ``"*&&&"``, ``"!ea01;!ea02"``.
    timerange
        ``"2011/03/29/08:53:20~09:10:00"``, ``">10:00:00"``, ``"08:53:20+00:05:00"``.
    uvrange
        ``"0.5~10klambda"``, ``">1km"``.
    correlation
        ``"RR,LL"``.
    intent
        ``"*TARGET*,CALIBRATE_FLUX#*"``.
    msselect
        A TaQL condition on the main table: ``"EXPOSURE>5"``.
    """

    field: str = ""
    spw: str = ""
    scan: str = ""
    antenna: str = ""
    timerange: str = ""
    uvrange: str = ""
    correlation: str = ""
    intent: str = ""
    observation: str = ""
    msselect: str = ""

    def __str__(self) -> str:
        given = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name).strip()]
        return ", ".join(given) or "everything"


@dataclass(frozen=True, slots=True)
class Selected:
    """What a selection found; empty is not an error.

    Attributes
    ----------
    rows
        Positions in the index, rising, int64.
    channels
        Per spectral window that may occur in `rows`, its channels, rising.
    correlations
        Per polarization that may occur in `rows`, the places of its correlations, rising.
    """

    rows: NDArray[np.int64]
    channels: dict[int, NDArray[np.int64]] = field(repr=False)
    correlations: dict[int, NDArray[np.int64]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def channel_slices(self, spw: int) -> list[slice]:
        """Return the channels of window `spw` as the fewest slices of step one."""
        chosen = self.channels[spw]
        starts = np.concatenate(([0], np.flatnonzero(np.diff(chosen) > 1) + 1, [len(chosen)]))
        return [slice(int(chosen[a]), int(chosen[b - 1]) + 1) for a, b in pairwise(starts)]

    def channel_mask(self, spw: int, nchan: int) -> NDArray[np.bool_]:
        """Return which of the `nchan` channels of window `spw` are selected, bool (nchan,)."""
        mask = np.zeros(nchan, dtype=bool)
        mask[self.channels.get(spw, np.zeros(0, dtype=np.int64))] = True
        return mask

    def correlation_mask(self, polarization: int, ncorr: int) -> NDArray[np.bool_]:
        """Return which of the `ncorr` correlations of `polarization` are selected, bool (ncorr,)."""
        mask = np.zeros(ncorr, dtype=bool)
        mask[self.correlations.get(polarization, np.zeros(0, dtype=np.int64))] = True
        return mask


def select(ms: MeasurementSet, selection: Selection) -> Selected:
    """Find the rows, channels and correlations of `ms` that `selection` asks for.

    Raises
    ------
    InvalidSpec
        If an expression cannot be read, or names what the set does not have. A combination that fits no row
        gives an empty result instead.
    """
    for entry in fields(selection):
        if not isinstance(getattr(selection, entry.name), str):
            raise InvalidSpec(
                f"{entry.name}={getattr(selection, entry.name)!r} must be text, in CASA's syntax."
            )
    index = ms.index
    keep = np.ones(len(index), dtype=bool)
    if selection.field.strip():
        keep &= np.isin(
            index.field, expressions.ids_or_names(selection.field, [f.name for f in ms.fields], "field")
        )
    if selection.scan.strip():
        keep &= np.isin(index.scan, expressions.ids(selection.scan, index.scan, "scan"))
    if selection.observation.strip():
        keep &= np.isin(
            index.observation, expressions.ids(selection.observation, index.observation, "observation")
        )
    if selection.intent.strip():
        keep &= np.isin(index.state, expressions.intents(selection.intent, ms.states))
    if selection.antenna.strip():
        keep &= baselines(selection.antenna, ms.antennas)[index.antenna1, index.antenna2]
    if selection.timerange.strip():
        keep &= ranges.times(selection.timerange, index.time, index.interval)
    chosen_channels = {spw.id: np.arange(spw.nchan) for spw in ms.spws}
    if selection.spw.strip():
        chosen_channels = expressions.channels(selection.spw, ms.spws)
    chosen_correlations = {p.id: np.arange(p.ncorr) for p in ms.polarizations}
    if selection.correlation.strip():
        chosen_correlations = expressions.correlations(selection.correlation, ms.polarizations)
    if selection.spw.strip() or selection.correlation.strip():
        ddids = [
            d.id
            for d in ms.data_descriptions
            if d.spw in chosen_channels and d.polarization in chosen_correlations
        ]
        keep &= np.isin(index.ddid, np.array(ddids, dtype=np.int32))
    if selection.uvrange.strip():
        keep &= _uv(ms, selection.uvrange)
    if selection.msselect.strip():
        keep &= _taql(ms, selection.msselect)
    return Selected(np.flatnonzero(keep), chosen_channels, chosen_correlations)


def _uv(ms: MeasurementSet, expression: str) -> NDArray[np.bool_]:
    uvw = ms.read(None, "UVW")
    reference = np.array([ms.spws[d.spw].reference for d in ms.data_descriptions])
    wavelength = ranges.SPEED_OF_LIGHT / reference[ms.index.ddid]
    return ranges.uv_distances(expression, np.hypot(uvw[:, 0], uvw[:, 1]), wavelength)


def _taql(ms: MeasurementSet, condition: str) -> NDArray[np.bool_]:
    keep = np.zeros(len(ms.index), dtype=bool)
    for number, path in enumerate(ms.subsets):
        with opened(path) as handle:
            try:
                picked: Any = handle.query(condition).rownumbers(handle)
            except RuntimeError as error:
                text = " ".join(str(error).split())
                raise InvalidSpec(f"msselect={condition!r} is not a TaQL condition: {text}") from error
        hit = np.zeros(int(ms.index.row[ms.index.subset == number].max(initial=-1)) + 1, dtype=bool)
        hit[np.asarray(picked, dtype=np.int64)] = True
        here = ms.index.subset == number
        keep[here] = hit[ms.index.row[here]]
    return keep
