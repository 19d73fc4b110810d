"""What follows the solves: intervals put together, phases referred, bandpasses normalised and filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallactic.kernels.solving import (
    CalMode,
    RefantMode,
    bandpass_norms,
    fill_gaps,
    gain_norm,
    refer_phases,
)
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.caltable import Solutions
from parallactic.tasks.calibrate_plan import SolveUnit
from parallactic.tasks.calibrate_solve import GainType, SolvedIntervals

__all__ = ["finish", "merge_intervals"]


def merge_intervals(
    ms: MeasurementSet,
    units: Sequence[SolveUnit],
    partials: Sequence[SolvedIntervals],
    per_window: Sequence[int],
    windows_combined: bool,
) -> list[Solutions]:
    """Put the intervals of each window together in the order of time."""
    merged = []
    for spw in sorted({unit.spw for unit in units}):
        mine = [(u, p) for u, p in zip(units, partials, strict=True) if u.spw == spw and len(p.kept)]
        if not mine:
            continue
        intervals = [u.intervals[k] for u, p in mine for k in p.kept]
        times = np.concatenate([p.times for _, p in mine])
        order = np.argsort(times, kind="stable")
        cubes = {
            name: np.concatenate([getattr(p, name) for _, p in mine])[order]
            for name in ("gains", "flags", "errors", "snr", "weights", "refants")
        }
        frequencies, widths = _channels(ms, spw, per_window[spw], units if windows_combined else ())
        ids = np.array([(i.field, i.scan, i.observation) for i in intervals], dtype=np.int32)[order]
        lengths = np.array([i.end - i.start for i in intervals])[order]
        merged.append(
            Solutions(
                spw=spw,
                frequencies=frequencies,
                widths=widths,
                times=times[order],
                intervals=lengths,
                fields=ids[:, 0],
                scans=ids[:, 1],
                observations=ids[:, 2],
                refants=cubes["refants"].astype(np.int32),
                values=cubes["gains"],
                errors=cubes["errors"].astype(np.float32),
                snr=cubes["snr"].astype(np.float32),
                weights=cubes["weights"].astype(np.float32),
                flags=cubes["flags"],
            )
        )
    return merged


def _channels(
    ms: MeasurementSet, spw: int, each: int, combined: Sequence[SolveUnit]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean frequency and width of a window's solution channels, or of all windows combined."""
    if combined:
        used = {ms.data_descriptions[d].spw for unit in combined for d in np.unique(ms.index.ddid[unit.rows])}
        parts = [ms.spws[other] for other in sorted(used)]
        return (
            np.array([np.concatenate([part.frequencies for part in parts]).mean()]),
            np.array([sum(float(np.abs(part.widths).sum()) for part in parts)]),
        )
    window = ms.spws[spw]
    starts = np.arange(0, window.nchan, each)
    sizes = np.diff(np.append(starts, window.nchan))
    return np.add.reduceat(window.frequencies, starts) / sizes, np.add.reduceat(window.widths, starts)


def finish(
    solutions: Solutions,
    gaintype: GainType,
    preferred: Sequence[int],
    refantmode: RefantMode,
    fillgaps: int,
    solnorm: bool,
    calmode: CalMode,
) -> Solutions:
    """Refer the phases, normalise, fill gaps: in CASA's order."""
    if gaintype == "K":
        return _refer_delays(solutions, preferred[0], refantmode)
    gains, flags, refants = solutions.values, solutions.flags, solutions.refants
    if calmode != "a":
        good = (~flags).sum(axis=(0, 2, 3))
        gains, flags, chosen = refer_phases(gains, flags, preferred or [int(np.argmax(good))], refantmode)
        refants = chosen.astype(np.int32)
    errors, snr = solutions.errors, solutions.snr
    if solnorm:
        norms: Any = bandpass_norms(gains, flags) if gaintype == "B" else gain_norm(gains, flags)
        gains = gains / norms
        errors = (errors / np.abs(norms)).astype(np.float32)
    if fillgaps:
        neighbours = _next_good(flags)
        gains, flags = fill_gaps(gains, flags, fillgaps, axis=2)
        errors, snr = (np.take_along_axis(part, neighbours, axis=2) for part in (errors, snr))
    return replace(solutions, values=gains, flags=flags, errors=errors, snr=snr, refants=refants)


def _refer_delays(solutions: Solutions, refant: int, refantmode: RefantMode) -> Solutions:
    """Hold the delay of another reference at its last value, or flag where it had to be used."""
    values, flags = solutions.values.copy(), solutions.flags.copy()
    held = np.zeros(values.shape[1:])
    for slot, other in enumerate(solutions.refants):
        if other != refant and refantmode == "strict":
            flags[slot] = True
        elif other != refant:
            values[slot] += held[other]
        held = np.where(flags[slot], held, values[slot])
    return replace(solutions, values=values, flags=flags)


def _next_good(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each channel (axis 2) the next good one, itself if it is good or none follows.

    A channel that was filled has the error of that one, as in CASA.
    """
    nchan = flags.shape[2]
    places = np.arange(nchan, dtype=np.int64)[:, np.newaxis]
    good = np.where(flags, nchan, places)
    following = np.minimum.accumulate(good[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.where(following < nchan, following, places)
