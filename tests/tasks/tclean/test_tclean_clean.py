from __future__ import annotations

import numpy as np
import pytest

from parallactic.kernels.deconvolution import CleanControl
from parallactic.tasks.tclean.clean import clean

SHAPE = (32, 32)
PSF = np.zeros(SHAPE)
PSF[16, 16] = 1.0
DIRTY = np.zeros(SHAPE)
DIRTY[5, 7], DIRTY[20, 3] = 2.0, -1.0
ALL = np.ones(SHAPE, bool)


def exact(model: np.ndarray) -> np.ndarray:
    """The major cycle of a telescope whose point spread function is one pixel."""
    return DIRTY - model


def test_a_perfect_telescope_is_cleaned_to_the_threshold() -> None:
    found = clean(DIRTY, PSF, ALL, 0.0, CleanControl(niter=1000, threshold=1e-3), exact)
    assert found.stopped == "threshold"
    assert np.abs(found.residual).max() <= 1e-3
    np.testing.assert_allclose(found.model, DIRTY, atol=1e-3)
    # Each minor cycle goes down to 5 % (minpsffraction) of its peak, by 0.9 an iteration.
    assert found.iterations == sum(found.cycles)
    assert len(found.cycles) == int(np.ceil(np.log(2.0 / 1e-3) / np.log(20)))


def test_it_stops_at_niter_over_all_cycles() -> None:
    found = clean(DIRTY, PSF, ALL, 0.0, CleanControl(niter=17, cycleniter=5), exact)
    assert (found.stopped, found.cycles) == ("niter", [5, 5, 5, 2])


def test_nothing_to_do_leaves_the_dirty_image() -> None:
    def never(model: np.ndarray) -> np.ndarray:
        raise AssertionError("there was no reason for a major cycle")

    for control, mask, reason in (
        (CleanControl(niter=0), ALL, "niter"),
        (CleanControl(niter=9), ~ALL, "empty mask"),
        (CleanControl(niter=9, threshold=2.0), ALL, "threshold"),
    ):
        found = clean(DIRTY, PSF, mask, 0.0, control, never)
        assert (found.stopped, found.iterations) == (reason, 0)
        np.testing.assert_array_equal(found.residual, DIRTY)


def test_divergence_ends_it() -> None:
    found = clean(DIRTY, PSF, ALL, 0.0, CleanControl(niter=1000), lambda model: DIRTY + 5 * model)
    assert found.stopped == "divergence"


@pytest.mark.parametrize("outside", [(20, 3), (5, 7)])
def test_nothing_is_cleaned_outside_of_the_mask(outside: tuple[int, int]) -> None:
    mask = ALL.copy()
    mask[outside] = False
    found = clean(DIRTY, PSF, mask, 0.0, CleanControl(niter=1000, threshold=1e-3), exact)
    assert found.model[outside] == 0.0
    assert found.residual[outside] == DIRTY[outside]
