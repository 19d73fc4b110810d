"""The simulated sky: polarised point sources, and their exact visibilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["ARCSEC", "SPEED_OF_LIGHT", "Feeds", "Source", "brightness", "visibilities"]

SPEED_OF_LIGHT = 299792458.0
ARCSEC = np.pi / 180.0 / 3600.0

Feeds = Literal["circular", "linear"]


@dataclass(frozen=True, slots=True)
class Source:
    """A point source, placed by its direction cosines from the phase centre.

    Parameters
    ----------
    i, q, u, v
        Stokes parameters, in Jy, at `reffreq`. All four follow the spectral index.
    l, m
        Direction cosines towards east and north, each multiplied by 206265 so that it reads as arcseconds.
        In an image with SIN projection the source lies `l` / cell pixels east of the phase centre, exactly.
    spix
        Spectral index: flux goes as (frequency / `reffreq`) ** `spix`.
    reffreq
        Frequency of the Stokes parameters, in Hz. None: the mean of all channels of the observation.
    """

    i: float
    q: float = 0.0
    u: float = 0.0
    v: float = 0.0
    l: float = 0.0  # noqa: E741 - the letter of every paper
    m: float = 0.0
    spix: float = 0.0
    reffreq: float | None = None

    def scale(self, frequencies: npt.NDArray[np.float64], reffreq: float) -> npt.NDArray[np.float64]:
        """Return flux over flux at the reference, shape of `frequencies`; `reffreq` serves if none is set."""
        return (frequencies / (self.reffreq or reffreq)) ** self.spix


def brightness(source: Source, feeds: Feeds) -> npt.NDArray[np.complex128]:
    """Return the 2 x 2 coherency of `source` in Jy, in CASA's scale, where I is the mean of RR and LL.

    Circular feeds: [[I + V, Q + iU], [Q - iU, I - V]]; linear: [[I + Q, U + iV], [U - iV, I - Q]]
    (Hamaker & Bregman 1996, A&AS 117, 161, with the factor two of CASA).
    """
    i, q, u, v = source.i, source.q, source.u, source.v
    if feeds == "circular":
        return np.array([[i + v, q + 1j * u], [q - 1j * u, i - v]], dtype=np.complex128)
    return np.array([[i + q, u + 1j * v], [u - 1j * v, i - q]], dtype=np.complex128)


def visibilities(
    sources: Sequence[Source],
    uvw: npt.NDArray[np.float64],
    frequencies: npt.NDArray[np.float64],
    *,
    feeds: Feeds,
    reffreq: float,
) -> npt.NDArray[np.complex128]:
    """Return what a perfect array sees: the exact sum over `sources`, without a grid.

    V = sum of B (nu / nu0)^spix exp(+2 pi i (u l + v m + w (n - 1)) nu / c), with UVW = antenna 2 - antenna
    1.

    Parameters
    ----------
    sources
        The sky.
    uvw
        Baselines in metres, (nrow, 3).
    frequencies
        Channel centres in Hz, (nchan,).
    feeds
        Basis of the coherencies.
    reffreq
        Reference frequency of sources that name none, in Hz.

    Returns
    -------
    (nrow, nchan, 2, 2) complex128, in Jy.
    """
    total = np.zeros((len(uvw), len(frequencies), 2, 2), dtype=np.complex128)
    for source in sources:
        l, m = source.l * ARCSEC, source.m * ARCSEC  # noqa: E741
        # n - 1 without the cancellation of sqrt(1 - l^2 - m^2) - 1.
        n1 = -(l * l + m * m) / (1.0 + np.sqrt(1.0 - l * l - m * m))
        turns = (uvw @ np.array([l, m, n1]))[:, None] * (frequencies / SPEED_OF_LIGHT)
        fringe = np.exp(2j * np.pi * turns) * source.scale(frequencies, reffreq)
        total += fringe[:, :, None, None] * brightness(source, feeds)
    return total
