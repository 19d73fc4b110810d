"""One unit of a solve: read, correct beforehand, average, solve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from parallactic.kernels.solving import (
    BaselineSums,
    CalMode,
    GainSolution,
    baseline_matrix,
    combine_ratios,
    constrain_data,
    constrain_gains,
    formal_errors,
    prune,
    solve_delays,
    solve_gains,
)
from parallactic.measurementset import MeasurementSet
from parallactic.tasks.apply_chain import Link, correct_rows, missing_windows
from parallactic.tasks.calibrate_plan import SolveUnit
from parallactic.tasks.setmodel_stokes import stokes_to_correlations

__all__ = ["GainType", "SolveParameters", "SolvedIntervals", "solve_unit"]

GainType = Literal["G", "B", "T", "K"]

_RECEPTORS = {"RR": 0, "LL": 1, "XX": 0, "YY": 1}


@dataclass(frozen=True)
class SolveParameters:
    """What every unit of one solve is told.

    Attributes
    ----------
    gaintype, calmode, minblperant, minsnr, corrdepflags
        As in `calibrate`.
    groups
        For each window the solution channel of each of its channels, −1 for those not selected.
    channels
        For each window the number of solution channels.
    correlations
        For each polarization which of its correlations are selected.
    model
        Where the model comes from: the column, a unit point source, or the Stokes parameters given.
    smodel
        Stokes I, Q, U, V of a point source at the phase centre, if `model` is ``"smodel"``.
    chain
        Tables that are applied beforehand.
    refants
        Reference antennas by preference: delays are solved on the baselines to one of them.
    """

    gaintype: GainType
    calmode: CalMode
    minblperant: int
    minsnr: float
    corrdepflags: bool
    groups: tuple[NDArray[np.int64], ...]
    channels: tuple[int, ...]
    correlations: tuple[NDArray[np.bool_], ...]
    model: Literal["column", "unit", "smodel"]
    smodel: tuple[float, float, float, float]
    chain: tuple[Link, ...]
    refants: tuple[int, ...]


@dataclass(frozen=True)
class SolvedIntervals:
    """Solutions of one unit; only intervals in which something could be solved.

    Attributes
    ----------
    kept
        Places in the unit's intervals.
    times
        Weighted mean times, s.
    gains, flags, errors, snr, weights
        (nslot, nant, ngroup, nreceptor); phases not referred yet. Of a delay `gains` holds ns, relative to
        `refants`.
    refants
        The reference antenna of each slot's delays, int64 (nslot,); −1 otherwise.
    attempted
        Number of intervals of the unit.
    low_snr, unconverged
        Numbers of solutions flagged for either reason.
    """

    kept: NDArray[np.int64]
    times: NDArray[np.float64]
    gains: NDArray[Any]
    flags: NDArray[np.bool_]
    errors: NDArray[np.float64]
    snr: NDArray[np.float64]
    weights: NDArray[np.float64]
    refants: NDArray[np.int64]
    attempted: int
    low_snr: int
    unconverged: int


def solve_unit(unit: SolveUnit, vis: str, parameters: SolveParameters) -> SolvedIntervals:
    """Solve the intervals of one unit.

    Parameters
    ----------
    unit
        Rows and intervals.
    vis
        The set.
    parameters
        As of the whole solve.
    """
    ms = MeasurementSet(vis)
    sums = _average(ms, unit, parameters)
    if parameters.gaintype == "K":
        return _solve_delays(unit, sums, parameters, ms.spws[unit.spw].frequencies)
    return _solve(unit, sums, parameters)


def _average(ms: MeasurementSet, unit: SolveUnit, parameters: SolveParameters) -> BaselineSums:
    nstratum, strata = _strata(ms, unit)
    nslot = len(unit.intervals) * nstratum
    sums = BaselineSums(nslot, len(ms.antennas), parameters.channels[unit.spw])
    slot_of = np.full(len(ms.index), -1, dtype=np.int64)
    slot_of[unit.rows] = unit.slots * nstratum + strata
    columns = ["DATA", "flags", "weights", *(["MODEL_DATA"] if parameters.model == "column" else [])]
    start = unit.intervals[0].start
    for rows, read in ms.chunks(unit.rows, columns):
        ddid = int(ms.index.ddid[rows[0]])
        description = ms.data_descriptions[ddid]
        if missing_windows(parameters.chain, [description.spw]):
            continue
        data, weights, flags = read["DATA"], read["weights"], read["flags"]
        names = ms.correlations(ddid)
        scales = np.ones((len(rows), len(names)))
        bad = correct_rows(ms, parameters.chain, rows, data, scales, [True] * len(parameters.chain))
        flags |= bad
        if not parameters.corrdepflags:
            flags |= flags.any(axis=2, keepdims=True)
        if parameters.chain:
            weights = (weights * scales[:, np.newaxis, :]).astype(np.float32)
        chosen = parameters.correlations[description.polarization]
        receptors = np.array(
            [_RECEPTORS.get(name, -1) if ok else -1 for name, ok in zip(names, chosen, strict=True)],
            dtype=np.int64,
        )
        model = read["MODEL_DATA"] if parameters.model == "column" else _point_source(parameters, names, data)
        sums.add(
            data, model, weights, flags, ms.index.antenna1[rows], ms.index.antenna2[rows],
            ms.index.time[rows] - start, slot_of[rows], parameters.groups[description.spw], receptors,
        )  # fmt: skip
    return sums


def _strata(ms: MeasurementSet, unit: SolveUnit) -> tuple[int, NDArray[np.int64]]:
    """Find what is averaged apart before it is combined: fields, observations and data descriptions.

    One gain is to explain them all, but their means may differ by errors of their models, which the error of
    the gain must show.
    """
    index = ms.index
    keys = np.stack([c[unit.rows] for c in (index.field, index.observation, index.ddid)], axis=1)
    kinds, which = np.unique(keys, axis=0, return_inverse=True)
    return len(kinds), which.reshape(-1).astype(np.int64)


def _point_source(
    parameters: SolveParameters, names: Sequence[str], data: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    stokes = parameters.smodel if parameters.model == "smodel" else (1.0, 0.0, 0.0, 0.0)
    values = stokes_to_correlations(np.array(stokes)[np.newaxis], names)
    return np.broadcast_to(values.astype(np.complex64), data.shape)


def _solve(unit: SolveUnit, sums: BaselineSums, parameters: SolveParameters) -> SolvedIntervals:
    nslot = len(unit.intervals)
    ngroup, nant = sums.products.shape[1], sums.products.shape[3]
    nreceptor = 1 if parameters.gaintype == "T" else 2
    by_stratum = (nslot, -1, *sums.products.shape[1:])
    products, weights = sums.products.reshape(by_stratum), sums.weights.reshape(by_stratum)
    shape = (nslot, nant, ngroup, nreceptor)
    gains, flags = np.ones(shape, dtype=np.complex128), np.ones(shape, dtype=np.bool_)
    errors, snr, curvature = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    unconverged = low = 0
    for slot in range(nslot):
        for group in range(ngroup):
            solution = _solve_group(products[slot, :, group], weights[slot, :, group], parameters)
            error, ratio = formal_errors(solution)
            sure = solution.converged[:, np.newaxis] & solution.solved
            good = sure & (ratio >= parameters.minsnr)
            unconverged += int((solution.solved & ~sure).sum())
            low += int((sure & ~good).sum())
            gains[slot, :, group] = constrain_gains(solution.gains, parameters.calmode).T
            flags[slot, :, group] = ~good.T
            errors[slot, :, group], snr[slot, :, group] = error.T, ratio.T
            curvature[slot, :, group] = np.where(solution.solved, solution.curvature, 0.0).T
    refants = np.full(nslot, -1, dtype=np.int64)
    return _solved(unit, sums, (gains, flags, errors, snr, curvature, refants), low, unconverged)


def _solved(
    unit: SolveUnit, sums: BaselineSums, arrays: Sequence[NDArray[Any]], low: int, unconverged: int
) -> SolvedIntervals:
    """Keep the intervals that have a solution; of `arrays` the fifth holds weights."""
    nslot = len(unit.intervals)
    kept = np.flatnonzero((arrays[4] > 0).any(axis=(1, 2, 3)))
    moments = sums.times.reshape(nslot, -1).sum(axis=1)[kept]
    times = unit.intervals[0].start + moments / sums.time_weights.reshape(nslot, -1).sum(axis=1)[kept]
    gains, flags, errors, snr, weights, refants = (array[kept] for array in arrays)
    return SolvedIntervals(kept, times, gains, flags, errors, snr, weights, refants, nslot, low, unconverged)


def _solve_delays(
    unit: SolveUnit, sums: BaselineSums, parameters: SolveParameters, frequencies: NDArray[np.float64]
) -> SolvedIntervals:
    nslot, nant = len(unit.intervals), sums.products.shape[3]
    by_stratum = (nslot, -1, *sums.products.shape[1:])
    products, weights = (part.reshape(by_stratum).sum(axis=1) for part in (sums.products, sums.weights))
    shape = (nslot, nant, 1, 2)
    delays, errors, snr, total = (np.zeros(shape) for _ in range(4))
    flags = np.ones(shape, dtype=np.bool_)
    refants = np.full(nslot, -1, dtype=np.int64)
    low = 0
    for slot in range(nslot):
        V, W = baseline_matrix(products[slot], weights[slot])
        used = W * prune(W.sum(axis=0), parameters.minblperant)
        there = used.sum(axis=(0, 1, 3)) > 0
        refants[slot] = next((antenna for antenna in parameters.refants if there[antenna]), -1)
        if refants[slot] < 0:
            continue
        for receptor in range(2):
            part = V[:, receptor], used[:, receptor]
            solution = solve_delays(*part, frequencies, int(refants[slot]))
            good = solution.solved & (solution.snr >= parameters.minsnr)
            low += int((solution.solved & ~good).sum())
            delays[slot, :, 0, receptor] = np.where(solution.solved, 1e9 * solution.delays, 0.0)
            errors[slot, :, 0, receptor] = 1e9 * solution.errors
            snr[slot, :, 0, receptor] = solution.snr
            total[slot, :, 0, receptor] = np.where(solution.solved, part[1].sum(axis=(0, 2)), 0.0)
            flags[slot, :, 0, receptor] = ~good
    return _solved(unit, sums, (delays, flags, errors, snr, total, refants), low, 0)


def _solve_group(
    products: NDArray[np.complex128], weights: NDArray[np.float64], parameters: SolveParameters
) -> GainSolution:
    """Solve one interval and channel; arrays (nstratum, 2, nant, nant), upper triangles."""
    V, W = constrain_data(*baseline_matrix(products, weights), parameters.calmode)
    if parameters.gaintype == "T":
        shape = (-1, 1, *V.shape[2:])
        V, W = V.reshape(shape), W.reshape(shape)
    mean, total, scatter, counts = combine_ratios(V, W, axis=0)
    return solve_gains(mean, total, parameters.minblperant, scatter=scatter, counts=counts)
