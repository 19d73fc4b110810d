from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parallactic.kernels.flagging import TfcropParameters, tfcrop_blocks

NTIME, NCHAN = 40, 64


def flagged(
    values: NDArray[np.floating], flags: NDArray[np.bool_] | None = None, **parameters: object
) -> NDArray[np.bool_]:
    """Flags of one plane (ntime, nchan)."""
    result = np.zeros((*values.shape, 1), dtype=bool) if flags is None else flags[..., None].copy()
    plane = np.ascontiguousarray(values[..., None], dtype=np.float32)
    tfcrop_blocks(plane, result, np.array([0, len(values)]), TfcropParameters(**parameters))  # type: ignore[arg-type]
    return result[..., 0]


def noisy(shape: tuple[int, ...] = (NTIME, NCHAN), sigma: float = 0.05, seed: int = 1) -> NDArray[np.float64]:
    """Amplitudes of a source of 1 Jy with a bandpass, and noise that passes through it."""
    rng = np.random.default_rng(seed)
    band = 1 + 0.3 * np.sin(np.linspace(0, 3, shape[-1]))
    noise = sigma * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    return np.abs(1 + noise) * band


def test_a_smooth_plane_without_noise_is_left_alone() -> None:
    band = 1 + 0.3 * np.sin(np.linspace(0, 3, NCHAN))
    drift = np.linspace(1.0, 1.2, NTIME)
    assert not flagged(np.ones((NTIME, NCHAN))).any()
    assert not flagged(np.outer(drift, np.ones(NCHAN))).any()
    assert not flagged(band * np.ones((NTIME, 1)), maxnpieces=7, freqcutoff=4.0).any()


@pytest.mark.parametrize("dimension", ["freqtime", "timefreq"])
def test_strong_interference_is_found_whole(dimension: str) -> None:
    values = noisy()
    truth = np.zeros(values.shape, dtype=bool)
    truth[10:20, 20] = truth[7, 30:50] = truth[33, 5] = truth[:, 41] = True
    values[truth] += 1.0  # 20 sigma
    found = flagged(values, flagdimension=dimension)
    assert found[truth].all()
    # Two-sided 3 sigma of a normal distribution is 0.27 %; clipping its tails makes sigma smaller, once or
    # twice: 0.5 %; 4 sigma along time adds little. Amplitudes at 20 sigma are normal.
    assert found[~truth].mean() < 0.006


def test_noise_is_flagged_as_often_as_its_distribution_says() -> None:
    values = noisy((400, 128))
    rate = flagged(values).mean()
    # 0.27 % lie beyond 3 sigma. Cutting them off lowers sigma by 1.5 %, which is less than the 10 % that
    # would go on; the fit lowers it by one in eight channels' degrees over 400 times: nothing. Counting error
    # of 138 samples: 9 %, four of them 36 %.
    assert 0.0017 < rate < 0.0045


def test_weak_signals_are_noise_of_amplitudes() -> None:
    rng = np.random.default_rng(3)
    values = np.abs(rng.normal(size=(400, 128)) + 1j * rng.normal(size=(400, 128)))
    rate = flagged(values, flagdimension="freq").mean()
    # Rayleigh: P(x > mean + 3 std) = exp(-(1.2533 + 3 x 0.6551)^2 / 2) = 0.57 %.
    assert 0.0045 < rate < 0.0075


def test_flags_from_before_are_kept_and_their_data_ignored() -> None:
    values = noisy()
    before = np.zeros(values.shape, dtype=bool)
    before[:, :10] = True
    clean = flagged(values, before)
    values[:, :10] = 1e6
    assert np.array_equal(flagged(values, before), clean)
    assert clean[:, :10].all()


def test_what_is_no_number_is_flagged_and_harms_nothing() -> None:
    values = noisy()
    before = np.zeros(values.shape, dtype=bool)
    before[3, 4] = before[30, 60] = True
    expected = flagged(values, before)
    values[3, 4], values[30, 60] = np.nan, np.inf
    assert np.array_equal(flagged(values), expected)


def test_a_channel_bad_all_the_time_is_found_along_frequency_alone() -> None:
    values = noisy()
    values[:, 20] += 1.0
    assert flagged(values, flagdimension="freq")[:, 20].all()
    # Relative to itself the channel is quiet: what does not change in time is not for this axis.
    assert flagged(values, flagdimension="time")[:, 20].mean() < 0.05


def test_a_time_bad_in_all_channels_is_found_along_time() -> None:
    values = noisy()
    values[12] += 1.0
    assert flagged(values, flagdimension="time")[12].all()


