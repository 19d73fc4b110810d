from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage, optimize
from tclean_checks import CELL, DEC, NOTHING, RA, Field, exact_image, read

from parallactic import Executor
from parallactic.kernels.imaging import airy_power
from parallactic.measurementset.simulation import Observation, Scan, SkyField, Source, Window, simulate
from parallactic.tasks import tclean

N = 256
ARCSEC = np.pi / 180 / 3600


@pytest.mark.parametrize("weighting", ["natural", "briggs", "uniform"])
def test_the_dirty_image_is_the_exact_sum(
    field: Field, serial: Executor, tmp_path: Path, weighting: str
) -> None:
    tclean(
        str(field.path),
        f"{tmp_path}/im",
        N,
        f"{CELL}arcsec",
        weighting=weighting,
        pblimit=-1,
        executor=serial,
    )
    image = read(tmp_path / "im.image.fits")
    random = np.random.default_rng(1)
    pixels = [tuple(random.integers(0, N, 2)) for _ in range(25)]
    pixels += [(N // 2 - round(s.l / CELL), N // 2 + round(s.m / CELL)) for s in field.sources]
    expected = exact_image(field.path, pixels, weighting, N)
    found = np.array([image[p] for p in pixels])
    # 1e-5 of the peak is the promise of the design.
    assert np.abs(found - expected).max() < 1e-5 * image.max()


def test_psf_sum_of_weights_and_counts(field: Field, serial: Executor, tmp_path: Path) -> None:
    summary = tclean(str(field.path), f"{tmp_path}/im", N, f"{CELL}arcsec", executor=serial)
    psf = read(tmp_path / "im.psf.fits")
    assert psf[N // 2, N // 2] == psf.max() == pytest.approx(1.0, abs=1e-5)
    assert summary.counts["rows"] == 14 * 13 // 2 * 40 * 2
    assert summary.counts["visibilities"] == summary.counts["rows"] * 6
    # Weights are 1 where there is no noise; both hands count, as in CASA.
    assert read(tmp_path / "im.sumwt.fits").item() == 2.0 * summary.counts["visibilities"]
    assert (summary.counts["iterations"], summary.stopped) == (0, "")
    assert not read(tmp_path / "im.model.fits").any()
    np.testing.assert_array_equal(read(tmp_path / "im.image.fits"), read(tmp_path / "im.residual.fits"))
    assert "no CORRECTED_DATA; DATA is imaged" in summary.warnings[0]


def test_spectral_windows_that_share_rows_are_gridded_in_one_call(
    field: Field, serial: Executor, tmp_path: Path
) -> None:
    summary = tclean(str(field.path), f"{tmp_path}/im", 64, f"{CELL}arcsec", executor=serial)
    # 43,680 visibilities, less than the least block.
    assert summary.counts["blocks"] == 1


def test_clean_recovers_flux_and_position(field: Field, serial: Executor, tmp_path: Path) -> None:
    summary = tclean(
        str(field.path), f"{tmp_path}/im", N, f"{CELL}arcsec", niter=5000, threshold="0.2mJy", pblimit=-1,
        mask=[f"circle[[{N // 2 - s.l / CELL}pix,{N // 2 + s.m / CELL}pix],4pix]" for s in field.sources],
        executor=serial,
    )  # fmt: skip
    assert summary.stopped == "threshold"
    model, residual = read(tmp_path / "im.model.fits"), read(tmp_path / "im.residual.fits")
    image = read(tmp_path / "im.image.fits")
    for source in field.sources:
        x, y = N // 2 - round(source.l / CELL), N // 2 + round(source.m / CELL)
        # 1e-3 of the flux: the threshold lies at 0.2 mJy.
        assert model[x - 4 : x + 5, y - 4 : y + 5].sum() == pytest.approx(source.i, rel=1e-3)
        assert image[x, y] == pytest.approx(source.i, rel=1e-3)
        found = peak_position(image, (x, y))
        assert np.hypot(found[0] - x, found[1] - y) < 0.02
    assert np.abs(residual).max() < 1e-3
    assert summary.model_flux == pytest.approx(sum(s.i for s in field.sources), rel=1e-3)


def test_a_source_between_pixels_is_where_it_is(field: Field, serial: Executor, tmp_path: Path) -> None:
    cell = 2.7  # the sources no longer lie on pixels
    tclean(str(field.path), f"{tmp_path}/im", N, f"{cell}arcsec", pblimit=-1, executor=serial)
    dirty, psf = read(tmp_path / "im.image.fits"), read(tmp_path / "im.psf.fits")
    source = field.sources[0]
    x, y = N / 2 - source.l / cell, N / 2 + source.m / cell
    near = round(x), round(y)
    # The brightest source in the dirty image is a shifted psf; the others' sidelobes are taken away exactly.
    others = sum(
        s.i * ndimage.shift(psf, (-s.l / cell, s.m / cell), order=5, mode="constant")
        for s in field.sources[1:]
    )
    found = peak_position(dirty - others, near)
    assert np.hypot(found[0] - x, found[1] - y) < 0.02
    level = ndimage.map_coordinates(dirty - others, [[found[0]], [found[1]]], order=5)[0]
    assert level == pytest.approx(source.i, rel=1e-3)


def peak_position(image: npt.NDArray[np.float64], near: tuple[int, int]) -> tuple[float, float]:
    """Fit a Gaussian with free position to the nine pixels about the peak."""
    x, y = np.mgrid[near[0] - 2 : near[0] + 3, near[1] - 2 : near[1] + 3]
    patch = image[x, y]

    def misfit(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        dx, dy = x - p[1], y - p[2]
        return (p[0] * np.exp(-(p[3] * dx * dx + 2 * p[4] * dx * dy + p[5] * dy * dy)) - patch).ravel()

    fit = optimize.least_squares(misfit, [image[near], *near, 0.1, 0.0, 0.1], method="lm")
    return float(fit.x[1]), float(fit.x[2])


def test_the_header_puts_sources_where_they_are_on_the_sky(
    field: Field, serial: Executor, tmp_path: Path
) -> None:
    tclean(str(field.path), f"{tmp_path}/im", [N, 200], f"{CELL}arcsec", pblimit=-1, executor=serial)
    header = fits.getheader(tmp_path / "im.image.fits")
    assert [header[f"CTYPE{i}"] for i in (1, 2, 3, 4)] == ["RA---SIN", "DEC--SIN", "STOKES", "FREQ"]
    assert (header["BUNIT"], header["TELESCOP"], header["OBJECT"]) == ("Jy/beam", "EVLA", "TARGET")
    assert header["CRVAL4"] == pytest.approx((1.398e9 + 1.522e9) / 2)
    assert header["CDELT4"] == pytest.approx(1.522e9 - 1.398e9)
    assert header["SPECSYS"] == "TOPOCENT"
    assert any("weighting='natural'" in line for line in header["HISTORY"])
    image = read(tmp_path / "im.image.fits")
    brightest = np.unravel_index(image.argmax(), image.shape)
    sky = WCS(header).celestial
    found = sky.pixel_to_world(*brightest)
    # SIN projection, written out: l and m are direction cosines.
    source, dec0 = field.sources[0], np.radians(DEC)
    l, m = source.l * ARCSEC, source.m * ARCSEC  # noqa: E741
    n = np.sqrt(1 - l * l - m * m)
    dec = np.arcsin(m * np.cos(dec0) + n * np.sin(dec0))
    ra = np.radians(RA) + np.arctan2(l, n * np.cos(dec0) - m * np.sin(dec0))
    assert found.separation(SkyCoord(ra, dec, unit="rad", frame=found.frame.name)).arcsec < 0.01


def test_units_and_beam_of_every_product(field: Field, serial: Executor, tmp_path: Path) -> None:
    summary = tclean(str(field.path), f"{tmp_path}/im", 64, f"{CELL}arcsec", pbcor=True, executor=serial)
    kinds = {"psf": "", "residual": "Jy/beam", "model": "Jy/pixel", "image": "Jy/beam", "pb": "",
             "mask": "", "sumwt": "", "image.pbcor": "Jy/beam"}  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"im.{kind}.fits" for kind in kinds)
    assert sorted(summary.products) == sorted(str(path) for path in tmp_path.iterdir())
    for kind, unit in kinds.items():
        header = fits.getheader(tmp_path / f"im.{kind}.fits")
        assert header["BUNIT"] == unit
        assert ("BMAJ" in header) == (kind in ("psf", "residual", "image", "image.pbcor"))
    assert header["BMAJ"] * 3600 == pytest.approx(summary.beam[0])


def test_the_primary_beam_blanks_and_corrects(field: Field, serial: Executor, tmp_path: Path) -> None:
    tclean(str(field.path), f"{tmp_path}/im", N, "14arcsec", pblimit=0.5, pbcor=True, executor=serial)
    pb, image, corrected = (read(tmp_path / f"im.{kind}.fits") for kind in ("pb", "image", "image.pbcor"))
    x, y = np.mgrid[:N, :N] - N // 2
    # The VLA's dish: 25 m with a shadow of 2.36 m; the middle of the band is 1.46 GHz.
    expected = airy_power(np.hypot(x, y) * 14 * ARCSEC, 1.46e9, 25.0, 2.36)
    seen = expected >= 0.5
    np.testing.assert_array_equal(np.isfinite(image), seen)
    np.testing.assert_allclose(pb[seen], expected[seen], rtol=1e-6)
    np.testing.assert_allclose(corrected[seen], image[seen] / expected[seen], rtol=1e-5)
    np.testing.assert_array_equal(read(tmp_path / "im.mask.fits") == 1, seen)


def test_another_phase_centre_shows_the_same_sky(field: Field, serial: Executor, tmp_path: Path) -> None:
    # 150 arcsec to the east: a source at l is then found at l - 150, but for terms of second order.
    ra = RA + 150 / 3600 / np.cos(np.radians(DEC))
    tclean(
        str(field.path), f"{tmp_path}/im", N, f"{CELL}arcsec", pblimit=-1, executor=serial,
        phasecenter=f"J2000 {ra:.10f}deg {DEC:.10f}deg",
    )  # fmt: skip
    tclean(str(field.path), f"{tmp_path}/old", N, f"{CELL}arcsec", pblimit=-1, executor=serial)
    new, old = read(tmp_path / "im.image.fits"), read(tmp_path / "old.image.fits")
    sky = [WCS(fits.getheader(tmp_path / f"{name}.image.fits")).celestial for name in ("im", "old")]
    for source in field.sources:
        x, y = N // 2 - source.l / CELL, N // 2 + source.m / CELL
        moved = sky[0].world_to_pixel(sky[1].pixel_to_world(x, y))
        assert moved[0] - x == pytest.approx(50, abs=0.1)
        level = ndimage.map_coordinates(new, [[moved[0]], [moved[1]]], order=5)[0]
        # 2e-3: interpolation between pixels.
        assert level == pytest.approx(old[round(x), round(y)], rel=2e-3)


def test_linear_feeds_give_stokes_i_too(serial: Executor, tmp_path: Path) -> None:
    sky = SkyField("TARGET", RA, DEC, "OBSERVE_TARGET#ON_SOURCE", (Source(i=1.0, q=0.4, u=0.2),))
    observation = Observation(
        fields=(sky,), windows=(Window(1.4e9, 4e6, 2),), scans=(Scan("TARGET", 10),), nantennas=8,
        integration=600.0, effects=NOTHING, sefd=0.0, feeds="linear",
    )  # fmt: skip
    simulate(tmp_path / "xy.ms", observation)
    summary = tclean(str(tmp_path / "xy.ms"), f"{tmp_path}/im", 64, f"{CELL}arcsec", executor=serial)
    # XX is I + Q and YY is I - Q: either alone would be 0.4 off. 1e-5: the accuracy of the gridder.
    assert summary.peak == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("threshold", "warned"), [("5Jy", True), ("0.5Jy", False)])
def test_a_clean_without_an_iteration_is_said_aloud(
    field: Field, serial: Executor, tmp_path: Path, threshold: str, warned: bool
) -> None:
    call = {"niter": 50, "threshold": threshold, "executor": serial}
    summary = tclean(str(field.path), f"{tmp_path}/im", N, f"{CELL}arcsec", **call)
    assert summary.stopped == "threshold"
    assert (summary.counts["iterations"] == 0) == warned
    assert any("no iteration (threshold)" in warning for warning in summary.warnings) == warned
