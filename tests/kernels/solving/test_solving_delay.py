"""Delays: found anywhere in their range, with errors that are true."""

from __future__ import annotations

import numpy as np
import pytest

from parallactic.kernels.solving import solve_delays

FREQUENCIES = 1.4e9 + 1e6 * np.arange(32)


def spectra(delays: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turns = np.exp(2j * np.pi * delays[np.newaxis] * (frequencies - frequencies.mean())[:, np.newaxis])
    V = turns[:, :, np.newaxis] * np.conj(turns[:, np.newaxis])
    return V, np.ones(V.shape) * (1 - np.eye(len(delays)))


@pytest.mark.parametrize("falling", [False, True])
def test_delays_without_noise_come_back(falling: bool) -> None:
    # 32 channels of 1 MHz tell delays within half a microsecond apart.
    delays = np.array([0.0, 1e-9, -37.3e-9, 480e-9, -480e-9])
    frequencies = FREQUENCIES[::-1] if falling else FREQUENCIES
    V, W = spectra(delays, frequencies)
    solution = solve_delays(V * 2.5 * np.exp(1j), W, frequencies, 0)
    # The search ends at 1e-7 of a cell of 4 ns; the maximum is flat, where doubles reach 1e-8 of a cell.
    np.testing.assert_allclose(solution.delays, delays, atol=1e-14)
    assert solution.solved.all()


def test_the_formal_error_is_the_scatter() -> None:
    rng = np.random.default_rng(14)
    V, W = spectra(np.array([0.0, 5e-9]), FREQUENCIES)
    W[:7] = 0.0
    ratios = []
    for _ in range(400):
        noise = 0.4 * (rng.normal(size=32) + 1j * rng.normal(size=32))
        noisy = V.copy()
        noisy[:, 1, 0] += noise
        noisy[:, 0, 1] += noise.conj()
        solution = solve_delays(noisy, W, FREQUENCIES, 0)
        ratios.append((solution.delays[1] - 5e-9) / solution.errors[1])
    # 400 draws fix a standard deviation to 3.5 %, of which 4 are taken; the error itself is measured on 25
    # channels, which widens the distribution by 2 %.
    assert np.std(ratios) == pytest.approx(1.02, abs=4 * 0.035)
    assert abs(np.mean(ratios)) < 4 / np.sqrt(400)


def test_an_antenna_without_data_has_no_delay() -> None:
    V, W = spectra(np.array([0.0, 5e-9, 1e-9]), FREQUENCIES)
    W[:, 2] = W[:, :, 2] = 0.0
    assert solve_delays(V, W, FREQUENCIES, 0).solved.tolist() == [True, True, False]
    assert not solve_delays(V, W, FREQUENCIES, 2).solved.any()
