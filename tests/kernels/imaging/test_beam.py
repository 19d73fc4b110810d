from __future__ import annotations

import numpy as np
import pytest
from sky import ARCSEC

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging import (
    Beam,
    ImageGeometry,
    airy_power,
    beam_image,
    fit_beam,
    primary_beam,
    sidelobe_level,
)

GEOMETRY = ImageGeometry(128, 101, 1.0 * ARCSEC, 1.3 * ARCSEC)


def written_out(major: float, minor: float, angle: float) -> np.ndarray:
    """The Gaussian by its second moments, another road than the library's."""
    sigma = np.array([major, minor]) * ARCSEC / np.sqrt(8 * np.log(2))
    # Columns: directions (east, north) of the major and minor axes.
    axes = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]]).T
    inverse = np.linalg.inv(axes @ np.diag(sigma**2) @ axes.T)
    cx, cy = GEOMETRY.centre
    east = -(np.arange(GEOMETRY.nx) - cx)[:, None] * GEOMETRY.cell_x + np.zeros((1, GEOMETRY.ny))
    north = (np.arange(GEOMETRY.ny) - cy)[None, :] * GEOMETRY.cell_y + np.zeros((GEOMETRY.nx, 1))
    offsets = np.stack([east, north], axis=-1)
    return np.exp(-0.5 * np.einsum("...i,ij,...j", offsets, inverse, offsets))


@pytest.mark.parametrize("degrees", [-80.0, -30.0, 0.0, 25.0, 60.0, 90.0])
@pytest.mark.parametrize("axes", [(12.0, 7.0), (6.0, 4.0)], ids=["wide", "three pixels"])
def test_a_gaussian_is_found_again(axes: tuple[float, float], degrees: float) -> None:
    psf = written_out(*axes, np.radians(degrees))
    beam = fit_beam(psf, GEOMETRY)
    # 1e-3: a lobe of three pixels across (4.0 of 1.3 arcsec) is interpolated by splines.
    assert beam.major / ARCSEC == pytest.approx(axes[0], rel=1e-3)
    assert beam.minor / ARCSEC == pytest.approx(axes[1], rel=1e-3)
    # 0.2 degrees; -90 and 90 are the same angle.
    assert (np.degrees(beam.angle) - degrees + 90.0) % 180.0 - 90.0 == pytest.approx(0.0, abs=0.2)
    np.testing.assert_allclose(beam_image(beam, GEOMETRY), psf, atol=3e-3)


def test_sidelobes_do_not_enter_the_fit() -> None:
    psf = written_out(12.0, 7.0, 0.4)
    cx, cy = GEOMETRY.centre
    psf[cx + 30, cy + 20] = psf[cx - 30, cy - 20] = 0.6
    psf[cx + 25, cy] = psf[cx - 25, cy] = -0.3
    beam = fit_beam(psf, GEOMETRY)
    assert beam.major / ARCSEC == pytest.approx(12.0, rel=1e-3)
    assert sidelobe_level(psf, beam, GEOMETRY) == pytest.approx(0.6, abs=1e-3)


def test_the_area_of_a_beam_is_the_sum_of_its_pixels() -> None:
    beam = Beam(12 * ARCSEC, 7 * ARCSEC, 0.4)
    assert beam.area(GEOMETRY) == pytest.approx(beam_image(beam, GEOMETRY).sum(), rel=1e-6)


def test_what_cannot_be_fitted_is_said() -> None:
    psf = written_out(12.0, 7.0, 0.4)
    with pytest.raises(InvalidSpec, match="between 0 and 1"):
        fit_beam(psf, GEOMETRY, 1.5)
    with pytest.raises(InvalidSpec, match="edge"):
        fit_beam(np.ones(GEOMETRY.shape), GEOMETRY)
    with pytest.raises(InvalidSpec, match="no peak"):
        fit_beam(np.zeros(GEOMETRY.shape), GEOMETRY)


def test_the_airy_disk_has_its_first_null_at_1_22_lambda_over_d() -> None:
    frequency, diameter = 1.4e9, 25.0
    wave = 299792458.0 / frequency
    null = 3.8317059702 / np.pi * wave / diameter  # the first zero of J1
    assert airy_power(np.array([0.0, null]), frequency, diameter) == pytest.approx([1.0, 0.0], abs=1e-12)
    # The full width at half power of a clear aperture is 1.02899397 λ/D.
    half = 0.5 * 1.028993969962188 * wave / diameter
    assert airy_power(np.array([half]), frequency, diameter)[0] == pytest.approx(0.5, abs=1e-9)


def test_a_blockage_narrows_the_main_lobe_and_raises_the_sidelobe() -> None:
    angle = np.linspace(0, 0.03, 600)
    clear, blocked = (airy_power(angle, 1.4e9, 25.0, b) for b in (0.0, 5.0))
    assert np.argmin(blocked[:400]) < np.argmin(clear[:400])
    assert blocked[300:].max() > clear[300:].max()
    with pytest.raises(InvalidSpec, match="no beam"):
        airy_power(angle, 1.4e9, 2.0, 5.0)


def test_the_primary_beam_is_round_and_one_at_the_phase_centre() -> None:
    geometry = ImageGeometry(64, 64, 30 * ARCSEC, 30 * ARCSEC)
    beam = primary_beam(geometry, 1.4e9, 25.0, 2.36)
    cx, cy = geometry.centre
    assert beam[cx, cy] == 1.0
    assert beam[cx + 20, cy] == beam[cx, cy + 20] == beam[cx - 20, cy]
