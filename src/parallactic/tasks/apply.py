"""apply: correct data by calibration tables, into CORRECTED_DATA."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet, add_columns
from parallactic.measurementset.flagversions import next_name, require_writable_versions, save_version
from parallactic.measurementset.selection import Selection
from parallactic.tasks.apply_chain import Link, correct_rows, make_chain, missing_windows
from parallactic.tasks.apply_weights import new_weights
from parallactic.tasks.base import ExecutorLike, SelectionParameters, TaskResult, run_units, task, using

__all__ = ["ApplyMode", "ApplyResult", "apply"]

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 64 * 2**20

ApplyMode = Literal[
    "calflag", "calflagstrict", "trial", "trialstrict", "flagonly", "flagonlystrict", "calonly"
]
"""Calibrate and flag; the same without writing; flag alone; calibrate alone. Strict: flag what cannot be."""


@dataclass(kw_only=True)
class ApplyResult(TaskResult):
    """What was applied.

    Attributes
    ----------
    flagged_before, flagged_after
        Fraction of the selected visibilities.
    """

    flagged_before: float = 0.0
    flagged_after: float = 0.0


@dataclass(frozen=True)
class _Unit:
    """The rows of one sub-MS, as positions in the index, in the order of the disk."""

    name: str
    path: str
    subset: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class _Parameters:
    chain: tuple[Link, ...]
    calwt: tuple[bool, ...]
    calibrates: bool
    flags: bool
    strict: bool
    writes: bool


@dataclass(frozen=True)
class _Counts:
    rows: int
    visibilities: int
    before: int
    after: int


def _check(*, gaintable: str | Sequence[str], parang: bool, **_others: Any) -> None:
    if parang:
        raise InvalidSpec("parang=True is not there yet.")
    if not any([gaintable] if isinstance(gaintable, str) else gaintable):
        raise InvalidSpec("apply needs at least one gaintable.")


@task(check=_check)
def apply(
    vis: str,
    gaintable: str | list[str],
    *,
    gainfield: str | list[str] = "",
    interp: str | list[str] = "",
    spwmap: list[int] | list[list[int]] = [],  # noqa: B006 - never changed
    calwt: bool | list[bool] = True,
    parang: bool = False,  # noqa: ARG001 - `_check` refuses the rest
    applymode: ApplyMode = "calflag",
    flagbackup: bool = True,
    executor: ExecutorLike = None,
    **selection: Unpack[SelectionParameters],
) -> ApplyResult:
    """Divide DATA by the gains of calibration tables and write CORRECTED_DATA.

    Amplitude and phase of solutions are interpolated linearly, or the nearest is taken; nothing is
    extrapolated: beyond the first and the last solution those are used. In time a flagged solution spoils
    what lies between it and its neighbours; along frequency flagged channels are bridged. A visibility with
    a flagged solution on either side is flagged, and that side counts as 1. A window that a table has no
    solution for passes uncorrected, unless the mode is strict.

    Parameters
    ----------
    vis
        The MeasurementSet or multi-MS.
    gaintable
        Tables, used one after another.
    gainfield
        For each table the fields whose solutions are used: names, ids, 'nearest' on the sky, or empty: all.
    interp
        For each table '<in time>,<along frequency>': 'linear' or 'nearest', and 'linear', 'nearest',
        'linearflag' or 'nearestflag'; the latter two flag what is near a flagged channel of a solution.
    spwmap
        For each table a list with the window to take for each window of the set.
    calwt
        Weights follow: WEIGHT and WEIGHT_SPECTRUM become the inverse square of SIGMA and SIGMA_SPECTRUM
        times |g_p g_q|² (of a bandpass the mean over its good channels). Applied twice it gives the same. One
        value, or one per table.
    parang
        Correct for the parallactic angle: not there yet.
    applymode
        'calflag' corrects and flags, 'calonly' only corrects, 'flagonly' only flags, 'trial' writes nothing
        and only counts; with 'strict' behind it what no solution is there for is flagged.
    flagbackup
        Save the flags before they are changed.
    executor
        Where to run.

    Raises
    ------
    InvalidSpec
        If a parameter cannot be, or a table does not fit, before anything is written.
    """
    ms = MeasurementSet(vis)
    chain = make_chain(ms, gaintable, gainfield, interp, spwmap)
    parameters = _parameters(chain, calwt, applymode)
    units = _plan(ms, Selection(**selection))
    spws = sorted({ms.data_descriptions[d].spw for u in units for d in np.unique(ms.index.ddid[u.rows])})
    warnings = _warnings(ms, chain, spws, parameters)
    if parameters.writes:
        ms.require_writable(*(["CORRECTED_DATA"] if parameters.calibrates else []))
        if parameters.flags and flagbackup:
            require_writable_versions(ms)
            save_version(
                ms, next_name(ms, "apply"), f"before apply of {', '.join(link.path for link in chain)}"
            )
        if parameters.calibrates:
            add_columns(ms, ["CORRECTED_DATA"])
    with using(executor) as ex:
        counts = run_units(ex, _work, units, ms.path, parameters, label="applying", writes=lambda u: u.path)
    for sentence in warnings:
        _log.warning("%s", sentence)
    return _result(ms, parameters, counts, warnings)


def _parameters(chain: tuple[Link, ...], calwt: bool | Sequence[bool], applymode: ApplyMode) -> _Parameters:
    weighs = [calwt] * len(chain) if isinstance(calwt, bool) else list(calwt)
    if len(weighs) == 1:
        weighs *= len(chain)
    if len(weighs) != len(chain):
        raise InvalidSpec(f"calwt has {len(weighs)} entries for {len(chain)} gaintable(s).")
    return _Parameters(
        chain=chain,
        calwt=tuple(weighs),
        calibrates=applymode in ("calflag", "calflagstrict", "calonly"),
        flags=applymode != "calonly",
        strict=applymode.endswith("strict"),
        writes=not applymode.startswith("trial"),
    )


def _plan(ms: MeasurementSet, selection: Selection) -> list[_Unit]:
    if selection.correlation.strip() or ":" in selection.spw:
        raise InvalidSpec("apply corrects whole rows; select windows without channels, and no correlation.")
    selected = ms.select(selection)
    if not len(selected):
        raise InvalidSpec(f"{selection} selects no row of {ms.path}.")
    units = []
    for subset, path in enumerate(ms.subsets):
        mine = selected.rows[ms.index.subset[selected.rows] == subset]
        if len(mine):
            units.append(_Unit(f"sub-MS {subset}", path, subset, mine[np.argsort(ms.index.row[mine])]))
    return units


def _warnings(
    ms: MeasurementSet, chain: Sequence[Link], spws: Sequence[int], parameters: _Parameters
) -> list[str]:
    missing = missing_windows(chain, spws)
    if len(missing) == len(spws):
        raise InvalidSpec(
            f"no selected window of {ms.path} has solutions in every gaintable; use spwmap to take those of "
            "another window."
        )
    fate = "flagged" if parameters.strict and parameters.flags else "left uncorrected"
    return [f"window {spw} is {fate}: a gaintable has no solution for it." for spw in missing]


def _work(unit: _Unit, vis: str, parameters: _Parameters) -> _Counts:
    ms = MeasurementSet(vis)
    rows = visibilities = before = after = 0
    ddids = ms.index.ddid[unit.rows]
    for ddid in np.unique(ddids):
        mine = unit.rows[ddids == ddid]
        nchan, ncorr = ms.shape(int(ddid))
        step = max(1, _CHUNK_BYTES // (8 * nchan * ncorr))
        for start in range(0, len(mine), step):
            old, new = _piece(ms, unit.subset, mine[start : start + step], parameters)
            before, after = before + old, after + new
        rows, visibilities = rows + len(mine), visibilities + len(mine) * nchan * ncorr
    return _Counts(rows, visibilities, before, after)


def _piece(ms: MeasurementSet, subset: int, rows: NDArray[np.int64], p: _Parameters) -> tuple[int, int]:
    """Correct rows of one data description and write them; return how many were and are flagged."""
    data = ms.read(rows, "DATA")
    flags = ms.flags(rows)
    scales = np.ones((len(rows), data.shape[2]))
    spw = ms.data_descriptions[int(ms.index.ddid[rows[0]])].spw
    if missing_windows(p.chain, [spw]):
        bad = np.full(data.shape, p.strict)
    else:
        bad = correct_rows(ms, p.chain, rows, data, scales, p.calwt)
    result = flags | bad if p.flags else flags
    if p.writes:
        places = ms.index.row[rows]
        if p.calibrates:
            ms.write(subset, places, "CORRECTED_DATA", data)
            if any(p.calwt):
                for column, values in new_weights(ms, rows, scales):
                    ms.write(subset, places, column, values)
        # Rows without a new flag stay as they are: FLAG and FLAG_ROW of other tasks may differ there.
        changed = (result & ~flags).any(axis=(1, 2))
        if changed.any():
            ms.write(subset, places[changed], "FLAG", result[changed])
    return int(flags.sum()), int(result.sum())


def _result(
    ms: MeasurementSet, parameters: _Parameters, counts: Sequence[_Counts], warnings: list[str]
) -> ApplyResult:
    total = sum(c.visibilities for c in counts)
    before, after = sum(c.before for c in counts), sum(c.after for c in counts)
    return ApplyResult(
        counts={
            "rows": sum(c.rows for c in counts),
            "visibilities": total,
            "flagged before": before,
            "flagged after": after,
        },
        products=[ms.path] if parameters.writes else [],
        warnings=warnings,
        flagged_before=before / total if total else 0.0,
        flagged_after=after / total if total else 0.0,
    )
