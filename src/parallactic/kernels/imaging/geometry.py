"""The grid of an image on the sky: its size, its cell, its centre."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parallactic.errors import InvalidSpec

__all__ = ["SPEED_OF_LIGHT", "ImageGeometry"]

SPEED_OF_LIGHT = 299792458.0
"""Metres per second (exact by definition of the metre)."""

_LEAST_GRID = 32
"""The smallest image that ducc0's gridder takes."""


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """An image in the SIN projection about the phase centre, indexed ``[x, y]`` as in CASA.

    Pixel ``[nx // 2, ny // 2]`` is the phase centre; x runs to the west (right ascension falls), y to
    the north.

    Parameters
    ----------
    nx, ny
        Pixels along x and y.
    cell_x, cell_y
        Size of a pixel, radians (of direction cosine), both positive.

    Raises
    ------
    InvalidSpec
        If the size or the cell is not positive, or the image reaches beyond the horizon.
    """

    nx: int
    ny: int
    cell_x: float
    cell_y: float

    def __post_init__(self) -> None:
        if self.nx < 1 or self.ny < 1:
            raise InvalidSpec(f"an image of {self.nx} x {self.ny} pixels cannot be; give positive sizes.")
        if not (self.cell_x > 0 and self.cell_y > 0):
            raise InvalidSpec(f"a cell of {self.cell_x} x {self.cell_y} rad cannot be; give positive sizes.")
        corner = math.hypot(self.gridded[0] * self.cell_x / 2, self.gridded[1] * self.cell_y / 2)
        if corner >= 1.0:
            degrees = [math.degrees(n * c) for n, c in ((self.nx, self.cell_x), (self.ny, self.cell_y))]
            raise InvalidSpec(
                f"an image of {self.nx} x {self.ny} pixels spans {degrees[0]:.4g} x {degrees[1]:.4g} degrees "
                "and reaches beyond the horizon; use fewer pixels or a smaller cell."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Return ``(nx, ny)``."""
        return self.nx, self.ny

    @property
    def centre(self) -> tuple[int, int]:
        """Return the pixel of the phase centre, counted from 0."""
        return self.nx // 2, self.ny // 2

    @property
    def gridded(self) -> tuple[int, int]:
        """Return the size that is really gridded: even and at least 32 along both axes."""
        return max(_LEAST_GRID, self.nx + self.nx % 2), max(_LEAST_GRID, self.ny + self.ny % 2)

    @property
    def window(self) -> tuple[slice, slice]:
        """Return where this image lies in the gridded one, with the phase centres on each other."""
        starts = [big // 2 - small // 2 for big, small in zip(self.gridded, self.shape, strict=True)]
        return slice(starts[0], starts[0] + self.nx), slice(starts[1], starts[1] + self.ny)

    @property
    def pixel_area(self) -> float:
        """Return the solid angle of the central pixel, steradian."""
        return self.cell_x * self.cell_y
