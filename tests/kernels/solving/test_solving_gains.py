"""Referring, normalising, filling, interpolating and applying gains: against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from parallactic.kernels.solving import (
    bandpass_norms,
    correct,
    fill_gaps,
    gain_norm,
    interpolate_frequency,
    interpolate_time,
    refer_phases,
)

# Double precision through a sine and an arctangent.
TIGHT = 1e-12


def polar(amplitude: float, degrees: float) -> complex:
    return complex(amplitude * np.exp(1j * np.radians(degrees)))


@pytest.fixture
def gains() -> np.ndarray:
    rng = np.random.default_rng(2)
    shape = (3, 5, 4, 2)
    return rng.uniform(0.5, 2, shape) * np.exp(1j * rng.uniform(-np.pi, np.pi, shape))


def phase_differences(gains: np.ndarray) -> np.ndarray:
    return gains[:, :, np.newaxis] * np.conj(gains[:, np.newaxis])


def test_the_reference_has_phase_zero_and_differences_stay(gains: np.ndarray) -> None:
    flags = np.zeros(gains.shape, bool)
    referred, bad, chosen = refer_phases(gains, flags, [2])
    np.testing.assert_allclose(np.angle(referred[:, 2]), 0.0, atol=TIGHT)
    np.testing.assert_allclose(phase_differences(referred), phase_differences(gains), rtol=TIGHT)
    assert not bad.any()
    assert chosen.tolist() == [2, 2, 2]


def test_flex_goes_on_without_a_jump_in_time() -> None:
    steady = np.exp(1j * np.array([0.0, 1.0, 2.0, -1.0]))[np.newaxis, :, np.newaxis, np.newaxis]
    # The same gains three times, each time with another common phase, as a solver leaves them.
    gains = steady * np.exp(1j * np.array([0.3, 2.0, -1.0]))[:, np.newaxis, np.newaxis, np.newaxis]
    flags = np.zeros(gains.shape, bool)
    flags[1, 0] = True
    referred, bad, chosen = refer_phases(gains, flags, [0, 2])
    np.testing.assert_allclose(referred[:, 1:], np.repeat(steady, 3, axis=0)[:, 1:], rtol=1e-10)
    assert chosen.tolist() == [0, 2, 0]
    assert bad.sum() == 1


def test_flex_goes_on_without_a_jump_along_frequency() -> None:
    steady = np.exp(1j * np.array([0.0, 1.0, 2.0, -1.0]))[np.newaxis, :, np.newaxis, np.newaxis]
    gains = steady * np.exp(1j * np.array([0.3, 2.0, -1.0]))[np.newaxis, np.newaxis, :, np.newaxis]
    flags = np.zeros(gains.shape, bool)
    flags[0, 0, 1] = True
    referred, _, _ = refer_phases(gains, flags, [0])
    np.testing.assert_allclose(referred[0, 1:, 1], steady[0, 1:, 0], rtol=1e-10)


def test_strict_flags_where_the_reference_is_missing(gains: np.ndarray) -> None:
    flags = np.zeros(gains.shape, bool)
    flags[1, 2, 3, 0] = True
    _, bad, _ = refer_phases(gains, flags, [2, 3], "strict")
    expected = np.zeros(gains.shape, bool)
    expected[1, :, 3, 0] = True
    np.testing.assert_array_equal(bad, expected)


def test_the_norm_of_gains_leaves_mean_power_one(gains: np.ndarray) -> None:
    flags = np.random.default_rng(1).uniform(size=gains.shape) < 0.2
    normalised = gains / gain_norm(gains, flags)
    assert np.mean(np.abs(normalised[~flags]) ** 2) == pytest.approx(1.0, rel=TIGHT)
    assert gain_norm(gains, np.ones_like(flags)) == 1.0


def test_the_norm_of_bandpasses_leaves_power_one_and_phase_zero(gains: np.ndarray) -> None:
    flags = np.random.default_rng(1).uniform(size=gains.shape) < 0.2
    flags[0, 1, :, 0] = True
    normalised = gains / bandpass_norms(gains, flags)
    for slot, antenna, receptor in np.ndindex(3, 5, 2):
        good = ~flags[slot, antenna, :, receptor]
        values = normalised[slot, antenna, good, receptor]
        if good.any():
            assert np.mean(np.abs(values) ** 2) == pytest.approx(1.0, rel=TIGHT)
            assert np.angle((values / np.abs(values)).sum()) == pytest.approx(0.0, abs=TIGHT)


def test_time_interpolation_is_linear_in_amplitude_and_phase_the_short_way() -> None:
    times = np.array([0.0, 10.0, 20.0])
    gains = np.array([polar(1, 0), polar(3, 100), polar(2, -160)])[:, np.newaxis]
    flags = np.zeros((3, 1), bool)
    wanted = np.array([-5.0, 0.0, 2.5, 10.0, 15.0, 20.0, 99.0])
    values, bad = interpolate_time(times, gains, flags, wanted, "linear")
    expected = [polar(1, 0), polar(1, 0), polar(1.5, 25), polar(3, 100), polar(2.5, 150), polar(2, -160)]
    np.testing.assert_allclose(values[:, 0], [*expected, polar(2, -160)], rtol=TIGHT)
    assert not bad.any()
    values, _ = interpolate_time(times, gains, flags, wanted, "nearest")
    np.testing.assert_array_equal(values[:, 0], gains[[0, 0, 0, 1, 1, 2, 2], 0])


def test_flagged_solutions_are_not_bridged_in_time() -> None:
    times = np.array([0.0, 10.0, 20.0])
    flags = np.array([[False], [True], [False]])
    wanted = np.array([-1.0, 0.0, 1.0, 10.0, 19.0, 20.0, 21.0])
    _, bad = interpolate_time(times, np.ones((3, 1), complex), flags, wanted, "linear")
    assert bad[:, 0].tolist() == [False, False, True, True, True, False, False]
    _, bad = interpolate_time(times, np.ones((3, 1), complex), flags, wanted, "nearest")
    assert bad[:, 0].tolist() == [False, False, False, True, False, False, False]


def test_delays_are_interpolated_as_numbers() -> None:
    values, _ = interpolate_time(
        np.array([0.0, 1.0]), np.array([[-2.0], [4.0]]), np.zeros((2, 1), bool), np.array([0.25]), "linear"
    )
    assert values[0, 0] == pytest.approx(-0.5, rel=TIGHT)


@pytest.mark.parametrize("falling", [False, True])
def test_flagged_channels_are_bridged(falling: bool) -> None:
    known = np.array([1.0, 2.0, 3.0, 4.0])
    gains = np.array([[polar(1, 0), polar(9, 9), polar(3, 90), polar(9, 9)]])
    flags = np.array([[False, True, False, True]])
    wanted = np.array([0.0, 1.5, 2.0, 3.0, 9.0])
    order = slice(None, None, -1) if falling else slice(None)
    values, bad = interpolate_frequency(known[order], gains[:, order], flags[:, order], wanted, "linear")
    expected = [polar(1, 0), polar(1.5, 22.5), polar(2, 45), polar(3, 90), polar(3, 90)]
    np.testing.assert_allclose(values[0], expected, rtol=TIGHT)
    assert not bad.any()


def test_flags_of_channels_are_kept_if_asked() -> None:
    known = np.array([1.0, 2.0, 3.0, 4.0])
    flags = np.array([[False, True, False, False]])
    wanted = np.array([0.5, 1.0, 1.4, 2.6, 3.0, 3.5])
    gains = np.ones((1, 4), complex)
    _, bad = interpolate_frequency(known, gains, flags, wanted, "linear", keep_flags=True)
    assert bad[0].tolist() == [True, False, True, True, False, False]
    _, bad = interpolate_frequency(known, gains, flags, wanted, "nearest", keep_flags=True)
    assert bad[0].tolist() == [False, False, False, False, False, False]
    _, bad = interpolate_frequency(known, gains, flags, np.array([1.6, 2.4]), "nearest", keep_flags=True)
    assert bad[0].tolist() == [True, True]


def test_no_good_channel_is_flagged() -> None:
    ones = np.ones((2, 3), complex)
    flags = np.array([[True] * 3, [False] * 3])
    _, bad = interpolate_frequency(np.arange(3.0), ones, flags, np.arange(5.0), "linear")
    assert bad.all(axis=1).tolist() == [True, False]
    assert not bad[1].any()


def test_gaps_are_filled_up_to_their_width() -> None:
    good = np.array([1, 0, 0, 0, 1, 0, 1, 0], bool)
    gains = np.where(good, 1.0, 99.0).astype(complex)[np.newaxis]
    gains[0, 4] = polar(3, 80)
    filled, flags = fill_gaps(gains, ~good[np.newaxis], 3)
    np.testing.assert_allclose(filled[0, 1:4], [polar(1.5, 20), polar(2, 40), polar(2.5, 60)], rtol=TIGHT)
    assert flags[0].tolist() == [False] * 7 + [True]
    _, flags = fill_gaps(gains, ~good[np.newaxis], 2)
    assert flags[0].tolist() == [False, True, True, True, False, False, False, True]
    _, flags = fill_gaps(
        np.moveaxis(gains[:, :, None], 1, 0), np.moveaxis(~good[None, :, None], 1, 0), 3, axis=0
    )
    assert flags.sum() == 1


def test_data_are_divided_by_the_gains_of_both_antennas() -> None:
    rng = np.random.default_rng(12)
    gains = rng.uniform(0.5, 2, (2, 3, 4, 2)) * np.exp(1j * rng.uniform(-3, 3, (2, 3, 4, 2)))
    flags = np.zeros(gains.shape, bool)
    flags[0, 1, 2, 0] = True
    data = (rng.normal(size=(3, 4, 4)) + 1j * rng.normal(size=(3, 4, 4))).astype(np.complex64)
    result, bad = data.copy(), np.zeros(data.shape, bool)
    antenna1, antenna2 = np.array([0, 0, 1], np.int32), np.array([1, 2, 2], np.int32)
    entries = np.array([0, 1, -1])
    products = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    correct(result, bad, gains, flags, entries, antenna1, antenna2, products)
    for row, chan, corr in np.ndindex(data.shape):
        entry, (i, j) = entries[row], products[corr]
        if entry < 0:
            assert result[row, chan, corr] == data[row, chan, corr]
            continue
        sides = [(antenna1[row], i), (antenna2[row], j)]
        factors = [1.0 if flags[entry, a, chan, r] else gains[entry, a, chan, r] for a, r in sides]
        expected = data[row, chan, corr] / (factors[0] * np.conj(factors[1]))
        # Written in single precision.
        assert result[row, chan, corr] == pytest.approx(expected, rel=3e-7)
        assert bad[row, chan, corr] == any(flags[entry, a, chan, r] for a, r in sides)
    assert bad.sum() == 2
