"""How much is flagged where, and how much of what was simulated as interference was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.simulation import Truth

__all__ = [
    "Detection",
    "detections",
    "flagged_fraction",
    "flags_by_antenna_and_channel",
    "flags_by_time_and_channel",
]


def flagged_fraction(path: str | Path) -> float:
    """Return the fraction of the visibilities of a set whose FLAG is set, as CASA's summary counts it."""
    ms = MeasurementSet(path)
    flagged = total = 0
    for ddid in np.unique(ms.index.ddid):
        flags = ms.read(np.flatnonzero(ms.index.ddid == ddid), "FLAG")
        flagged, total = flagged + int(flags.sum()), total + flags.size
    return flagged / total


def flags_by_time_and_channel(
    path: str | Path, ddid: int, field: int | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return when data were taken and which fraction is flagged, over baselines and correlations.

    Parameters
    ----------
    path
        The MeasurementSet or multi-MS.
    ddid
        Data description.
    field
        Of this field alone.

    Returns
    -------
    times, fraction
        Distinct times in seconds of MJD (ntime,), and fractions (ntime, nchan).
    """
    ms = MeasurementSet(path)
    chosen = ms.index.ddid == ddid
    if field is not None:
        chosen &= ms.index.field == field
    rows = np.flatnonzero(chosen)
    flags = ms.flags(rows).mean(axis=2)
    times, place = np.unique(ms.index.time[rows], return_inverse=True)
    total = np.zeros((len(times), flags.shape[1]))
    np.add.at(total, place, flags)
    return times, total / np.bincount(place)[:, None]


def flags_by_antenna_and_channel(path: str | Path, ddid: int) -> tuple[list[int], npt.NDArray[np.float64]]:
    """Return which antennas have data, and which fraction of each is flagged, over times and correlations.

    Parameters
    ----------
    path
        The MeasurementSet or multi-MS.
    ddid
        Data description.

    Returns
    -------
    antennas, fraction
        Numbers of the antennas, and fractions (nant, nchan) of the data of their baselines.
    """
    ms = MeasurementSet(path)
    rows = np.flatnonzero(ms.index.ddid == ddid)
    flags = ms.flags(rows).mean(axis=2)
    first, second = ms.index.antenna1[rows], ms.index.antenna2[rows]
    antennas = [int(antenna) for antenna in np.union1d(first, second)]
    return antennas, np.array(
        [flags[(first == antenna) | (second == antenna)].mean(axis=0) for antenna in antennas]
    )


@dataclass(frozen=True)
class Detection:
    """What flagging did to one kind of simulated interference, or to clean data (`name` is ``clean``).

    Attributes
    ----------
    name
        Kind and strength.
    visibilities
        How many there were.
    flagged
        How many of them are flagged.
    """

    name: str
    visibilities: int
    flagged: int

    @property
    def rate(self) -> float:
        """Fraction that is flagged."""
        return self.flagged / self.visibilities if self.visibilities else float("nan")


def detections(path: str | Path, truth: Truth, channels: slice = slice(None)) -> list[Detection]:
    """Compare the flags of a simulated set, or of its partition, with the interference put in.

    Parameters
    ----------
    path
        The MeasurementSet or multi-MS.
    truth
        What was put in.
    channels
        The channels to look at, the same in every window: without edges that were flagged by hand.

    Returns
    -------
    One entry for every kind of interference, in the order of ``truth.observation.rfi``, then
    ``interference``, all of it, then ``clean``, whose rate is that of false detections.
    """
    ms = MeasurementSet(path)
    kinds = truth.observation.rfi
    total, flagged = np.zeros((2, len(kinds) + 1), dtype=np.int64)
    for ddid in np.unique(ms.index.ddid):
        rows = np.flatnonzero(ms.index.ddid == ddid)
        code = truth.rfi_of_rows(ms.data_descriptions[ddid].spw, ms.index.time[rows])[:, channels]
        total += np.bincount(code.ravel(), minlength=len(total))
        flagged += np.bincount(code[ms.flags(rows)[:, channels]], minlength=len(total))
    found = [
        Detection(f"{kind.kind}, {kind.strength:g} σ", int(total[place]), int(flagged[place]))
        for place, kind in enumerate(kinds, start=1)
    ]
    found.append(Detection("interference", int(total[1:].sum()), int(flagged[1:].sum())))
    found.append(Detection("clean", int(total[0]), int(flagged[0])))
    return found
