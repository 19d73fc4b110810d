"""When a minor cycle hands back to a major one, and when cleaning ends (Cotton-Schwab: Schwab 1984)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from parallactic.errors import InvalidSpec
from parallactic.kernels.deconvolution.hogbom import peak

__all__ = ["CleanControl", "StopReason", "robust_rms"]

StopReason = Literal["niter", "threshold", "nsigma", "empty mask", "no progress", "divergence"]


def robust_rms(image: npt.NDArray[np.float64]) -> float:
    """Return 1.4826 times the median absolute deviation, over the finite pixels."""
    values = image[np.isfinite(image)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


@dataclass(frozen=True, slots=True)
class CleanControl:
    """The limits of cleaning, by CASA's names.

    Parameters
    ----------
    niter
        The most iterations in all.
    gain
        Loop gain, above 0 and at most 1.
    threshold
        Jy/beam; cleaning ends when the largest residual within the mask is not above it.
    nsigma
        The same limit in units of the robust rms of the residual image.
    cycleniter
        The most iterations in one minor cycle; -1: as many as are left.
    cyclefactor, minpsffraction, maxpsffraction
        A minor cycle stops at the peak times (sidelobe level times `cyclefactor`, held between the two
        fractions).

    Raises
    ------
    InvalidSpec
        If a limit is out of range.
    """

    niter: int = 0
    gain: float = 0.1
    threshold: float = 0.0
    nsigma: float = 0.0
    cycleniter: int = -1
    cyclefactor: float = 1.0
    minpsffraction: float = 0.05
    maxpsffraction: float = 0.8

    def __post_init__(self) -> None:
        if self.niter < 0:
            raise InvalidSpec(f"niter={self.niter} must not be negative.")
        if not 0.0 < self.gain <= 1.0:
            raise InvalidSpec(f"gain={self.gain} must be above 0 and at most 1.")
        if self.cycleniter == 0 or self.cycleniter < -1:
            raise InvalidSpec(f"cycleniter={self.cycleniter} must be positive, or -1 for no limit.")
        for name in ("threshold", "nsigma", "cyclefactor"):
            if not getattr(self, name) >= 0.0:
                raise InvalidSpec(f"{name}={getattr(self, name)} must not be negative.")
        if not 0.0 <= self.minpsffraction <= self.maxpsffraction <= 1.0:
            raise InvalidSpec(
                f"minpsffraction={self.minpsffraction} and maxpsffraction={self.maxpsffraction} must rise "
                "between 0 and 1."
            )

    def floor(self, residual: npt.NDArray[np.float64]) -> float:
        """Return the level below which nothing is cleaned, Jy/beam: `threshold`, or `nsigma` if higher."""
        return max(self.threshold, self.nsigma * robust_rms(residual) if self.nsigma > 0 else 0.0)

    def cycle_threshold(self, highest: float, sidelobe: float, floor: float) -> float:
        """Return where the next minor cycle stops, Jy/beam.

        Parameters
        ----------
        highest
            Largest residual within the mask, Jy/beam.
        sidelobe
            Strongest sidelobe of the PSF, of its peak.
        floor
            See `floor`.
        """
        fraction = min(max(sidelobe * self.cyclefactor, self.minpsffraction), self.maxpsffraction)
        return max(highest * fraction, floor)

    def cycle_iterations(self, done: int) -> int:
        """Return how many iterations the next minor cycle may take after `done` in all."""
        left = self.niter - done
        return left if self.cycleniter == -1 else min(left, self.cycleniter)

    def stop(
        self, residual: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_], done: int
    ) -> StopReason | None:
        """Return why cleaning ends before another minor cycle, or None if it goes on."""
        if not mask.any():
            return "empty mask"
        if done >= self.niter:
            return "niter"
        highest = peak(residual, mask)
        if highest <= self.threshold:
            return "threshold"
        if highest <= self.floor(residual):
            return "nsigma"
        return None
