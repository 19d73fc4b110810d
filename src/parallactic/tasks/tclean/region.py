"""Where components may lie: CASA's region text, or a FITS image, as a mask of pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parallactic.errors import InvalidSpec
from parallactic.kernels.imaging import ImageGeometry, direction_cosines
from parallactic.tasks.quantity import quantity

__all__ = ["ImageFrame", "clean_mask"]

Mask = npt.NDArray[np.bool_]

_SHAPES = ("circle", "ellipse", "box", "centerbox", "poly", "annulus")
_HOURS = re.compile(r"([+-]?)(\d+)[h:](\d+)[m:](\d+(?:\.\d*)?)s?")
_DEGREES = re.compile(r"([+-]?)(\d+)[d.](\d+)[m.](\d+(?:\.\d*)?)s?")


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """An image on the sky: its grid and the direction of its phase centre.

    Parameters
    ----------
    geometry
        The grid.
    centre
        Right ascension and declination, radians.
    """

    geometry: ImageGeometry
    centre: tuple[float, float]

    def pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return the pixel (counted from 0) of a direction in radians.

        Raises
        ------
        InvalidSpec
            If it is more than 90 degrees off.
        """
        l, m, n = direction_cosines((ra, dec), self.centre)  # noqa: E741 - the letter of the papers
        if n <= 0:
            raise InvalidSpec(
                f"the position {math.degrees(ra):.4f}deg, {math.degrees(dec):.4f}deg lies more than 90 "
                "degrees from the phase centre of the image."
            )
        cx, cy = self.geometry.centre
        return cx - l / self.geometry.cell_x, cy + m / self.geometry.cell_y


