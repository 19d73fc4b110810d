"""What the tests of calibration share: simulated calibrators, and how solutions are judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casacore.tables import table

from parallactic.measurementset.caltable import Solutions, read_caltable
from parallactic.measurementset.simulation import Truth, simulate, standard_observation
from parallactic.tasks import setmodel

CASA_STOPS = 0.05
"""Part of a formal error by which CASA may miss the least squares: its own iteration ends so early.

Going on from CASA's solutions leads to ours, and chi² falls.
"""


@dataclass(frozen=True)
class Calibrator:
    """A simulated set of calibrators with their model, and what was put in."""

    path: str
    truth: Truth


def simulated(folder: Path, name: str, **wanted: Any) -> Calibrator:
    path = str(folder / name)
    truth = simulate(path, standard_observation(**{"nantennas": 8, "nchan": 16, "rfi": "none", **wanted}))
    reference = f"{truth.observation.reffreq}Hz"
    for field in truth.observation.fields[:2]:
        (source,) = field.sources
        setmodel(
            path, field=field.name, fluxdensity=[source.i, source.q, source.u, source.v],
            spix=source.spix, reffreq=reference, executor="serial",
        )  # fmt: skip
    return Calibrator(path, truth)


def flag_some(path: str) -> None:
    rng = np.random.default_rng(8)
    with table(path, readonly=False, ack=False) as handle:
        flags = handle.getcol("FLAG")
        flags |= rng.uniform(size=flags.shape) < 0.05
        flags[:, 3:5] |= (handle.getcol("DATA_DESC_ID") == 0)[:, None, None]
        flags[(handle.getcol("ANTENNA1") == 2) & (handle.getcol("SCAN_NUMBER") == 2)] = True
        handle.putcol("FLAG", flags)


def pulls(solutions: Solutions, truth: np.ndarray) -> np.ndarray:
    """Return the deviations of solutions from `truth`, in formal errors; the common phase is free."""
    product = np.where(solutions.flags, 0.0, solutions.values * truth.conj())
    turn = np.exp(-1j * np.angle(product.sum(axis=1, keepdims=True)))
    deviation = np.abs(solutions.values * turn - truth) / np.where(solutions.flags, np.inf, solutions.errors)
    return deviation[~solutions.flags]


def agrees(deviations: np.ndarray, nant: int) -> None:
    """Check that deviations are noise: errors hold the other gains, which is right to order 1/nant."""
    mean_square = float(np.mean(deviations**2))
    expected_scatter = np.sqrt(1.0 / len(deviations))
    assert mean_square == pytest.approx(1.0, abs=1.5 / nant + 4 * expected_scatter)
    # Rayleigh: beyond 5 once in 7e10.
    assert deviations.max() < 5.0


def against_casa(ours: Path, theirs: Path) -> None:
    one, two = read_caltable(ours), read_caltable(theirs)
    assert one.kind == two.kind
    for here, there in zip(one.solutions, two.solutions, strict=True):
        assert here.spw == there.spw
        np.testing.assert_array_equal(here.flags, there.flags)
        good = ~here.flags
        difference = (np.abs(here.values - there.values) / np.where(good, here.errors, 1))[good]
        assert difference.max() < CASA_STOPS
        np.testing.assert_allclose(here.snr[good], there.snr[good], rtol=2e-3, atol=CASA_STOPS)
        np.testing.assert_array_equal(here.scans, there.scans)
        np.testing.assert_array_equal(here.fields, there.fields)
        np.testing.assert_allclose(here.frequencies, there.frequencies, rtol=1e-14)
        # Of the same weights; CASA adds them in single precision.
        np.testing.assert_allclose(here.times, there.times, atol=1.0)
