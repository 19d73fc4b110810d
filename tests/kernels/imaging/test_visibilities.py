from __future__ import annotations

import numpy as np
from sky import ARCSEC, Point, observe, phases

from parallactic.kernels.imaging import ImageGeometry, direction_cosines, rephase, separation, stokes_i


def test_stokes_i_is_the_mean_of_both_hands_and_of_their_weights() -> None:
    data = np.array([[[1 + 2j, 3 - 4j], [5, 7]]], np.complex64)
    weight = np.array([[[1.0, 3.0], [2.0, 2.0]]], np.float32)
    values, mean = stokes_i(data, np.zeros(data.shape, bool), weight)
    np.testing.assert_array_equal(values, [[2 - 1j, 6]])
    np.testing.assert_array_equal(mean, [[2.0, 2.0]])
    assert values.dtype == np.complex64
    assert mean.dtype == np.float32


def test_a_flag_on_either_hand_drops_both() -> None:
    data = np.ones((1, 3, 2), np.complex64)
    flag = np.zeros((1, 3, 2), bool)
    flag[0, 0, 0] = flag[0, 1, 1] = True
    values, weight = stokes_i(data, flag, np.ones((1, 1, 2), np.float32))
    np.testing.assert_array_equal(weight, [[0, 0, 1]])
    np.testing.assert_array_equal(values, [[0, 0, 1]])


def test_what_is_not_a_number_or_has_no_weight_is_dropped() -> None:
    data = np.array([[[np.nan, 1], [1, np.inf], [1, 1], [1, 1]]], np.complex64)
    weight = np.array([[[1, 1], [1, 1], [0, 0], [1, 1]]], np.float32)
    values, mean = stokes_i(data, np.zeros(data.shape, bool), weight)
    np.testing.assert_array_equal(mean, [[0, 0, 0, 1]])
    np.testing.assert_array_equal(values, [[0, 0, 0, 1]])


def test_rephasing_gives_what_the_other_phase_centre_would_have_seen() -> None:
    # Baselines in equatorial coordinates, a source 1.3 degrees from one centre and 0.9 from the other.
    random = np.random.default_rng(3)
    baselines = random.uniform(-3e3, 3e3, (200, 3))
    frequency = np.array([1.0e9, 1.4e9])
    old, new, source = (1.0, 0.5), (1.02, 0.49), (1.005, 0.515)

    def seen_from(centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        (ra, dec) = centre
        axes = np.array(
            [
                [-np.sin(ra), np.cos(ra), 0],
                [-np.cos(ra) * np.sin(dec), -np.sin(ra) * np.sin(dec), np.cos(dec)],
                [np.cos(ra) * np.cos(dec), np.sin(ra) * np.cos(dec), np.sin(dec)],
            ]
        )
        uvw = baselines @ axes.T
        east, north, _ = direction_cosines(source, centre)
        return uvw, phases(uvw, frequency, east, north).astype(np.complex64)

    uvw, values = rephase(seen_from(old)[0], frequency, seen_from(old)[1], old, new)
    expected_uvw, expected = seen_from(new)
    np.testing.assert_allclose(uvw, expected_uvw, atol=1e-8)
    # 1e-6: single precision of the values.
    assert np.abs(values - expected).max() < 1e-6


def test_rephasing_to_the_same_centre_changes_no_bit() -> None:
    geometry = ImageGeometry(64, 64, ARCSEC, ARCSEC)
    vis = observe([Point(1, 2, 1.0)], geometry, rows=10)
    uvw, values = rephase(vis.uvw, vis.frequency, vis.values, (1.0, 0.5), (1.0, 0.5))
    assert uvw is vis.uvw
    assert values is vis.values


def test_separation_of_known_angles() -> None:
    np.testing.assert_allclose(separation((0.0, 0.0), (np.pi / 2, 0.0)), np.pi / 2, rtol=1e-15)
    np.testing.assert_allclose(separation((1.0, 1.2), (1.0, 1.2 + 1e-9)), 1e-9, rtol=1e-6)
