"""Cotton-Schwab: minor cycles on the images, major cycles on the visibilities."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parallactic.kernels.deconvolution import CleanControl, StopReason, hogbom, peak

__all__ = ["Cleaned", "clean"]

Image = npt.NDArray[np.float64]

_DIVERGED = 3.0
"""Cleaning has diverged when the peak residual is this often the lowest it had reached."""

_log = logging.getLogger(__name__)


@dataclass
class Cleaned:
    """What cleaning found.

    Parameters
    ----------
    model
        Components, Jy/pixel.
    residual
        What is left, Jy/beam, from the visibilities themselves.
    iterations
        Components subtracted.
    stopped
        Why it ended.
    cycles
        Iterations of each minor cycle; a major cycle follows each.
    """

    model: Image
    residual: Image
    iterations: int
    stopped: StopReason
    cycles: list[int] = field(default_factory=list)


def clean(
    dirty: Image,
    psf: Image,
    mask: npt.NDArray[np.bool_],
    sidelobe: float,
    control: CleanControl,
    major: Callable[[Image], Image],
) -> Cleaned:
    """Clean until a limit is reached (Schwab 1984, AJ 89, 1076).

    Parameters
    ----------
    dirty
        Jy/beam.
    psf
        1 at its centre.
    mask
        Where components may lie.
    sidelobe
        Strongest sidelobe of the PSF.
    control
        The limits.
    major
        Returns the residual image of a model, from the visibilities.
    """
    model = np.zeros_like(dirty)
    # Components lie within the mask, and the residual outside of it is made anew by the major cycle: the
    # minor cycle needs no more than the rectangle about the mask.
    box = _rectangle(mask)
    residual, done, cycles = dirty, 0, list[int]()
    lowest = peak(residual, mask)
    while (reason := control.stop(residual, mask, done)) is None:
        level = control.cycle_threshold(peak(residual, mask), sidelobe, control.floor(residual))
        minor = hogbom(
            residual[box],
            psf,
            mask[box],
            gain=control.gain,
            threshold=level,
            iterations=control.cycle_iterations(done),
        )
        if minor.iterations == 0:
            reason = "no progress"
            break
        model[box] += minor.model
        done += minor.iterations
        cycles.append(minor.iterations)
        residual = major(model)
        highest = peak(residual, mask)
        _log.info(
            "cycle %d: %d iterations to %.4g Jy, %d in all, peak residual %.4g Jy",
            len(cycles), minor.iterations, level, done, highest,
        )  # fmt: skip
        if highest > _DIVERGED * lowest:
            reason = "divergence"
            break
        lowest = min(lowest, highest)
    return Cleaned(model, residual, done, reason, cycles)


def _rectangle(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the smallest rectangle that holds the mask."""
    x, y = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if x.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(x[0]), int(x[-1]) + 1), slice(int(y[0]), int(y[-1]) + 1)
