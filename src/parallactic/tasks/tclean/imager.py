"""Images of all the blocks together: the workers grid, the partial images are added in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from parallactic.errors import DependencyFailed, ParallacticError
from parallactic.measurementset import MeasurementSet
from parallactic.tasks.base import StepFailed, run_units
from parallactic.tasks.tclean.plan import Plan
from parallactic.tasks.tclean.settings import Settings
from parallactic.tasks.tclean.work import (
    Partial,
    add,
    block_density,
    block_psf,
    block_residual,
    block_weight,
    read_block,
)
from parallactic.tasks.units import watch_units

__all__ = ["Imager"]

Image = npt.NDArray[np.float64]

_FAN_IN = 8
"""Partial images added by one task; the tree that follows depends on the number of blocks alone."""


@dataclass
class Imager:
    """The visibilities of one image, held by the workers, and what is made of them.

    Parameters
    ----------
    executor
        Where the work is done.
    plan
        The blocks.
    settings
        How to image.
    """

    executor: Any
    plan: Plan
    settings: Settings
    _units: list[tuple[Any, Any]] = field(default_factory=list)
    _submitted: list[Future[Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the visibilities, and of what was not waited for."""
        for future in self._submitted:
            future.cancel()
        self._submitted, self._units = [], []

    def load(self, ms: MeasurementSet, column: str) -> None:
        """Have the workers read and weigh the blocks, which then stay with them in the data plane.

        Only futures are held here. Nothing is waited for: an error of reading appears in the first image.
        """
        geometry = self.settings.geometry
        blocks = self._submit(read_block, self.plan.blocks, ms, column, self.plan.centre, label="read")
        weights: Sequence[Any] = [None] * len(blocks)
        if self.settings.weighting != "natural":
            shares = self._submit(block_density, blocks, geometry, label="weight density")
            grid = self._sum(shares, "weight density")
            scheme = self.settings.weighting, self.settings.robust
            weights = self._submit(block_weight, blocks, grid, geometry, *scheme, label="weigh")
        self._units = list(zip(blocks, weights, strict=True))

    def psf_and_dirty(self) -> tuple[Image, Image, Partial]:
        """Return the point spread function (its peak about 1), the dirty image (Jy/beam) and their totals.

        Raises
        ------
        ParallacticError
            If all the data are flagged, or the work failed.
        """
        geometry = self.settings.geometry
        psf = self._sum(self._submit(block_psf, self._units, geometry, label="psf"), "psf")
        shares = self._submit(block_residual, self._units, None, geometry, label="dirty image")
        dirty = self._sum(shares, "dirty image")
        totals = self._wait(psf, "psf")
        if totals.weight <= 0:
            raise ParallacticError(
                f"nothing to image: all {self.plan.visibilities:,} selected visibilities are flagged, have "
                "no weight, or lie off the weighting grid."
            )
        return totals.image / totals.weight, self._normalised(self._wait(dirty, "dirty image")), totals

    def residual(self, model: Image) -> Image:
        """Return the image, Jy/beam, of the visibilities minus those of `model` (Jy/pixel): a major cycle."""
        ex, geometry = self.executor, self.settings.geometry
        sent = ex.put(model) if hasattr(ex, "put") else model
        shares = self._submit(block_residual, self._units, sent, geometry, label="major cycle")
        return self._normalised(self._wait(self._sum(shares, "major cycle"), "major cycle"))

    def _normalised(self, total: Partial) -> Image:
        image: Image = total.image / total.weight
        return image

    def _sum(self, futures: Sequence[Future[Any]], label: str) -> Future[Any]:
        """Add partial images on the workers, in a tree of fixed shape; none passes through the client."""
        level = list(futures)
        while len(level) > 1:
            groups = [level[start : start + _FAN_IN] for start in range(0, len(level), _FAN_IN)]
            level = self._submit(add, groups, label=f"sum of {label}")
        return level[0]

    def _submit(self, work: Callable[..., Any], units: Sequence[Any], *common: Any, label: str) -> list[Any]:
        futures = run_units(self.executor, work, units, *common, label=label, futures=True)
        self._submitted += futures
        return futures

    def _wait(self, future: Future[Any], label: str) -> Partial:
        watch_units(self._submitted, label)
        try:
            partial: Partial = future.result()
        except DependencyFailed as error:
            root = _root(error)
            raise StepFailed(f"{label} failed. {type(root).__name__}: {root}", label=label) from root
        # Partial images that were added up are of no more use; without a future they leave the data plane.
        self._submitted = []
        return partial


def _root(error: BaseException) -> BaseException:
    """Return what made the first task of a chain fail."""
    while isinstance(error, DependencyFailed) and error.__cause__ is not None:
        error = error.__cause__
    return error
