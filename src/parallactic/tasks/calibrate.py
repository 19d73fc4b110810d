"""calibrate: solve for antenna gains and bandpasses into tables that CASA reads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.kernels.solving import (
    CalMode,
    RefantMode,
    bandpass_norms,
    fill_gaps,
    gain_norm,
    refer_phases,
)
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.baselines import antenna_ids
from parallactic.measurementset.caltable import Solutions, check_caltable_output
from parallactic.measurementset.caltable_writing import write_caltable
from parallactic.measurementset.selection import Selected, Selection
from parallactic.tasks.apply_chain import make_chain, missing_windows
from parallactic.tasks.base import ExecutorLike, SelectionParameters, TaskResult, run_units, task, using
from parallactic.tasks.calibrate_plan import (
    SolveUnit,
    channels_per_solution,
    parse_combine,
    parse_solint,
    plan,
)
from parallactic.tasks.calibrate_solve import GainType, SolvedIntervals, SolveParameters, solve_unit

__all__ = ["CalibrateResult", "calibrate"]

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class CalibrateResult(TaskResult):
    """What a solve did.

    Attributes
    ----------
    flagged_fraction
        Of the solutions of antennas that have data.
    median_snr
        Of the good solutions.
    """

    flagged_fraction: float = 0.0
    median_snr: float = 0.0


@task
def calibrate(
    vis: str,
    caltable: str,
    gaintype: Literal["G", "B", "T", "K"] = "G",
    *,
    solint: str | float = "inf",
    combine: str | None = None,
    refant: str = "",
    refantmode: RefantMode = "flex",
    minblperant: Annotated[int, Field(ge=1)] = 4,
    minsnr: Annotated[float, Field(ge=0)] = 3.0,
    calmode: CalMode = "ap",
    solnorm: bool = False,
    fillgaps: Annotated[int, Field(ge=0)] = 0,
    gaintable: str | list[str] = "",
    gainfield: str | list[str] = "",
    interp: str | list[str] = "",
    spwmap: list[int] | list[list[int]] = [],  # noqa: B006 - never changed
    append: bool = False,
    parang: bool = False,
    smodel: list[float] | None = None,
    corrdepflags: bool = False,
    executor: ExecutorLike = None,
    **selection: Unpack[SelectionParameters],
) -> CalibrateResult:
    """Solve for the gains of antennas against the model in MODEL_DATA.

    In every solution interval the ratios of data and model are averaged by baseline with the weights w|M|²,
    and the gains that fit them best are found by StefCal. A solution is flagged if its signal-to-noise ratio
    is less than minsnr: |g| / σ_g with σ_g = σ / sqrt(Σ_q w_pq |g_q|²), where
    σ² = Σ w|V − g g*|² / (baselines − antennas) over both receptors.

    Parameters
    ----------
    vis
        The MeasurementSet or multi-MS. Without MODEL_DATA a unit point source is taken, and said aloud.
    caltable
        The table to write.
    gaintype
        'G': a complex gain per receptor. 'B': the same per channel, CASA's bandpass. 'T': one gain for
        both receptors. 'K' (delay) is not there yet.
    solint
        'inf' (up to the end of the scan), 'int' (each integration), a time such as '30s', and for 'B' also a
        part in frequency: 'inf,8ch' or 'inf,4MHz'.
    combine
        What intervals run across: 'scan', 'field', 'obs', 'spw', or several. Default: 'scan' for 'B', else
        nothing.
    refant
        Reference antennas by preference, names or ids. Default: the antenna with most solutions.
    refantmode
        Where the reference has no solution 'flex' takes the next, keeping its phase; 'strict' flags.
    minblperant
        Least number of baselines of an antenna.
    minsnr
        Least signal-to-noise ratio of a solution.
    calmode
        'ap' amplitude and phase, 'p' phase alone, 'a' amplitude alone.
    solnorm
        Normalise: 'G' and 'T' by the root of the mean power of all solutions of a window, 'B' each bandpass
        by the root of its mean power and by its mean phase.
    fillgaps
        Fill flagged runs of up to so many channels of a bandpass from their neighbours.
    gaintable
        Tables to apply beforehand, with their weights, as apply does.
    gainfield, interp, spwmap
        How to use them, one entry for each; see apply.
    append
        Add to an existing table.
    parang
        Correct for the parallactic angle beforehand: not there yet.
    smodel
        Stokes I, Q, U, V of a point source instead of MODEL_DATA.
    corrdepflags
        False: a flag of one correlation holds for all of them, as in CASA.
    executor
        Where to run.

    Raises
    ------
    InvalidSpec
        If a parameter cannot be, before anything is read.
    ParallacticError
        If not a single good solution was found: then no table is written.
    """
    if gaintype == "K":
        raise InvalidSpec("gaintype='K' is not there yet; gaintype='B' takes up delays channel by channel.")
    if parang:
        raise InvalidSpec("parang=True is not there yet.")
    if fillgaps and gaintype != "B":
        raise InvalidSpec(
            f"fillgaps={fillgaps} is for gaintype='B'; there are no channels to fill in {gaintype!r}."
        )
    combined = parse_combine(("scan" if gaintype == "B" else "") if combine is None else combine)
    if "spw" in combined and gaintype == "B":
        raise InvalidSpec("combine='spw' is not there yet for gaintype='B'.")
    seconds, frequency = parse_solint(solint, gaintype)
    stokes = _stokes(smodel)
    check_caltable_output(caltable, append=append)
    ms = MeasurementSet(vis)
    preferred = _refants(ms, refant)
    chain = make_chain(ms, gaintable, gainfield, interp, spwmap)
    selected = ms.select(Selection(**selection))
    if not len(selected):
        raise InvalidSpec(f"{Selection(**selection)} selects no row of {ms.path}.")
    per_window = [channels_per_solution(frequency, spw.widths, gaintype) for spw in ms.spws]
    counts = [-(-spw.nchan // each) for spw, each in zip(ms.spws, per_window, strict=True)]
    units = plan(ms, selected, seconds, combined, counts)
    if not units:
        raise InvalidSpec(f"{Selection(**selection)} selects only autocorrelations of {ms.path}.")
    warnings: list[str] = []
    parameters = SolveParameters(
        gaintype=gaintype,
        calmode=calmode,
        minblperant=minblperant,
        minsnr=minsnr,
        corrdepflags=corrdepflags,
        groups=tuple(
            _groups(selected, spw.id, spw.nchan, each) for spw, each in zip(ms.spws, per_window, strict=True)
        ),
        channels=tuple(counts),
        correlations=tuple(selected.correlation_mask(p.id, p.ncorr) for p in ms.polarizations),
        model=_model(ms, smodel, warnings),
        smodel=stokes,
        chain=chain,
    )
    left_out = missing_windows(chain, sorted({unit.spw for unit in units}))
    warnings += [f"window {spw} is left out: a gaintable has no solution for it." for spw in left_out]
    with using(executor) as ex:
        partials = run_units(ex, solve_unit, units, ms.path, parameters, label=f"solving {gaintype}")
    solutions = _merge(ms, units, partials, per_window, "spw" in combined)
    if not any((~entry.flags).any() for entry in solutions):
        raise ParallacticError(_nothing(ms, partials, minblperant, minsnr))
    finished = [
        _finish(entry, gaintype, preferred, refantmode, fillgaps, solnorm, calmode) for entry in solutions
    ]
    if all(entry.flags.all() for entry in finished):
        raise ParallacticError(
            f"the reference antenna {refant!r} has no solution anywhere, and refantmode='strict' flags all "
            "the others; choose another refant or refantmode='flex'. No table was written."
        )
    write_caltable(caltable, ms, f"{gaintype} Jones", finished, append=append)
    result = _result(caltable, partials, finished, warnings)
    for sentence in result.warnings:
        _log.warning("%s", sentence)
    return result


def _stokes(smodel: Sequence[float] | None) -> tuple[float, float, float, float]:
    if smodel is None:
        return (1.0, 0.0, 0.0, 0.0)
    if len(smodel) != 4 or not np.isfinite(smodel).all() or smodel[0] <= 0:
        raise InvalidSpec(
            f"smodel={smodel!r} must be four numbers, I, Q, U, V in Jy, with I more than nothing."
        )
    return (smodel[0], smodel[1], smodel[2], smodel[3])


def _refants(ms: MeasurementSet, refant: str) -> list[int]:
    chosen: list[int] = []
    for part in (piece.strip() for piece in refant.split(",") if piece.strip()):
        try:
            here = antenna_ids(part, ms.antennas)
        except InvalidSpec as error:
            raise InvalidSpec(f"refant={refant!r}: {str(error).partition(': ')[2]}") from None
        chosen.extend(int(antenna) for antenna in here)
    return list(dict.fromkeys(chosen))


def _groups(selected: Selected, spw: int, nchan: int, each: int) -> NDArray[np.int64]:
    groups = np.arange(nchan, dtype=np.int64) // each
    groups[~selected.channel_mask(spw, nchan)] = -1
    return groups


def _model(
    ms: MeasurementSet, smodel: Sequence[float] | None, warnings: list[str]
) -> Literal["column", "unit", "smodel"]:
    if smodel is not None:
        return "smodel"
    if "MODEL_DATA" in ms.columns:
        return "column"
    if ms.has_virtual_model:
        ms.require("MODEL_DATA")
    warnings.append(
        f"{ms.path} has no MODEL_DATA: the model is a point source of 1 Jy at the phase centre; "
        "run setmodel if the flux scale or the structure matters."
    )
    return "unit"


def _merge(
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
            for name in ("gains", "flags", "errors", "snr", "weights")
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
                refants=np.full(len(order), -1, dtype=np.int32),
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


def _finish(
    solutions: Solutions,
    gaintype: GainType,
    preferred: Sequence[int],
    refantmode: RefantMode,
    fillgaps: int,
    solnorm: bool,
    calmode: CalMode,
) -> Solutions:
    """Refer the phases, normalise, fill gaps: in CASA's order."""
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


