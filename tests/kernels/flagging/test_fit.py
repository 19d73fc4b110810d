from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parallactic.kernels.flagging.fit import POINTS_PER_PIECE, fit_pieces, robust_fit

# Least squares in double precision over at most a hundred points of order one.
EXACT = 1e-10


def pieces(
    values: NDArray[np.float64], keep: NDArray[np.bool_], count: int, degree: int
) -> NDArray[np.float64]:
    fit = np.empty(len(values))
    fit_pieces(values, keep, count, degree, fit)
    return fit


def robust(
    values: NDArray[np.float64],
    *,
    good: NDArray[np.bool_] | None = None,
    poly: bool = True,
    maxnpieces: int = 7,
    cutoff: float = 3.0,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
    good = np.ones(len(values), dtype=bool) if good is None else good
    fit, keep = np.empty(len(values)), np.empty(len(values), dtype=bool)
    sigma = robust_fit(values, good, poly, maxnpieces, cutoff, fit, keep)
    return fit, keep, sigma


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_polynomial_of_its_degree_is_fitted_exactly(degree: int) -> None:
    x = np.linspace(-1, 1, 40)
    values = np.vander(x, degree + 1) @ [1.0, -0.5, 0.3, 0.8][: degree + 1]
    assert np.allclose(pieces(values, np.ones(40, dtype=bool), 1, degree), values, atol=EXACT, rtol=0)


def test_each_piece_has_its_own_polynomial() -> None:
    values = np.concatenate([np.linspace(0, 1, 20), np.linspace(5, 3, 20)])
    assert np.allclose(pieces(values, np.ones(40, dtype=bool), 2, 1), values, atol=EXACT, rtol=0)


def test_agrees_with_numpy_where_points_are_missing() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(5, 1, 30)
    keep = rng.random(30) < 0.7
    x = np.arange(30.0)
    expected = np.polynomial.Polynomial.fit(x[keep], values[keep], 3)(x)
    held = np.clip(expected, values[keep].min(), values[keep].max())
    assert np.allclose(pieces(values, keep, 1, 3), held, atol=1e-8, rtol=0)


def test_a_piece_without_points_is_bridged_between_its_neighbours() -> None:
    values = np.ones(30)
    values[20:] = 3.0
    keep = np.ones(30, dtype=bool)
    keep[10:20] = False
    fit = pieces(values, keep, 3, 2)
    assert np.allclose(fit[9:21], np.linspace(1, 3, 12), atol=EXACT, rtol=0)


def test_ends_without_points_take_the_nearest_value() -> None:
    keep = np.zeros(30, dtype=bool)
    keep[10:20] = True
    assert np.allclose(pieces(np.full(30, 2.0), keep, 3, 3), 2.0, atol=EXACT, rtol=0)


def test_without_any_point_there_is_no_fit() -> None:
    assert np.isnan(pieces(np.ones(10), np.zeros(10, dtype=bool), 2, 1)).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_fit_stays_between_the_points_it_rests_on(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    values = np.array(data.draw(st.lists(st.floats(-1e3, 1e3), min_size=n, max_size=n)))
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    fit = pieces(values, keep, data.draw(st.integers(1, 7)), data.draw(st.integers(0, 3)))
    if keep.any():
        assert np.isfinite(fit).all()
        assert fit.min() >= values[keep].min() - 1e-9
        assert fit.max() <= values[keep].max() + 1e-9


def test_spikes_do_not_lift_the_base() -> None:
    base = 1 + 0.3 * np.sin(np.linspace(0, 3, 64))
    noise = np.random.default_rng(2).normal(0, 0.01, 64)
    values = base + noise
    spikes = [5, 20, 21, 40, 58]
    values[spikes] += [0.5, 10, 12, 3, 0.2]
    fit, keep, sigma = robust(values)
    assert not keep[spikes].any()
    # A cubic through eight points follows the noise to about sigma; a lifted base would be off by far more.
    assert np.abs(fit - base).max() < 0.03
    # The scatter about a fit with four terms for eight points is below the noise.
    assert 0.004 < sigma < 0.012


def test_the_steep_ends_of_a_band_are_its_shape() -> None:
    channel = np.arange(64)
    base = (1 - np.exp(-(channel + 0.6) / 2)) * (1 - np.exp(-(63.6 - channel) / 2))
    values = base * (1 + np.random.default_rng(3).normal(0, 0.01, 64))
    fit, keep, _ = robust(values)
    # 14 % is what a cubic over nine channels leaves of an exponential that rises within two.
    assert np.abs(fit / base - 1)[[0, 1, 2, 61, 62, 63]].max() < 0.14
    assert keep[[0, 1, 62, 63]].all()


def test_a_dead_channel_does_not_pull_the_base_down() -> None:
    values = 1 + np.random.default_rng(4).normal(0, 0.01, 64)
    values[30] = 0.0
    fit, _, _ = robust(values)
    assert abs(fit[29] - 1) < 0.05
    assert abs(fit[31] - 1) < 0.05


def test_a_line_is_straight_whatever_the_number_of_pieces() -> None:
    x = np.arange(50.0)
    values = 3 + 0.02 * x
    values[10] += 9
    fit, keep, _ = robust(values, poly=False, cutoff=4.0)
    assert np.allclose(fit, 3 + 0.02 * x, atol=1e-9, rtol=0)
    assert np.flatnonzero(~keep).tolist() == [10]


def test_a_piece_never_follows_single_points() -> None:
    rng = np.random.default_rng(5)
    values = 1 + rng.normal(0, 0.1, 2 * POINTS_PER_PIECE)
    few, _, _ = robust(values, maxnpieces=9)
    two, _, _ = robust(values, maxnpieces=2)
    assert np.array_equal(few, two)


@settings(max_examples=30, deadline=None)
@given(st.integers(-8, 8), st.integers(0, 10**6))
def test_the_scale_of_the_data_does_not_matter(power: int, seed: int) -> None:
    values = np.random.default_rng(seed).exponential(1.0, 40)
    fit, keep, sigma = robust(values)
    scaled, kept, spread = robust(values * 2.0**power)
    assert np.array_equal(keep, kept)
    assert np.allclose(scaled, fit * 2.0**power, rtol=1e-12)
    assert spread == pytest.approx(sigma * 2.0**power, rel=1e-12)
