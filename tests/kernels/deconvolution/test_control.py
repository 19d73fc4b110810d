from __future__ import annotations

import numpy as np
import pytest

from parallactic.errors import InvalidSpec
from parallactic.kernels.deconvolution import CleanControl, robust_rms

IMAGE = np.array([[0.0, 1.0, -2.0], [0.5, -0.5, 3.0]])
ALL = np.ones(IMAGE.shape, bool)


def test_robust_rms_of_noise_is_its_standard_deviation() -> None:
    noise = np.random.default_rng(4).normal(5.0, 2.0, (300, 300))
    noise[0, 0] = np.nan
    noise[1, :30] = 1e6
    # The standard error of 1.4826 MAD of 90,000 values is 1.17 / sqrt(90000) of sigma: 0.4 %; five of these.
    assert robust_rms(noise) == pytest.approx(2.0, rel=0.02)
    assert robust_rms(np.full((2, 2), np.nan)) == 0.0


@pytest.mark.parametrize(
    ("sidelobe", "factor", "expected"),
    [(0.2, 1.0, 0.2), (0.2, 2.0, 0.4), (0.01, 1.0, 0.05), (0.9, 1.0, 0.8)],
    ids=["sidelobe", "factor", "least", "most"],
)
def test_a_minor_cycle_stops_at_the_sidelobes_held_between_the_fractions(
    sidelobe: float, factor: float, expected: float
) -> None:
    control = CleanControl(niter=100, cyclefactor=factor)
    assert control.cycle_threshold(10.0, sidelobe, 0.0) == pytest.approx(10.0 * expected)
    assert control.cycle_threshold(10.0, sidelobe, 9.0) == 9.0  # never below the floor


def test_the_floor_is_the_higher_of_threshold_and_nsigma() -> None:
    mad = np.median(np.abs(IMAGE - np.median(IMAGE)))
    assert CleanControl(threshold=0.3).floor(IMAGE) == 0.3
    assert CleanControl(threshold=0.3, nsigma=2.0).floor(IMAGE) == pytest.approx(2 * 1.4826 * mad)


def test_cycles_share_the_iterations() -> None:
    assert CleanControl(niter=100).cycle_iterations(30) == 70
    assert CleanControl(niter=100, cycleniter=50).cycle_iterations(30) == 50
    assert CleanControl(niter=100, cycleniter=50).cycle_iterations(80) == 20


def test_why_it_stops() -> None:
    assert CleanControl(niter=0).stop(IMAGE, ALL, 0) == "niter"
    assert CleanControl(niter=5).stop(IMAGE, ALL, 4) is None
    assert CleanControl(niter=5).stop(IMAGE, ~ALL, 0) == "empty mask"
    assert CleanControl(niter=5, threshold=3.0).stop(IMAGE, ALL, 0) == "threshold"
    assert CleanControl(niter=5, nsigma=3.0).stop(IMAGE, ALL, 0) == "nsigma"
    low = ALL.copy()
    low[1, 2] = False
    assert CleanControl(niter=5, threshold=2.5).stop(IMAGE, low, 0) == "threshold"  # only the mask counts


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"niter": -1}, "niter"),
        ({"gain": 0.0}, "gain"),
        ({"gain": 1.5}, "gain"),
        ({"threshold": -1.0}, "threshold"),
        ({"nsigma": float("nan")}, "nsigma"),
        ({"cycleniter": 0}, "cycleniter"),
        ({"cyclefactor": -1.0}, "cyclefactor"),
        ({"minpsffraction": 0.9}, "minpsffraction"),
    ],
)
def test_limits_out_of_range_are_said(wrong: dict[str, float], word: str) -> None:
    with pytest.raises(InvalidSpec, match=word):
        CleanControl(**wrong)  # type: ignore[arg-type]
