from __future__ import annotations

import numpy as np
import pytest
from sky import ARCSEC

from parallactic.kernels.deconvolution import restore
from parallactic.kernels.imaging import Beam, ImageGeometry

BEAM = Beam(6 * ARCSEC, 4 * ARCSEC, 0.6)


@pytest.mark.parametrize("size", [(64, 64), (63, 50), (51, 33)])
def test_components_become_beams_and_nothing_wraps_round(size: tuple[int, int]) -> None:
    geometry = ImageGeometry(*size, ARCSEC, ARCSEC)
    model = np.zeros(geometry.shape)
    components = {(10, 12): 1.0, (0, 0): 0.5, (geometry.nx - 1, 7): -0.3}
    for place, flux in components.items():
        model[place] = flux
    residual = np.random.default_rng(5).normal(size=geometry.shape)
    expected = residual.copy()
    x, y = np.mgrid[: geometry.nx, : geometry.ny]
    for (x0, y0), flux in components.items():
        east, north = -(x - x0) * ARCSEC, (y - y0) * ARCSEC
        along = east * np.sin(BEAM.angle) + north * np.cos(BEAM.angle)
        across = east * np.cos(BEAM.angle) - north * np.sin(BEAM.angle)
        expected += flux * 0.5 ** ((2 * along / BEAM.major) ** 2 + (2 * across / BEAM.minor) ** 2)
    # 1e-12: rounding of the Fourier transforms.
    np.testing.assert_allclose(restore(model, residual, BEAM, geometry), expected, atol=1e-12)


def test_without_components_the_residual_is_the_image() -> None:
    geometry = ImageGeometry(32, 32, ARCSEC, ARCSEC)
    residual = np.arange(1024.0).reshape(32, 32)
    restored = restore(np.zeros((32, 32)), residual, BEAM, geometry)
    np.testing.assert_array_equal(restored, residual)
    assert restored is not residual
