"""calibrate: solve for antenna gains and bandpasses into tables that CASA reads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.kernels.solving import CalMode, RefantMode
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.baselines import antenna_ids
from parallactic.measurementset.caltable import Solutions, check_caltable_output
from parallactic.measurementset.caltable_writing import write_caltable
from parallactic.measurementset.selection import Selected, Selection
from parallactic.tasks.apply_chain import make_chain, missing_windows
from parallactic.tasks.base import ExecutorLike, SelectionParameters, TaskResult, run_units, task, using
from parallactic.tasks.calibrate_merge import finish, merge_intervals
from parallactic.tasks.calibrate_plan import (
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


def _check(
    *,
    gaintype: GainType,
    solint: str | float,
    combine: str | None,
    refant: str,
    calmode: CalMode,
    solnorm: bool,
    fillgaps: int,
    parang: bool,
    smodel: Sequence[float] | None,
    **_others: Any,
) -> None:
    if gaintype == "K" and not refant:
        raise InvalidSpec("gaintype='K' needs a refant: delays are solved on the baselines to one antenna.")
    if gaintype == "K" and (calmode != "ap" or solnorm):
        raise InvalidSpec("neither calmode nor solnorm means anything for gaintype='K'; leave them out.")
    if parang:
        raise InvalidSpec("parang=True is not there yet.")
    if fillgaps and gaintype != "B":
        raise InvalidSpec(
            f"fillgaps={fillgaps} is for gaintype='B'; there are no channels to fill in {gaintype!r}."
        )
    if "spw" in _combined(combine, gaintype) and gaintype in "BK":
        raise InvalidSpec(f"combine='spw' is not there yet for gaintype={gaintype!r}.")
    parse_solint(solint, gaintype)
    _stokes(smodel)


def _combined(combine: str | None, gaintype: GainType) -> frozenset[str]:
    return parse_combine(("scan" if gaintype == "B" else "") if combine is None else combine)


@task(check=_check)
def calibrate(
    vis: str,
    caltable: str,
    gaintype: GainType = "G",
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
    parang: bool = False,  # noqa: ARG001 - `_check` refuses the rest
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
        both receptors, from the parallel hands. 'K': a delay in ns per receptor, about the mean frequency of
        the window.
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
    combined = _combined(combine, gaintype)
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
    # A delay is solved from the channels, though it is one number of the window.
    grouped = [1] * len(ms.spws) if gaintype == "K" else per_window
    counts = [-(-spw.nchan // each) for spw, each in zip(ms.spws, grouped, strict=True)]
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
            _groups(selected, spw.id, spw.nchan, each) for spw, each in zip(ms.spws, grouped, strict=True)
        ),
        channels=tuple(counts),
        correlations=tuple(selected.correlation_mask(p.id, p.ncorr) for p in ms.polarizations),
        model=_model(ms, smodel, warnings),
        smodel=stokes,
        chain=chain,
        refants=tuple(preferred),
    )
    left_out = missing_windows(chain, sorted({unit.spw for unit in units}))
    warnings += [f"window {spw} is left out: a gaintable has no solution for it." for spw in left_out]
    with using(executor) as ex:
        partials = run_units(ex, solve_unit, units, ms.path, parameters, label=f"solving {gaintype}")
    solutions = merge_intervals(ms, units, partials, per_window, "spw" in combined)
    if not any((~entry.flags).any() for entry in solutions):
        raise ParallacticError(_nothing(ms, partials, minblperant, minsnr))
    finished = [
        finish(entry, gaintype, preferred, refantmode, fillgaps, solnorm, calmode) for entry in solutions
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