def test_steep_ends_of_the_band_are_not_flagged_for_their_noise() -> None:
    rng = np.random.default_rng(5)
    band = 1 - np.exp(-np.arange(NCHAN) / 2 - 0.3)
    noise = 0.1 * (rng.normal(size=(NTIME, NCHAN)) + 1j * rng.normal(size=(NTIME, NCHAN)))
    found = flagged(np.abs(band + noise))
    # Twice the 0.27 % of 3 sigma, as the ends are half Rayleigh; 120 samples, so that 5 are 4 %.
    assert found[:, :3].mean() <= 0.04
    assert found.mean() < 0.008


def test_a_poly_follows_the_drift_that_hides_a_burst_from_a_line() -> None:
    drift = 1 + 0.5 * np.sin(np.linspace(0, 6, 64))
    values = noisy((64, 64), sigma=0.02) * drift[:, None]
    values[30] += 0.2 * drift[30]  # 10 sigma of the noise, half a sigma about a line
    assert not flagged(values, flagdimension="time")[30].any()
    assert flagged(values, flagdimension="time", timefit="poly")[30].all()


def test_windows_find_what_is_weak_but_wide() -> None:
    values = noisy((60, 64), sigma=0.1)
    truth = np.zeros(values.shape, dtype=bool)
    truth[5::10, 10:30] = True
    values[truth] += 0.22 * (values.mean(axis=0) * np.ones((60, 1)))[truth]  # 2.2 sigma
    alone = flagged(values, flagdimension="freq")
    summed = flagged(values, flagdimension="freq", usewindowstats="sum", halfwin=1)
    # Alone: P(z > 3 - 2.2) = 21 %. Of the rest 62 % have two neighbours without a flag, and their mean is
    # beyond 1.5 sigma in most: 0.21 + 0.79 x 0.62 x 0.8 = 0.6; 120 samples, counting error 0.045.
    assert 0.08 < alone[truth].mean() < 0.35
    assert summed[truth].mean() > 0.45
    # A mean of three beyond 1.5 sigma: 2.6 of its own sigma, 0.94 %, beside the 0.27 % to 0.5 %.
    assert summed[~truth].mean() < 0.018


def test_windows_find_what_is_noisier() -> None:
    values = noisy((60, 64), sigma=0.1)
    rows = [10, 30, 50]
    values[rows] *= 1 + np.random.default_rng(8).normal(0, 0.25, (3, 64))
    alone = flagged(values, flagdimension="freq")
    spread = flagged(values, flagdimension="freq", usewindowstats="std", halfwin=1)
    both = flagged(values, flagdimension="freq", usewindowstats="both", halfwin=1)
    # Three values of plain noise spread beyond 1.5 sigma with P(chi2_2 > 6.75) = 3.4 %; three of 2.7 sigma,
    # none of them flagged, in every second case or so. At least three times what noise alone would add:
    assert spread[rows].mean() > alone[rows].mean() + 0.1
    others = np.setdiff1d(np.arange(60), rows)
    assert 0.01 < spread[others].mean() - alone[others].mean() < 0.034
    assert np.array_equal(both, both | spread)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(-6, 6), st.sampled_from(["freqtime", "timefreq", "freq", "time"]))
def test_the_unit_of_the_data_does_not_matter(seed: int, power: int, dimension: str) -> None:
    values = noisy((12, 32), seed=seed).astype(np.float32)
    assert np.array_equal(
        flagged(values, flagdimension=dimension),
        flagged(values * np.float32(2.0**power), flagdimension=dimension),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 10**6))
def test_flags_are_only_added_in_planes_of_any_size(ntime: int, nchan: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = rng.random((ntime, nchan)) < 0.3
    assert flagged(rng.exponential(1.0, (ntime, nchan)), before)[before].all()


def test_blocks_and_correlations_are_judged_alone() -> None:
    values = np.stack([noisy(seed=1), noisy(seed=2)], axis=-1).astype(np.float32)
    values = np.concatenate([values, 3 * values[::-1]])
    values[50, 3, 1] = 40
    together = np.zeros(values.shape, dtype=bool)
    tfcrop_blocks(values, together, np.array([0, NTIME, 2 * NTIME]), TfcropParameters())
    for block in (slice(0, NTIME), slice(NTIME, 2 * NTIME)):
        for corr in (0, 1):
            assert np.array_equal(flagged(values[block, :, corr]), together[block, :, corr])


def test_all_flagged_or_nothing_there() -> None:
    values = noisy()
    assert flagged(values, np.ones(values.shape, dtype=bool)).all()
    assert not flagged(np.zeros((NTIME, NCHAN))).any()
