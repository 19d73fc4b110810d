"""Interference from the ground: narrow bands, bursts and passing transmitters, of any strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from parallactic.errors import InvalidSpec
from parallactic.spec import near_match

__all__ = ["KINDS", "Rfi", "RfiKind", "occupied", "signal"]

RfiKind = Literal["narrowband", "burst", "intermittent"]
KINDS: tuple[RfiKind, ...] = ("narrowband", "burst", "intermittent")


@dataclass(frozen=True, slots=True)
class Rfi:
    """One kind of interference.

    Parameters
    ----------
    kind
        ``narrowband``: single channels, all the time. ``burst``: single integrations, all channels.
        ``intermittent``: one to four channels for two to six integrations, again and again.
    strength
        Median amplitude over the baselines, in standard deviations of the thermal noise of one visibility's
        real part (in Jy where there is no noise). Baselines differ by about 1.5 times.
    occupancy
        Fraction of channels (``narrowband``), of integrations (``burst``) or of both together
        (``intermittent``) that it touches, at least one.
    spw
        The spectral window that it touches. None: all.
    correlations
        The correlations that it touches, for example ``("RR", "LL")``. Empty: all.
    """

    kind: RfiKind
    strength: float
    occupancy: float
    spw: int | None = None
    correlations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidSpec(f"interference of kind {self.kind!r} is unknown{near_match(self.kind, KINDS)}")
        if not 0.0 < self.occupancy <= 0.5:
            raise InvalidSpec(f"{self} must touch more than nothing and at most half of the data.")
        if self.strength <= 0.0:
            raise InvalidSpec(f"{self} must have a positive strength.")

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Return the entry that `dataclasses.asdict` made, also after a way through JSON."""
        return cls(**{**plain, "correlations": tuple(plain["correlations"])})


def occupied(
    entries: Sequence[Rfi],
    *,
    spw: int,
    ntime: int,
    nchan: int,
    correlations: Sequence[str],
    random: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Draw where interference lies in window `spw`.

    Returns
    -------
    (ntime, nchan, ncorr) uint8: 0 where there is none, else 1 + the place of the strongest entry. It is the
    same for every baseline.

    Raises
    ------
    InvalidSpec
        If an entry names a correlation that is not there.
    """
    where = np.zeros((ntime, nchan, len(correlations)), dtype=np.uint8)
    weakest_first = sorted(range(len(entries)), key=lambda place: entries[place].strength)
    touched = {place: _touched(entries[place], ntime, nchan, random) for place in range(len(entries))}
    for place in weakest_first:
        entry = entries[place]
        for name in entry.correlations:
            if name not in correlations:
                raise InvalidSpec(
                    f"{entry} names the correlation {name!r}; there are {', '.join(correlations)}."
                )
        if entry.spw in (None, spw):
            chosen = [
                c
                for c, name in enumerate(correlations)
                if not entry.correlations or name in entry.correlations
            ]
            for correlation in chosen:
                where[..., correlation][touched[place]] = place + 1
    return where


def _touched(entry: Rfi, ntime: int, nchan: int, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    touched = np.zeros((ntime, nchan), dtype=np.bool_)
    if entry.kind == "narrowband":
        touched[:, random.choice(nchan, max(1, round(entry.occupancy * nchan)), replace=False)] = True
    elif entry.kind == "burst":
        touched[random.choice(ntime, max(1, round(entry.occupancy * ntime)), replace=False)] = True
    else:
        while touched.mean() < entry.occupancy:
            begin, first = random.integers(ntime), random.integers(nchan)
            touched[begin : begin + random.integers(2, 7), first : first + random.integers(1, 5)] = True
    return touched


def signal(
    entries: Sequence[Rfi],
    where: npt.NDArray[np.uint8],
    *,
    first: int,
    nbaseline: int,
    scale: float,
    random: np.random.Generator,
) -> npt.NDArray[np.complex64]:
    """Return the interference in every visibility of some integrations, in Jy.

    Each baseline has an amplitude of its own (log-normal, 0.4), a phase that turns as fringes do for a
    transmitter that stands still, and a slow change in time; each correlation a factor of its own.

    Parameters
    ----------
    entries
        The interference.
    where
        From `occupied`, of these integrations, (ntime, nchan, ncorr).
    first
        Number of the first of these integrations.
    nbaseline
        Number of baselines.
    scale
        Jy of a strength of 1.
    random
        Random numbers, the same at every call of one window.

    Returns
    -------
    (ntime, nbaseline, nchan, ncorr) complex64.
    """
    ntime, nchan, ncorr = where.shape
    total = np.zeros((ntime, nbaseline, nchan, ncorr), dtype=np.complex64)
    steps = (first + np.arange(ntime))[:, None]
    for place, entry in enumerate(entries):
        reach = np.exp(0.4 * random.standard_normal(nbaseline))
        fringe = np.exp(
            1j * (random.uniform(0, 2 * np.pi, nbaseline) + steps * random.normal(0.0, 0.3, nbaseline))
        )
        swell = 1.0 + 0.3 * np.sin(2 * np.pi * (steps / random.uniform(15.0, 40.0) + random.uniform()))
        polarised = random.uniform(0.7, 1.3, ncorr) * np.exp(2j * np.pi * random.uniform(size=ncorr))
        slope = np.exp(2j * np.pi * random.uniform(-1.0, 1.0, nbaseline)[:, None] * np.arange(nchan) / nchan)
        wave = (entry.strength * scale * swell * reach * fringe)[:, :, None] * slope
        times = np.flatnonzero((where == place + 1).any(axis=(1, 2)))
        mask = (where[times] == place + 1)[:, None]
        total[times] += np.where(mask, wave[times][..., None] * polarised, 0.0)
    return total
