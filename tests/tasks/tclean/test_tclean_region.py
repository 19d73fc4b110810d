from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging import ImageGeometry
from parallactic.tasks.tclean.region import ImageFrame, clean_mask

ARCSEC = np.pi / 180 / 3600
FRAME = ImageFrame(ImageGeometry(64, 50, 0.5 * ARCSEC, 0.5 * ARCSEC), (np.radians(152.0), np.radians(7.5)))
X, Y = np.mgrid[:64, :50]
R = np.hypot(X - 32, Y - 25)


def test_no_mask_allows_everything() -> None:
    assert clean_mask("", FRAME).all()
    assert clean_mask([], FRAME).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("circle[[32pix,25pix],6pix]", R <= 6),
        ("circle[[32pix, 25pix], 3arcsec]", R <= 6),
        ("box[[10pix,5pix],[20pix,9pix]]", (X >= 10) & (X <= 20) & (Y >= 5) & (Y <= 9)),
        ("box[[20pix,5pix],[10pix,9pix]]", (X >= 10) & (X <= 20) & (Y >= 5) & (Y <= 9)),
        ("centerbox[[30pix,20pix],[10pix,2arcsec]]", (abs(X - 30) <= 5) & (abs(Y - 20) <= 2)),
        ("annulus[[32pix,25pix],[3pix,6pix]]", (R > 3) & (R <= 6)),
        # The first axis of an ellipse at position angle 0 points north, at 90 degrees east.
        ("ellipse[[32pix,25pix],[8pix,4pix],0deg]", ((Y - 25) / 8) ** 2 + ((X - 32) / 4) ** 2 <= 1),
        ("ellipse[[32pix,25pix],[8pix,4pix],90deg]", ((X - 32) / 8) ** 2 + ((Y - 25) / 4) ** 2 <= 1 + 1e-9),
        ("poly[[10.5pix,10.5pix],[30.5pix,10.5pix],[10.5pix,30.5pix]]", (X > 10) & (Y > 10) & (X + Y < 41)),
        ("circle[[10h08m00s,7d30m00s],3arcsec]", R <= 6),
        ("circle[[10:08:00,7.30.00],3arcsec]", R <= 6),
        ("circle[[152deg,7.5deg],3arcsec]", R <= 6),
        # Five arcsec north are ten pixels up.
        ("circle[[10h08m00s,7d30m05s],1.1arcsec]", np.hypot(X - 32, Y - 35) <= 2.2),
    ],
)  # fmt: skip
def test_a_region_holds_the_pixels_whose_centres_lie_in_it(text: str, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(clean_mask(text, FRAME), expected)


def test_several_regions_are_their_union() -> None:
    lines = ["circle[[32pix,25pix],2pix]", "box[[1pix,1pix],[3pix,3pix]]"]
    union = clean_mask(lines[0], FRAME) | clean_mask(lines[1], FRAME)
    np.testing.assert_array_equal(clean_mask(lines, FRAME), union)
    np.testing.assert_array_equal(clean_mask("#CRTF\n" + "\n".join(lines), FRAME), union)


def test_east_is_left() -> None:
    # A little to the east (larger right ascension) of the centre, the pixel is smaller.
    x, y = FRAME.pixel(np.radians(152.0) + 5 * ARCSEC / np.cos(np.radians(7.5)), np.radians(7.5))
    assert x == pytest.approx(32 - 10, abs=1e-3)
    assert y == pytest.approx(25, abs=1e-3)


def write(path: Path, data: np.ndarray, **cards: object) -> str:
    fits.PrimaryHDU(data, fits.Header(cards)).writeto(path)
    return str(path)


def test_a_fits_image_is_a_mask(tmp_path: Path) -> None:
    data = np.zeros((1, 1, 50, 64), np.float32)
    data[0, 0, 20, 11] = 1.0
    mask = clean_mask(write(tmp_path / "mask.fits", data), FRAME)
    assert np.argwhere(mask).tolist() == [[11, 20]]


def test_a_fits_mask_must_fit(tmp_path: Path) -> None:
    small = write(tmp_path / "small.fits", np.ones((10, 64), np.float32))
    with pytest.raises(InvalidSpec, match="64 x 10 pixels, the image has 64 x 50"):
        clean_mask(small, FRAME)
    away = write(
        tmp_path / "away.fits", np.ones((50, 64), np.float32),
        CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CRVAL1=153.0, CRVAL2=7.5, CRPIX1=33.0, CRPIX2=26.0,
        CDELT1=-0.5 / 3600, CDELT2=0.5 / 3600, CUNIT1="deg", CUNIT2="deg",
    )  # fmt: skip
    with pytest.raises(InvalidSpec, match="elsewhere on the sky"):
        clean_mask(away, FRAME)
    (tmp_path / "text.fits").write_text("no image")
    with pytest.raises(InvalidSpec, match="cannot be read as FITS"):
        clean_mask(str(tmp_path / "text.fits"), FRAME)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing.fits", "there is no mask file"),
        ("blob[[1pix,1pix],2pix]", "neither a .fits file nor a region"),
        ("circle[[1pix,1pix]]", "arguments of a circle"),
        ("circle[[1pix,1pix],2pix,3pix]", "arguments of a circle"),
        ("circle[[1pix,1pix,2pix]", "brackets"),
        ("circle[[32pix,25pix],6]", "needs a unit"),
        ("circle[[32,25],6pix]", "needs a unit"),
        ("circle[[32pix,7.5deg],6pix]", "mixes pixels and angles"),
        ("circle[[32pix,25pix],0pix]", "radius"),
        ("circle[[32pix,25pix],3parsec]", "unit 'parsec'"),
        ("circle[[500pix,500pix],6pix]", "no pixel"),
        ("circle[[332deg,-7deg],6pix]", "more than 90 degrees"),
        ("poly[[1pix,1pix],[2pix,2pix]]", "arguments of a poly"),
    ],
)
def test_what_cannot_be_understood_is_said(text: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        clean_mask(text, FRAME)
