"""The minor cycle of Högbom (1974, A&AS 15, 417)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from parallactic.errors import InvalidSpec

__all__ = ["MinorCycle", "hogbom", "peak"]


@dataclass(frozen=True, slots=True)
class MinorCycle:
    """What one run of minor iterations did.

    Parameters
    ----------
    model
        Components found, Jy/pixel; shape (nx, ny).
    residual
        What they leave, Jy/beam; shape (nx, ny).
    iterations
        Components subtracted.
    peak
        Largest absolute residual within the mask at the end, Jy/beam.
    """

    model: npt.NDArray[np.float64]
    residual: npt.NDArray[np.float64]
    iterations: int
    peak: float


def peak(image: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]) -> float:
    """Return the largest absolute value within the mask, 0 if the mask is empty."""
    return float(np.max(np.abs(image), where=mask, initial=0.0))


def hogbom(
    residual: npt.NDArray[np.float64],
    psf: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    *,
    gain: float = 0.1,
    threshold: float = 0.0,
    iterations: int = 100,
) -> MinorCycle:
    """Subtract the PSF at the strongest point within the mask, again and again.

    Each iteration takes the pixel of the largest absolute residual within the mask (the first such in
    memory order), moves `gain` times its value into the model, and subtracts that much of the PSF, as far
    as the PSF reaches. It ends when that largest residual is not above `threshold`, or after `iterations`.

    Parameters
    ----------
    residual
        Jy/beam; shape (nx, ny). Not changed.
    psf
        1 at pixel ``[px // 2, py // 2]``; shape (px, py), which may differ from that of the residual.
    mask
        True where components may lie; shape (nx, ny).
    gain
        Loop gain, above 0 and at most 1.
    threshold
        Jy/beam.
    iterations
        The most components to subtract.

    Raises
    ------
    InvalidSpec
        If the shapes of residual and mask differ, or `gain` is out of range.
    """
    if residual.shape != mask.shape:
        raise InvalidSpec(f"residual {residual.shape} and mask {mask.shape} differ in shape.")
    if not 0.0 < gain <= 1.0:
        raise InvalidSpec(f"gain={gain} must be above 0 and at most 1.")
    left = np.array(residual, np.float64, order="C")
    model = np.zeros_like(left)
    allowed, spread = np.ascontiguousarray(mask), np.ascontiguousarray(psf, np.float64)
    done = _subtract(left, model, spread, allowed, gain, threshold, iterations)
    return MinorCycle(model, left, int(done), peak(left, mask))


@njit(cache=True, nogil=True)
def _subtract(
    residual: npt.NDArray[np.float64],
    model: npt.NDArray[np.float64],
    psf: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    gain: float,
    threshold: float,
    iterations: int,
) -> int:  # pragma: no cover - compiled
    nx, ny = residual.shape
    px, py = psf.shape
    # Nothing is subtracted in the first pass, which only finds the peak; later passes do both at once.
    x, y, flux = 0, 0, 0.0
    for done in range(iterations + 1):
        best, best_x, best_y = threshold, -1, -1
        shift_x, shift_y = px // 2 - x, py // 2 - y
        low, high = max(0, -shift_y), min(ny, py - shift_y)
        for i in range(nx):
            if flux != 0.0 and 0 <= i + shift_x < px:
                for j in range(low, high):
                    residual[i, j] -= flux * psf[i + shift_x, j + shift_y]
            for j in range(ny):
                value = abs(residual[i, j])
                if value > best and mask[i, j]:
                    best, best_x, best_y = value, i, j
        if best_x < 0 or done == iterations:
            return done
        x, y = best_x, best_y
        flux = gain * residual[x, y]
        model[x, y] += flux
    return iterations
