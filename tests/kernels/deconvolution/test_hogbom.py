from __future__ import annotations

import numpy as np
import pytest
from sky import ARCSEC, Point, observe

from parallactic.errors import InvalidSpec
from parallactic.kernels.deconvolution import hogbom, peak
from parallactic.kernels.imaging import ImageGeometry, dirty_image, psf_image

GEOMETRY = ImageGeometry(80, 64, 20 * ARCSEC, 20 * ARCSEC)


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    vis = observe([Point(10, 5, 1.0), Point(-20, -11, 0.6), Point(12, 9, -0.4)], GEOMETRY, rows=300)
    total = vis.weight.sum(dtype=float)
    return dirty_image(vis, vis.weight, GEOMETRY) / total, psf_image(vis, vis.weight, GEOMETRY) / total


def textbook(
    residual: np.ndarray, psf: np.ndarray, mask: np.ndarray, gain: float, threshold: float, iterations: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Högbom 1974 with whole-array operations: shift the padded PSF, subtract, repeat."""
    residual, model = residual.copy(), np.zeros_like(residual)
    nx, ny = residual.shape
    padded = np.pad(psf, ((nx, nx), (ny, ny)))
    for done in range(iterations):
        x, y = np.unravel_index(np.argmax(np.where(mask, np.abs(residual), -1)), residual.shape)
        if not mask[x, y] or abs(residual[x, y]) <= threshold:
            return model, residual, done
        flux = gain * residual[x, y]
        model[x, y] += flux
        start = nx + nx // 2 - x, ny + ny // 2 - y
        residual -= flux * padded[start[0] : start[0] + nx, start[1] : start[1] + ny]
    return model, residual, iterations


@pytest.mark.parametrize(
    ("gain", "threshold", "iterations"), [(0.1, 0.0, 150), (0.3, 0.05, 1000), (1.0, 0.2, 10)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_it_takes_the_steps_of_the_textbook(
    images: tuple[np.ndarray, np.ndarray], masked: bool, gain: float, threshold: float, iterations: int
) -> None:
    dirty, psf = images
    mask = np.ones(dirty.shape, bool)
    if masked:
        mask[:30] = False
        mask[:, 50:] = False
    model, residual, done = textbook(dirty, psf, mask, gain, threshold, iterations)
    found = hogbom(dirty, psf, mask, gain=gain, threshold=threshold, iterations=iterations)
    assert found.iterations == done
    # The same additions in the same order; only fused multiply-add may differ in the last bits.
    np.testing.assert_allclose(found.model, model, atol=1e-12)
    np.testing.assert_allclose(found.residual, residual, atol=1e-12)
    assert found.peak == pytest.approx(np.abs(residual[mask]).max(), abs=1e-12)
    assert not found.model[~mask].any()


def test_its_input_stays_as_it_was(images: tuple[np.ndarray, np.ndarray]) -> None:
    dirty, psf = images
    before = dirty.copy()
    hogbom(dirty, psf, np.ones(dirty.shape, bool), iterations=3)
    np.testing.assert_array_equal(dirty, before)


def test_a_part_of_the_image_takes_the_same_steps_as_the_whole(images: tuple[np.ndarray, np.ndarray]) -> None:
    dirty, psf = images
    mask = np.zeros(dirty.shape, bool)
    mask[15:60, 20:45] = True
    box = np.s_[15:60, 20:45]
    whole = hogbom(dirty, psf, mask, iterations=200)
    part = hogbom(dirty[box], psf, mask[box], iterations=200)
    np.testing.assert_array_equal(part.model, whole.model[box])
    np.testing.assert_array_equal(part.residual, whole.residual[box])


def test_an_empty_mask_gives_no_component(images: tuple[np.ndarray, np.ndarray]) -> None:
    dirty, psf = images
    nothing = np.zeros(dirty.shape, bool)
    found = hogbom(dirty, psf, nothing, iterations=10)
    assert (found.iterations, found.peak) == (0, 0.0)
    assert peak(dirty, nothing) == 0.0


def test_what_cannot_be_is_said(images: tuple[np.ndarray, np.ndarray]) -> None:
    dirty, psf = images
    mask = np.ones(dirty.shape, bool)
    with pytest.raises(InvalidSpec, match="gain"):
        hogbom(dirty, psf, mask, gain=0.0)
    with pytest.raises(InvalidSpec, match="differ in shape"):
        hogbom(dirty, psf, mask[1:])
