"""Fits and noise against images made by formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from parallactic.errors import InvalidSpec
from parallactic.pipeline.photometry import SkyImage

CELL, SIZE = 2.5, 128
MAJOR, MINOR, ANGLE = 13.0, 9.0, 35.0


def written(
    path: Path, data: np.ndarray, *, beam: bool = True, axes: tuple[str, str] = ("STOKES", "FREQ")
) -> Path:
    """Write an image of 4 axes, as CASA orders them."""
    header = fits.Header()
    names = ("RA---SIN", "DEC--SIN", *axes)
    deltas = (-CELL / 3600, CELL / 3600, 1.0, 1e6)
    for axis, (name, delta) in enumerate(zip(names, deltas, strict=True), start=1):
        header[f"CTYPE{axis}"], header[f"CDELT{axis}"] = name, delta
        header[f"CRPIX{axis}"] = SIZE // 2 + 1 if axis < 3 else 1
        header[f"CRVAL{axis}"] = {"FREQ": 1.4e9, "STOKES": 1.0}.get(name, 30.0)
    if beam:
        header["BMAJ"], header["BMIN"], header["BPA"] = MAJOR / 3600, MINOR / 3600, ANGLE
    fits.writeto(path, data[np.newaxis, np.newaxis].astype(np.float32), header)
    return path


def source(l: float, m: float, flux: float) -> np.ndarray:  # noqa: E741
    """An elliptical Gaussian whose major axis lies at `ANGLE` from north through east, by its definition."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    east, north = -(columns - SIZE // 2) * CELL - l, (rows - SIZE // 2) * CELL - m
    turn = np.radians(ANGLE)
    along = east * np.sin(turn) + north * np.cos(turn)
    across = east * np.cos(turn) - north * np.sin(turn)
    return flux * 2.0 ** (-4.0 * ((along / MAJOR) ** 2 + (across / MINOR) ** 2))


@pytest.mark.parametrize("axes", [("STOKES", "FREQ"), ("FREQ", "STOKES")])
def test_a_source_off_the_pixels_is_found_exactly(tmp_path: Path, axes: tuple[str, str]) -> None:
    l, m, flux = 41.3, -27.9, 0.731  # noqa: E741
    image = SkyImage.read(written(tmp_path / "a.fits", source(l, m, flux), axes=axes))
    assert image.frequency == 1.4e9
    fit = image.fit(l + 1.0, m - 1.0)
    # East lies to the left. The image is kept in single precision: 1e-6 of the flux, 1e-5 pixel.
    assert fit.x == pytest.approx(SIZE // 2 - l / CELL, abs=1e-4)
    assert fit.y == pytest.approx(SIZE // 2 + m / CELL, abs=1e-4)
    assert fit.flux == pytest.approx(flux, rel=1e-5)


def test_noise_scatters_the_fits_as_their_errors_say(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    sigma, pulls = 0.01, []
    for number in range(40):
        data = source(10.4, 5.2, 1.0) + sigma * random.standard_normal((SIZE, SIZE))
        image = SkyImage.read(written(tmp_path / f"{number}.fits", data))
        fit = image.fit(10.4, 5.2)
        pulls.append((fit.flux - 1.0) / fit.flux_error)
        # Noise that is independent between pixels is averaged over the beam: less than that of one pixel.
        assert abs(fit.x - image.pixel(10.4, 5.2)[0]) < 5 * fit.position_error
    assert np.std(pulls) < 1.0
    assert image.noise() == pytest.approx(sigma, rel=0.03)


def test_peak_and_dynamic_range_are_by_definition(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    data = 0.01 * random.standard_normal((SIZE, SIZE))
    data[70, 61] = 2.0
    data[0, 0] = np.nan
    image = SkyImage.read(written(tmp_path / "a.fits", data))
    value, x, y = image.peak()
    assert (value, x, y) == (pytest.approx(2.0), 61, 70)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    outside = (np.hypot(rows - 64, columns - 64) * CELL > 30.0) & ~np.isnan(data)
    dynamic, rms = image.dynamic_range(30.0)
    assert rms == pytest.approx(data[outside].std(), rel=1e-5)
    assert dynamic == pytest.approx(2.0 / rms, rel=1e-5)
    with pytest.raises(InvalidSpec, match="no pixel lies beyond"):
        image.dynamic_range(1e5)


def test_what_cannot_be_fitted_is_said(tmp_path: Path) -> None:
    image = SkyImage.read(written(tmp_path / "a.fits", source(0, 0, 1.0)))
    with pytest.raises(InvalidSpec, match="lies outside the image"):
        image.fit(1000.0, 0.0)
    blind = SkyImage.read(written(tmp_path / "b.fits", source(0, 0, 1.0), beam=False))
    with pytest.raises(InvalidSpec, match="has no beam"):
        blind.fit(0.0, 0.0)
    fits.writeto(tmp_path / "c.fits", np.zeros(5, dtype=np.float32))
    with pytest.raises(InvalidSpec, match="not an image of the sky"):
        SkyImage.read(tmp_path / "c.fits")