def _next_good(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each channel (axis 2) the next good one, itself if it is good or none follows.

    A channel that was filled has the error of that one, as in CASA.
    """
    nchan = flags.shape[2]
    places = np.arange(nchan, dtype=np.int64)[:, np.newaxis]
    good = np.where(flags, nchan, places)
    following = np.minimum.accumulate(good[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.where(following < nchan, following, places)


def _nothing(ms: MeasurementSet, partials: Sequence[SolvedIntervals], minblperant: int, minsnr: float) -> str:
    attempted = sum(p.attempted for p in partials)
    kept = sum(len(p.kept) for p in partials)
    low = sum(p.low_snr for p in partials)
    reason = (
        f"no antenna has {minblperant} baselines with unflagged data"
        if not kept
        else f"{low} solutions are below minsnr={minsnr:g}, "
        f"{sum(p.unconverged for p in partials)} did not converge"
    )
    return (
        f"not one good solution was found in {attempted} interval(s) of {ms.path}: {reason}. Look at the "
        "flags, the model, solint and minsnr. No table was written."
    )


def _result(
    caltable: str, partials: Sequence[SolvedIntervals], solutions: Sequence[Solutions], warnings: list[str]
) -> CalibrateResult:
    total = flagged = 0
    ratios = []
    for entry in solutions:
        there = (entry.weights > 0).any(axis=(0, 2, 3))
        total += int(entry.flags[:, there].size)
        flagged += int(entry.flags[:, there].sum())
        ratios.append(entry.snr[~entry.flags])
    unconverged = sum(p.unconverged for p in partials)
    if unconverged:
        warnings.append(f"{unconverged} solutions did not converge and are flagged.")
    empty = sum(p.attempted - len(p.kept) for p in partials)
    if empty:
        warnings.append(f"{empty} interval(s) had too little unflagged data and have no solution.")
    return CalibrateResult(
        counts={
            "windows": len(solutions),
            "intervals": sum(len(entry.times) for entry in solutions),
            "solutions": total,
            "flagged": flagged,
        },
        products=[caltable],
        warnings=warnings,
        flagged_fraction=flagged / total if total else 0.0,
        median_snr=float(np.median(np.concatenate(ratios))) if ratios else 0.0,
    )
