"""setmodel: write the model of a calibrator into MODEL_DATA."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from parallactic.errors import InvalidSpec
from parallactic.measurementset import MeasurementSet, add_columns
from parallactic.measurementset.selection import Selection
from parallactic.tasks.base import ExecutorLike, SelectionParameters, TaskResult, run_units, task, using
from parallactic.tasks.quantity import Frequency, quantity
from parallactic.tasks.setmodel_stokes import source_spectrum, stokes_to_correlations

__all__ = ["setmodel"]

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class _Unit:
    """The rows of one sub-MS, rising, by data description."""

    name: str
    path: str
    subset: int
    rows: dict[int, np.ndarray[tuple[int], np.dtype[np.int64]]]


@dataclass(frozen=True)
class _Source:
    fluxdensity: tuple[float, ...]
    spix: tuple[float, ...]
    reffreq: float


def _check(
    *,
    fluxdensity: float | Sequence[float] | None,
    spix: float | Sequence[float],
    reffreq: str | float,
    standard: str,
    model: str,
    components: str,
    **_others: Any,
) -> None:
    _checked(fluxdensity, spix, reffreq, standard, model, components)


@task(check=_check)
def setmodel(
    vis: str,
    *,
    fluxdensity: float | list[float] | None = None,
    spix: float | list[float] = 0.0,
    reffreq: Frequency = "1GHz",
    standard: str = "manual",
    model: str = "",
    components: str = "",
    executor: ExecutorLike = None,
    **selection: Unpack[SelectionParameters],
) -> TaskResult:
    """Write a point source at the phase centre into MODEL_DATA of the selected rows.

    The column is added to every sub-MS if it is not there; rows that are not selected then hold a unit point
    source, as in CASA. S(ν) = S₀ (ν/ν₀)^(α + β log₁₀(ν/ν₀) + …) for all four Stokes parameters alike.

    Parameters
    ----------
    vis
        The MeasurementSet or multi-MS.
    fluxdensity
        I, Q, U, V in Jy at reffreq; fewer are filled with zeros.
    spix
        Spectral index α, or a list of α, β, ….
    reffreq
        ν₀, such as '1.4GHz'; a bare number is in Hz.
    standard
        Only 'manual': flux density scales by name are not there yet.
    model
        Image of the source: not there yet.
    components
        Component list: not there yet.
    executor
        Where to run.

    Raises
    ------
    InvalidSpec
        If something that is not there yet is asked for, or a value cannot be, or nothing is selected.
    """
    source = _checked(fluxdensity, spix, reffreq, standard, model, components)
    ms = MeasurementSet(vis)
    units = _plan(ms, Selection(**selection))
    for ddid in sorted({ddid for unit in units for ddid in unit.rows}):
        stokes_to_correlations(np.zeros(4), ms.correlations(ddid))
    ms.require_writable("MODEL_DATA")
    added = add_columns(ms, ["MODEL_DATA"])
    with using(executor) as ex:
        written = run_units(
            ex, _work, units, ms.path, source, label="writing the model", writes=lambda unit: unit.path
        )
    _log.info("wrote the model of %d rows of %s", sum(written), ms.path)
    return TaskResult(
        counts={"rows": sum(written), "added": ", ".join(added) or "nothing"}, products=[ms.path]
    )


def _checked(
    fluxdensity: float | Sequence[float] | None,
    spix: float | Sequence[float],
    reffreq: str | float,
    standard: str,
    model: str,
    components: str,
) -> _Source:
    for name, value, free in (
        ("standard", standard, "manual"),
        ("model", model, ""),
        ("components", components, ""),
    ):
        if value != free:
            raise InvalidSpec(
                f"{name}={value!r} is not there yet; give fluxdensity=[I, Q, U, V], spix and reffreq."
            )
    if fluxdensity is None:
        raise InvalidSpec("setmodel needs fluxdensity=[I, Q, U, V] in Jy.")
    values = [fluxdensity] if isinstance(fluxdensity, int | float) else list(fluxdensity)
    if not 1 <= len(values) <= 4 or not np.isfinite(values).all():
        raise InvalidSpec(f"fluxdensity={fluxdensity!r} must be one to four numbers: I, Q, U, V in Jy.")
    if values[0] <= 0:
        raise InvalidSpec(f"fluxdensity={fluxdensity!r}: Stokes I must be more than nothing.")
    indices = [spix] if isinstance(spix, int | float) else list(spix)
    if not np.isfinite(indices).all():
        raise InvalidSpec(f"spix={spix!r} must be finite numbers.")
    frequency = quantity(reffreq, "frequency")
    if not frequency > 0:
        raise InvalidSpec(f"reffreq={reffreq!r} must be more than nothing.")
    return _Source(tuple((*values, 0.0, 0.0, 0.0)[:4]), tuple(indices), frequency)


def _plan(ms: MeasurementSet, selection: Selection) -> list[_Unit]:
    selected = ms.select(selection)
    if not len(selected):
        raise InvalidSpec(f"{selection} selects no row of {ms.path}.")
    if selection.correlation.strip() or ":" in selection.spw:
        raise InvalidSpec("setmodel writes whole rows; select windows without channels, and no correlation.")
    units = []
    for subset, path in enumerate(ms.subsets):
        mine = selected.rows[ms.index.subset[selected.rows] == subset]
        if not len(mine):
            continue
        ddids = ms.index.ddid[mine]
        rows = {int(d): np.sort(ms.index.row[mine[ddids == d]]) for d in np.unique(ddids)}
        units.append(_Unit(f"sub-MS {subset}", path, subset, rows))
    return units


def _work(unit: _Unit, vis: str, source: _Source) -> int:
    ms = MeasurementSet(vis)
    written = 0
    for ddid, rows in unit.rows.items():
        spectrum = source_spectrum(source.fluxdensity, source.spix, source.reffreq, ms.frequencies(ddid))
        cell = stokes_to_correlations(spectrum, ms.correlations(ddid)).astype(np.complex64)
        step = max(1, _CHUNK_BYTES // cell.nbytes)
        for start in range(0, len(rows), step):
            piece = rows[start : start + step]
            ms.write(
                unit.subset, piece, "MODEL_DATA", np.broadcast_to(cell, (len(piece), *cell.shape)).copy()
            )
        written += len(rows)
    return written
