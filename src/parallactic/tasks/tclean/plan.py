"""How imaging divides: into blocks of rows cut from the logical data, the same on every backend."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging import ImageGeometry, separation
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.selection import Selected
from parallactic.tasks.tclean.region import declination, right_ascension

__all__ = ["Band", "Block", "Plan", "plan_imaging"]

_HANDS = (("RR", "LL"), ("XX", "YY"))
_FRAMES = {"J2000": "FK5", "ICRS": "ICRS"}

_LEAST_BLOCK = 2**16
"""Fewer visibilities than these are not worth a block of their own."""

_LARGEST_BLOCK = 2**23
"""The most visibilities in one block: some 270 MB while it is gridded in double precision."""

_ENOUGH_BLOCKS = 16
"""No more blocks than these are cut, unless blocks grow too large: each pays for its Fourier transforms."""


@dataclass(frozen=True, slots=True)
class Band:
    """The part of one data description that is imaged.

    Parameters
    ----------
    ddid
        The data description.
    hands
        Positions of the two parallel hands among its correlations.
    channels
        Channels used, rising; shape (channel,).
    frequency
        Their frequencies, Hz.
    """

    ddid: int
    hands: tuple[int, int]
    channels: npt.NDArray[np.int64]
    frequency: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Block:
    """A unit of work: rows of spectral windows that were observed together.

    Parameters
    ----------
    name
        For progress and errors.
    bands
        The spectral windows.
    rows
        Positions in the index for each of them: as many for each, row by row of one baseline and time.
    """

    name: str
    bands: tuple[Band, ...]
    rows: tuple[npt.NDArray[np.int64], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that imaging needs to know of the data beforehand.

    Parameters
    ----------
    blocks
        Units of work, in canonical order.
    centre
        Phase centre of the image: right ascension and declination, radians.
    frame
        Its frame as FITS calls it: ``FK5`` or ``ICRS``.
    frequency, bandwidth
        Centre and width of the band that is imaged, Hz.
    spectral_frame
        casacore's number of the frequency frame.
    fields
        Ids of the fields imaged.
    rows, visibilities
        Selected rows and channels of rows, flagged ones included.
    warnings
        What a person should know.
    """

    blocks: tuple[Block, ...]
    centre: tuple[float, float]
    frame: str
    frequency: float
    bandwidth: float
    spectral_frame: int
    fields: tuple[int, ...]
    rows: int
    visibilities: int
    warnings: tuple[str, ...]


def plan_imaging(
    ms: MeasurementSet, selected: Selected, geometry: ImageGeometry, phasecenter: str | int
) -> Plan:
    """Cut the selected data into blocks.

    A block holds at least about as many visibilities as the image has pixels: then its Fourier transforms,
    which do not divide, cost no more than its gridding (measured: 0.25 µs a pixel, 0.22 µs a visibility).
    Blocks are cut in the order of time, so that each lies in one place on disk, and their boundaries follow
    from the data and the image alone. Autocorrelations are left out, as in CASA.

    Raises
    ------
    InvalidSpec
        If nothing is selected, the parallel hands are missing, frames differ, or `phasecenter` is unclear.
    """
    index = ms.index
    rows = np.asarray(selected.rows, np.int64)
    rows = rows[index.antenna1[rows] != index.antenna2[rows]]
    if rows.size == 0:
        raise InvalidSpec(f"the selection leaves no cross-correlation of {ms.path}; select more.")
    bands = [_band(ms, selected, int(ddid)) for ddid in np.unique(index.ddid[rows])]
    groups = _together(ms, rows, [band for band in bands if band.channels.size])
    if not groups:
        raise InvalidSpec(f"the selection leaves no channel of {ms.path}; select more.")
    blocks: list[Block] = []
    worth = max(geometry.nx * geometry.ny, _LEAST_BLOCK)
    for group, members in groups:
        visibilities = members[0].size * sum(band.channels.size for band in group)
        count = min(math.ceil(visibilities / worth), _ENOUGH_BLOCKS)
        count = min(max(count, math.ceil(visibilities / _LARGEST_BLOCK)), members[0].size)
        order = np.argsort(index.time[members[0]], kind="stable")
        for part in np.array_split(order, count):
            name = f"block {len(blocks) + 1}"
            blocks.append(Block(name, tuple(group), tuple(positions[part] for positions in members)))
    fields = tuple(int(field) for field in np.unique(index.field[rows]))
    centre, frame = _phase_centre(ms, fields, phasecenter)
    low, high = _edges(ms, bands)
    return Plan(
        blocks=tuple(blocks),
        centre=centre,
        frame=frame,
        frequency=(low + high) / 2,
        bandwidth=high - low,
        spectral_frame=_spectral_frame(ms, bands),
        fields=fields,
        rows=int(rows.size),
        visibilities=sum(b.rows[0].size * sum(band.channels.size for band in b.bands) for b in blocks),
        warnings=tuple(_warnings(ms, fields, centre)),
    )


