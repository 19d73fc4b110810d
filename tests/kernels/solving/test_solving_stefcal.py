"""StefCal: exact where it must be, the least squares where there is noise, and errors that are true."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from parallactic.kernels.solving import constrain_data, constrain_gains, formal_errors, prune, solve_gains


def gains_of(rng: np.random.Generator, nant: int) -> np.ndarray:
    return rng.uniform(0.5, 1.5, nant) * np.exp(1j * rng.uniform(-np.pi, np.pi, nant))


def observed(
    rng: np.random.Generator, g: np.ndarray, sigma: float, nsolve: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return visibilities of unit sources with noise `sigma` in either part, and their weights 1/sigma²."""
    nant = len(g)
    V = np.zeros((nsolve, nant, nant), dtype=complex)
    upper = np.triu_indices(nant, 1)
    clean = np.outer(g, g.conj())[upper]
    noise = rng.normal(0, 1, (2, nsolve, len(clean))) * sigma
    V[:, upper[0], upper[1]] = clean + noise[0] + 1j * noise[1]
    W = np.full(V.shape, 1 / sigma**2 if sigma else 1.0) * (1 - np.eye(nant))
    return V + np.conj(np.swapaxes(V, 1, 2)), W


def referred(g: np.ndarray, antenna: int = 0) -> np.ndarray:
    return g * np.exp(-1j * np.angle(g[..., antenna : antenna + 1]))


@pytest.mark.parametrize("nant", [3, 5, 27])
def test_gains_without_noise_come_back(nant: int) -> None:
    rng = np.random.default_rng(nant)
    g = gains_of(rng, nant)
    V, W = observed(rng, g, 0.0)
    W *= np.triu(rng.uniform(0.1, 1, W.shape), 1) + np.swapaxes(
        np.triu(rng.uniform(0.1, 1, W.shape), 1), 1, 2
    )
    W = np.maximum(W, np.swapaxes(W, 1, 2))
    solution = solve_gains(V, W, minblperant=2)
    # A step of 1e-8 ends the iteration; its rate of convergence makes the error a few times that.
    np.testing.assert_allclose(referred(solution.gains)[0], referred(g), atol=1e-6)
    assert solution.converged.all()


def test_noise_gives_the_least_squares_solution() -> None:
    rng = np.random.default_rng(4)
    g = gains_of(rng, 6)
    V, W = observed(rng, g, 0.3)
    W[0] *= np.sqrt(np.outer(weights := rng.uniform(0.2, 2, 6), weights))
    upper = np.triu_indices(6, 1)

    def residual(parts: np.ndarray) -> np.ndarray:
        x = parts[:6] + 1j * parts[6:]
        r = np.sqrt(W[0][upper]) * (V[0] - np.outer(x, x.conj()))[upper]
        return np.concatenate([r.real, r.imag])

    best = least_squares(residual, np.concatenate([g.real, g.imag]), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    solution = solve_gains(V, W)
    assert solution.chi2[0] == pytest.approx((best.fun**2).sum(), rel=1e-10)
    expected = referred(best.x[:6] + 1j * best.x[6:])
    np.testing.assert_allclose(referred(solution.gains)[0], expected, atol=1e-6)


@pytest.mark.parametrize("calmode", ["ap", "p", "a"])
def test_the_formal_error_is_the_scatter_of_the_solutions(calmode: str) -> None:
    rng = np.random.default_rng(5)
    nsolve = 800
    g = gains_of(rng, 12)
    V, W = observed(rng, g, 0.05, nsolve)
    V, W = constrain_data(V, W, calmode)
    solutions = [solve_gains(V[k : k + 1], W[k : k + 1]) for k in range(nsolve)]
    errors = np.array([formal_errors(s)[0][0] for s in solutions])
    gains = constrain_gains(np.array([s.gains[0] for s in solutions]), calmode)
    if calmode == "a":
        deviations = np.abs(gains) - np.abs(g)
    else:
        # The mean phase over all antennas is free: take it out instead of leaning on one antenna.
        gains = gains * np.exp(-1j * np.angle((gains * g.conj()).sum(axis=1)))[:, np.newaxis]
        deviations = gains - constrain_gains(g, calmode)
    # With one part constrained, data and solutions vary in the other alone: the formula needs no factor.
    ratio = np.sqrt((np.abs(deviations) ** 2).mean(axis=0) / (errors**2).mean(axis=0))
    # 800 draws fix a standard deviation to 2.5 %, of which 3 are taken. The formula holds the other gains,
    # which leaves out covariances, and the free phase takes variance away: both of order 1/nant, 8 % here.
    np.testing.assert_allclose(ratio, 1.0, atol=0.075 + 0.08)


def test_weights_on_another_scale_change_neither_gain_nor_ratio() -> None:
    rng = np.random.default_rng(6)
    V, W = observed(rng, gains_of(rng, 7), 0.2)
    one, other = solve_gains(V, W), solve_gains(V, 1e6 * W)
    np.testing.assert_allclose(other.gains, one.gains, rtol=1e-9)
    np.testing.assert_allclose(formal_errors(other)[1], formal_errors(one)[1], rtol=1e-9)


def test_without_a_degree_of_freedom_the_weights_are_believed() -> None:
    rng = np.random.default_rng(8)
    g = np.ones(3, dtype=complex)
    V, W = observed(rng, g, 0.01)
    error, _ = formal_errors(solve_gains(V, W, minblperant=2))
    # Two partners of amplitude 1 (to the noise): the variance of both parts is 2 sigma² / 2.
    np.testing.assert_allclose(error[0], 0.01, rtol=0.05)


def test_antennas_with_few_baselines_are_left_out_again_and_again() -> None:
    weights = np.zeros((1, 7, 7))
    for p in range(5):
        for q in range(p + 1, 5):
            weights[0, p, q] = weights[0, q, p] = 1.0
    # 5 hangs on by three, one of them 6, which has only two.
    for q in (3, 4, 6):
        weights[0, 5, q] = weights[0, q, 5] = 1.0
    weights[0, 6, 4] = weights[0, 4, 6] = 1.0
    used = prune(weights, 3)[0].any(axis=0)
    assert used.tolist() == [True] * 5 + [False, False]
    assert not prune(weights, 5).any()


def test_only_the_largest_island_is_solved() -> None:
    rng = np.random.default_rng(9)
    V, W = observed(rng, gains_of(rng, 9), 0.0)
    W[0, :5, 5:] = W[0, 5:, :5] = 0.0
    solution = solve_gains(V, W, minblperant=2)
    assert solution.solved[0].tolist() == [True] * 5 + [False] * 4


def test_nothing_gives_nothing() -> None:
    solution = solve_gains(np.zeros((2, 5, 5), complex), np.zeros((2, 5, 5)))
    assert not solution.solved.any()
    error, ratio = formal_errors(solution)
    assert not error.any()
    assert not ratio.any()