def clean_mask(mask: str | Sequence[str], frame: ImageFrame) -> Mask:
    """Return the pixels that `mask` allows.

    Parameters
    ----------
    mask
        Empty: all pixels. A path that ends in ``.fits``: an image of the same size, pixels above 0.5 allowed.
        Else CASA's region text, such as ``"circle[[128pix,128pix],6pix]"``,
        ``"circle[[10h08m00.016s,7d30m16.55s],3arcsec]"``, ``"box[[10pix,10pix],[40pix,60pix]]"``,
        ``"centerbox[[...],[w,h]]"``, ``"ellipse[[...],[a,b],angle]"``, ``"poly[[...],[...],[...]]"``,
        ``"annulus[[...],[r1,r2]]"``; several in a list, or one a line: their union.
    frame
        The image.

    Returns
    -------
    ndarray
        Shape (nx, ny), bool.

    Raises
    ------
    InvalidSpec
        If the text cannot be understood, the file does not fit, or nothing is allowed.
    """
    texts = [mask] if isinstance(mask, str) else list(mask)
    lines = [line.strip() for text in texts for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        return np.ones(frame.geometry.shape, bool)
    allowed = np.zeros(frame.geometry.shape, bool)
    for line in lines:
        allowed |= _from_fits(line, frame) if line.lower().endswith(".fits") else _from_text(line, frame)
    if not allowed.any():
        raise InvalidSpec(f"mask={mask!r} holds no pixel of the image; nothing could be cleaned.")
    return allowed


def _from_fits(path: str, frame: ImageFrame) -> Mask:
    from astropy.io import fits
    from astropy.wcs import WCS

    if not Path(path).is_file():
        raise InvalidSpec(f"there is no mask file {path}.")
    try:
        data, header = fits.getdata(path, header=True)
    except OSError as error:
        raise InvalidSpec(f"the mask {path} cannot be read as FITS: {error}.") from None
    image = np.squeeze(np.asarray(data))
    expected = frame.geometry.shape[::-1]
    if image.shape != expected:
        raise InvalidSpec(
            f"the mask {path} has {' x '.join(map(str, image.shape[::-1]))} pixels, the image has "
            f"{' x '.join(map(str, frame.geometry.shape))}; they must be the same."
        )
    sky = WCS(header).celestial
    if sky.has_celestial:
        cx, cy = frame.geometry.centre
        for x, y in ((cx, cy), (0, 0)):
            ra, dec = (math.radians(float(item)) for item in sky.wcs_pix2world(x, y, 0))
            there = frame.pixel(ra, dec)
            if math.hypot(there[0] - x, there[1] - y) > 0.5:
                raise InvalidSpec(
                    f"the mask {path} lies elsewhere on the sky than the image, or has another cell; "
                    "make it with the same imsize, cell and phasecenter."
                )
    return np.ascontiguousarray(image.T > 0.5)


def _from_text(line: str, frame: ImageFrame) -> Mask:
    match = re.fullmatch(r"(\w+)\s*\[(.*)\]", line)
    shapes = ", ".join(_SHAPES)
    if match is None or match[1] not in _SHAPES:
        raise InvalidSpec(
            f"mask {line!r} is neither a .fits file nor a region; regions are {shapes}, for example "
            "'circle[[128pix,128pix],6pix]'."
        )
    try:
        points, rest = _arguments(match[2])
    except ValueError:
        raise InvalidSpec(f"mask {line!r} cannot be read; its brackets do not match.") from None
    try:
        return _shape(match[1], points, rest, frame)
    except InvalidSpec:
        raise
    except (ValueError, IndexError):
        raise InvalidSpec(
            f"mask {line!r} does not have the arguments of a {match[1]}; see the help of tclean for examples."
        ) from None


def _arguments(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Split ``[a,b],[c,d],e`` into its pairs and its single values."""
    pairs = [(a.strip(), b.strip()) for a, b in re.findall(r"\[([^\[\],]*),([^\[\],]*)\]", text)]
    rest = re.sub(r"\[[^\[\],]*,[^\[\],]*\]", "", text)
    if "[" in rest or "]" in rest:
        raise ValueError(text)
    return pairs, [item.strip() for item in rest.split(",") if item.strip()]


def _shape(name: str, points: list[tuple[str, str]], rest: list[str], frame: ImageFrame) -> Mask:
    g = frame.geometry
    x = np.arange(g.nx, dtype=np.float64)[:, None]
    y = np.arange(g.ny, dtype=np.float64)[None, :]
    if name == "poly":
        if len(points) < 3 or rest:
            raise ValueError(name)
        return _polygon([_position(p, frame) for p in points], x, y)
    cx, cy = _position(points[0], frame)
    if name == "circle":
        (radius,) = rest
        return _disk(x - cx, y - cy, _length(radius, g.cell_x), _length(radius, g.cell_y))
    if name == "box":
        other = _position(points[1], frame)
        low, high = np.minimum((cx, cy), other), np.maximum((cx, cy), other)
        inside: Mask = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
        return inside
    first, second = points[1]
    if name == "centerbox":
        return (np.abs(x - cx) <= _length(first, g.cell_x) / 2) & (
            np.abs(y - cy) <= _length(second, g.cell_y) / 2
        )
    if name == "annulus":
        inner = _disk(x - cx, y - cy, _length(first, g.cell_x), _length(first, g.cell_y))
        return _disk(x - cx, y - cy, _length(second, g.cell_x), _length(second, g.cell_y)) & ~inner
    (angle,) = rest
    # The first axis of an ellipse lies at this position angle, from north through east (east is -x).
    turn = quantity(angle, "angle")
    east, north = -(x - cx), y - cy
    along = east * math.sin(turn) + north * math.cos(turn)
    across = east * math.cos(turn) - north * math.sin(turn)
    return _disk(along, across, _length(first, g.cell_y), _length(second, g.cell_x))


def _disk(dx: npt.NDArray[np.float64], dy: npt.NDArray[np.float64], rx: float, ry: float) -> Mask:
    if rx <= 0 or ry <= 0:
        raise InvalidSpec("the radius of a mask must be positive.")
    inside: Mask = (dx / rx) ** 2 + (dy / ry) ** 2 <= 1.0
    return inside


def _polygon(
    corners: list[tuple[float, float]], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> Mask:
    """Count the edges to the right of each pixel: an odd number means inside."""
    inside: Mask = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y1 != y2:
            crossed: Mask = ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
            inside ^= crossed
    return inside


def _position(point: tuple[str, str], frame: ImageFrame) -> tuple[float, float]:
    """Return the pixel of ``(128pix, 128pix)`` or of a direction on the sky."""
    if all(item.endswith("pix") for item in point):
        return float(point[0][:-3]), float(point[1][:-3])
    if any(item.endswith("pix") for item in point):
        raise InvalidSpec(f"a mask position mixes pixels and angles: {point[0]}, {point[1]}.")
    return frame.pixel(right_ascension(point[0]), declination(point[1]))


def right_ascension(text: str) -> float:
    """Read ``10h08m00.016s``, ``10:08:00.016`` or an angle such as ``152.0deg``; radians."""
    match = _HOURS.fullmatch(text)
    return 15.0 * _sexagesimal(match) if match else _with_unit(text, "10h08m00.016s")


def declination(text: str) -> float:
    """Read ``7d30m16.55s``, ``7.30.16.55`` or an angle such as ``7.5deg``; radians."""
    match = _DEGREES.fullmatch(text)
    return _sexagesimal(match) if match else _with_unit(text, "7d30m16.55s")


def _sexagesimal(match: re.Match[str]) -> float:
    value = int(match[2]) + int(match[3]) / 60 + float(match[4]) / 3600
    return math.radians(-value if match[1] == "-" else value)


def _with_unit(text: str, example: str) -> float:
    if re.fullmatch(r"[-+.\deE]+", text):
        raise InvalidSpec(
            f"the position {text!r} needs a unit: write for example '{example}' or '{text}deg'."
        )
    return quantity(text, "angle")


def _length(text: str, cell: float) -> float:
    """Return a length in pixels."""
    if text.endswith("pix"):
        return float(text[:-3])
    if re.fullmatch(r"[-+.\deE]+", text):
        raise InvalidSpec(f"the length {text!r} in a mask needs a unit: write '{text}pix' or '{text}arcsec'.")
    return quantity(text, "angle") / cell