def _band(ms: MeasurementSet, selected: Selected, ddid: int) -> Band:
    description = ms.data_descriptions[ddid]
    names = ms.correlations(ddid)
    chosen = [names[place] for place in selected.correlations.get(description.polarization, ())]
    for pair in _HANDS:
        if set(pair) <= set(chosen):
            hands = names.index(pair[0]), names.index(pair[1])
            break
    else:
        raise InvalidSpec(
            f"stokes='I' needs RR and LL, or XX and YY; data description {ddid} of {ms.path} gives "
            f"{', '.join(chosen) or 'nothing'}."
        )
    channels = selected.channels[description.spw]
    return Band(ddid, hands, channels, np.asarray(ms.frequencies(ddid)[channels], np.float64))


def _together(
    ms: MeasurementSet, rows: npt.NDArray[np.int64], bands: Sequence[Band]
) -> list[tuple[list[Band], list[npt.NDArray[np.int64]]]]:
    """Group the bands whose rows are of the same baselines, times and fields: one call grids them all."""
    index = ms.index
    groups: list[tuple[list[Band], list[npt.NDArray[np.int64]]]] = []
    for band in bands:
        mine = rows[index.ddid[rows] == band.ddid]
        mine = mine[
            np.lexsort([index.field[mine], index.time[mine], index.antenna2[mine], index.antenna1[mine]])
        ]
        for group, members in groups:
            first = members[0]
            if all(
                np.array_equal(column[first], column[mine])
                for column in (index.time, index.antenna1, index.antenna2, index.field)
            ):
                group.append(band)
                members.append(mine)
                break
        else:
            groups.append(([band], [mine]))
    return groups


def _edges(ms: MeasurementSet, bands: Sequence[Band]) -> tuple[float, float]:
    low, high = math.inf, -math.inf
    for band in bands:
        widths = np.abs(ms.spws[ms.data_descriptions[band.ddid].spw].widths[band.channels])
        if band.channels.size:
            low = min(low, float(np.min(band.frequency - widths / 2)))
            high = max(high, float(np.max(band.frequency + widths / 2)))
    return low, high


def _spectral_frame(ms: MeasurementSet, bands: Sequence[Band]) -> int:
    frames = Counter(ms.spws[ms.data_descriptions[band.ddid].spw].frame for band in bands)
    if len(frames) > 1:
        raise InvalidSpec(
            "the selected spectral windows have different frequency frames; image them one by one, with spw=."
        )
    return next(iter(frames))


def _phase_centre(
    ms: MeasurementSet, fields: Sequence[int], phasecenter: str | int
) -> tuple[tuple[float, float], str]:
    """Return the direction of the image's centre: of a field, or one that is written out."""
    frames = {ms.fields[field].frame for field in fields}
    unknown = sorted(frames - set(_FRAMES))
    if unknown or len(frames) > 1:
        raise InvalidSpec(
            f"the fields have directions in {', '.join(sorted(frames))}; only fields that are all in J2000 "
            "or all in ICRS can be imaged."
        )
    (frame,) = frames
    text = str(phasecenter).strip()
    if not text:
        return _direction(ms, fields[0]), _FRAMES[frame]
    if text.isdigit():
        if int(text) >= len(ms.fields):
            raise InvalidSpec(f"phasecenter={phasecenter!r}: {ms.path} has {len(ms.fields)} fields, from 0.")
        return _direction(ms, int(text)), _FRAMES[frame]
    names = [field.name for field in ms.fields]
    if text in names:
        return _direction(ms, names.index(text)), _FRAMES[frame]
    match = re.fullmatch(r"(\w+)\s+(\S+)\s+(\S+)", text)
    if match is None or match[1].upper() not in _FRAMES:
        raise InvalidSpec(
            f"phasecenter={phasecenter!r} is no field and no direction; write a field, or for example "
            "'J2000 10h08m00.016s 7d30m16.55s'."
        )
    if match[1].upper() != frame:
        raise InvalidSpec(f"phasecenter={phasecenter!r} must be in the frame of the fields, {frame}.")
    return (right_ascension(match[2]), declination(match[3])), _FRAMES[frame]


def _direction(ms: MeasurementSet, field: int) -> tuple[float, float]:
    ra, dec = ms.fields[field].direction
    return float(ra), float(dec)


def _warnings(ms: MeasurementSet, fields: Sequence[int], centre: tuple[float, float]) -> list[str]:
    apart = [f for f in fields if separation(_direction(ms, f), centre) > math.radians(1 / 3600)]
    if not apart or len(fields) == 1:
        return []
    names = ", ".join(ms.fields[field].name for field in apart)
    return [
        f"field {names} points elsewhere than the image's phase centre: all fields are imaged together "
        "without weighting by their primary beams, and .pb is that of one pointing at the phase centre."
    ]
