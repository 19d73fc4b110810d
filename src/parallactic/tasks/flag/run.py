"""Handing the units of flagging to an executor, and putting their outcomes together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parallactic.measurementset import MeasurementSet
from parallactic.tasks.base import StepFailed, run_units
from parallactic.tasks.flag.parameters import FlagParameters
from parallactic.tasks.flag.plan import BlockUnit, RowUnit, subset_units
from parallactic.tasks.flag.tally import Tally
from parallactic.tasks.flag.work import Found, Masks, Outcome, flag_subset, unflagged_rows, write_found
from parallactic.tasks.units import watch_units

__all__ = ["flag_found", "flag_rows", "unflagged"]


def unflagged(ex: Any, ms: MeasurementSet, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which of `rows` hold data that are not flagged, bool (nrow,)."""
    units = subset_units(ms, rows, rows)
    result = np.zeros(len(ms), dtype=bool)
    for unit, found in zip(units, run_units(ex, unflagged_rows, units, ms.path, label="quack"), strict=True):
        result[unit.rows] = found
    return result[rows]


def flag_rows(
    ex: Any,
    ms: MeasurementSet,
    rows: NDArray[np.int64],
    judged: NDArray[np.int64],
    parameters: FlagParameters,
    chosen: Masks,
) -> Outcome:
    """Flag, unflag or count whole rows, whatever their data: one task per sub-MS reads and writes its flags.

    Parameters
    ----------
    ex
        The executor.
    ms
        The set.
    rows
        Selected positions: all are counted.
    judged
        Those of them that are flagged or unflagged.
    parameters, chosen
        What to do, and the selected channels and correlations.
    """
    units = subset_units(ms, rows, judged)
    writes = (lambda unit: ms.subsets[unit.subset]) if parameters.writes else None
    common = (ms.path, parameters, chosen)
    outcomes = run_units(ex, flag_subset, units, *common, label=parameters.mode, writes=writes)
    return _merged(outcomes, parameters)


def flag_found(
    ex: Any,
    ms: MeasurementSet,
    find: Callable[..., Found],
    units: Sequence[RowUnit | BlockUnit],
    parameters: FlagParameters,
    chosen: Masks,
) -> Outcome:
    """Find bad data in parallel, then let one task per sub-MS write the flags; none writes if a unit failed.

    Parameters
    ----------
    ex
        The executor.
    ms
        The set.
    find
        What finds the new flags of a unit: `clip_rows` or `find_blocks`.
    units
        All selected rows, each once.
    parameters, chosen
        What to do, and the selected channels and correlations.

    Raises
    ------
    StepFailed
        If units failed; it names them.
    """
    common = (ms.path, parameters, chosen)
    found = run_units(ex, find, units, *common, label=parameters.mode, futures=True)
    _wait(found, units, parameters.mode)
    by_subset: dict[int, list[Future[Any]]] = {}
    for unit, future in zip(units, found, strict=True):
        for subset in np.unique(ms.index.subset[unit.rows]):
            by_subset.setdefault(int(subset), []).append(future)
    writing = sorted(by_subset.items())
    writes = (lambda unit: ms.subsets[unit[0]]) if parameters.writes else None
    outcomes = run_units(ex, write_found, writing, *common, label="writing flags", writes=writes)
    return _merged(outcomes, parameters)


def _wait(futures: Sequence[Future[Any]], units: Sequence[RowUnit | BlockUnit], label: str) -> None:
    watch_units(futures, label)
    failures: dict[str, BaseException] = {}
    for unit, future in zip(units, futures, strict=True):
        error = CancelledError("it was cancelled") if future.cancelled() else future.exception()
        if error is not None:
            failures[unit.name] = error
    if failures:
        shown = "; ".join(f"{key}: {type(e).__name__}: {e}" for key, e in list(failures.items())[:5])
        message = f"{label}: {len(failures)} of {len(units)} units failed, no flag was written. {shown}"
        first = next(iter(failures.values()))
        raise StepFailed(message, label=label, failures=failures, total=len(units)) from first


def _merged(outcomes: Sequence[Outcome], parameters: FlagParameters) -> Outcome:
    whole = Outcome(Tally(parameters.details))
    for outcome in outcomes:
        whole.merge(outcome)
    return whole
