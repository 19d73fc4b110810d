"""What the simulated instrument does to a signal: gains, bandpass, delays and leakage, as Jones matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

__all__ = ["Effects", "Instrument", "build", "generator"]

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]

# Each part of a simulation draws from a stream of its own, so that one switched off leaves the others alone.
Stream = Literal["gains", "bandpass", "delays", "leakage", "noise", "rfi", "transmitters"]
_STREAMS: tuple[Stream, ...] = get_args(Stream)


@dataclass(frozen=True, slots=True)
class Effects:
    """How strongly the instrument acts. Zero switches an effect off.

    Parameters
    ----------
    gain_amplitude
        Spread of the gains' amplitudes about 1 over antennas and polarisations (standard deviation).
    gain_phase
        Spread of their phases, in radians: uniform between plus and minus this value.
    drift_amplitude, drift_phase
        Size of the slow change in time of amplitude (relative) and phase (radians): a sine for every antenna.
    drift_time
        Shortest period of that change, in seconds; the periods lie between it and twice it.
    bandpass_amplitude, bandpass_phase
        Size of the ripple over the channels, relative and in radians; with an amplitude the band also falls
        by up to half over the outer sixteenth at both edges.
    delay
        Standard deviation of the delays, in seconds.
    leakage
        Standard deviation of the real and of the imaginary part of the D terms.
    parallactic
        Whether the sky turns in the feeds with the parallactic angle (an alt-azimuth mount).
    """

    gain_amplitude: float = 0.1
    gain_phase: float = float(np.pi)
    drift_amplitude: float = 0.02
    drift_phase: float = 0.4
    drift_time: float = 5400.0
    bandpass_amplitude: float = 0.05
    bandpass_phase: float = 0.1
    delay: float = 2e-9
    leakage: float = 0.02
    parallactic: bool = False


@dataclass(frozen=True)
class Instrument:
    """The Jones terms of every antenna, in the order in which they act: sky, P, D, then K B G.

    Attributes
    ----------
    gains
        (nspw, ntime, nant, 2): G of both feeds.
    bandpass
        Of every window (nant, nchan, 2): B.
    delays
        (nspw, nant, 2), in seconds: K = exp(2 pi i delay (nu - mean nu of the window)).
    leakage
        (nspw, nant, 2): the D terms; D = [[1, d0], [d1, 1]].
    parallactic
        (ntime, nant), in radians; zero where it does not act. Circular feeds: P = diag(exp(-i x), exp(i x)),
        linear feeds: P = [[cos x, sin x], [-sin x, cos x]].
    frequencies
        Of every window (nchan,), in Hz.
    circular
        Whether the feeds are circular.
    """

    gains: Complex
    bandpass: tuple[Complex, ...]
    delays: Float
    leakage: Complex
    parallactic: Float
    frequencies: tuple[Float, ...]
    circular: bool

    def diagonal(self, spw: int, times: slice = slice(None)) -> Complex:
        """Return G B K of window `spw`, (ntime, nant, nchan, 2): what a calibration without leakage finds."""
        offset = self.frequencies[spw] - self.frequencies[spw].mean()
        delay = np.exp(2j * np.pi * self.delays[spw][:, None, :] * offset[None, :, None])
        product: Complex = self.gains[spw, times][:, :, None, :] * (self.bandpass[spw] * delay)
        return product

    def jones(self, spw: int, times: slice = slice(None)) -> Complex:
        """Return the whole Jones matrix G B K D P of window `spw`, (ntime, nant, nchan, 2, 2)."""
        angle = self.parallactic[times]
        mix = np.ones((*angle.shape, 2, 2), dtype=np.complex128)
        mix[..., 0, 1], mix[..., 1, 0] = self.leakage[spw, :, 0], self.leakage[spw, :, 1]
        turn = np.zeros_like(mix)
        if self.circular:
            turn[..., 0, 0], turn[..., 1, 1] = np.exp(-1j * angle), np.exp(1j * angle)
        else:
            turn[..., 0, 0] = turn[..., 1, 1] = np.cos(angle)
            turn[..., 0, 1], turn[..., 1, 0] = np.sin(angle), -np.sin(angle)
        whole: Complex = self.diagonal(spw, times)[..., :, None] * (mix @ turn)[:, :, None]
        return whole


def generator(seed: int, stream: Stream, *parts: int) -> np.random.Generator:
    """Return the random numbers of one stream of a simulation, or of one of its `parts` (window, scan)."""
    return np.random.default_rng([seed, _STREAMS.index(stream), *parts])


def build(
    effects: Effects,
    *,
    times: Float,
    nantennas: int,
    frequencies: Sequence[Float],
    parallactic: Float,
    circular: bool,
    seed: int,
) -> Instrument:
    """Draw an instrument with `effects`.

    Parameters
    ----------
    effects
        Their sizes.
    times
        Mid-times in seconds, (ntime,).
    nantennas
        Number of antennas.
    frequencies
        Channel centres of every window, in Hz.
    parallactic
        (ntime, nant) in radians, used if the effects ask for it.
    circular
        Whether the feeds are circular.
    seed
        Of the random numbers.
    """
    shape = (len(frequencies), nantennas, 2)
    bandpass_random = generator(seed, "bandpass")
    random = generator(seed, "leakage")
    leakage = np.asarray(
        effects.leakage * (random.standard_normal(shape) + 1j * random.standard_normal(shape)),
        dtype=np.complex128,
    )
    return Instrument(
        gains=_gains(effects, times - times[0], shape, generator(seed, "gains")),
        bandpass=tuple(_bandpass(effects, len(grid), nantennas, bandpass_random) for grid in frequencies),
        delays=effects.delay * generator(seed, "delays").standard_normal(shape),
        leakage=leakage,
        parallactic=parallactic if effects.parallactic else np.zeros_like(parallactic),
        frequencies=tuple(frequencies),
        circular=circular,
    )


def _gains(
    effects: Effects, seconds: Float, shape: tuple[int, int, int], random: np.random.Generator
) -> Complex:
    """Draw static complex gains times a slow sine in amplitude and phase; (nspw, ntime, nant, 2)."""
    amplitude = np.clip(1.0 + effects.gain_amplitude * random.standard_normal(shape), 0.3, None)
    phase = effects.gain_phase * random.uniform(-1.0, 1.0, shape)
    drifts = []
    for _ in range(2):
        period = effects.drift_time * random.uniform(1.0, 2.0, shape)
        offset = random.uniform(0.0, 2.0 * np.pi, shape)
        drifts.append(np.sin(2.0 * np.pi * seconds[:, None, None, None] / period + offset))
    grown = amplitude * (1.0 + effects.drift_amplitude * drifts[0])
    turned = phase + effects.drift_phase * drifts[1]
    return np.moveaxis(grown * np.exp(1j * turned), 0, 1)


def _bandpass(effects: Effects, nchan: int, nantennas: int, random: np.random.Generator) -> Complex:
    """Ripples of two to four periods over the band, and edges that fall; (nant, nchan, 2)."""
    place = (np.arange(nchan) + 0.5) / nchan
    ripples = []
    for _ in range(2):
        periods = random.uniform(0.5, 2.0, (nantennas, 1, 2))
        offset = random.uniform(0.0, 2.0 * np.pi, (nantennas, 1, 2))
        ripples.append(np.sin(2.0 * np.pi * periods * place[:, None] + offset))
    edge = np.minimum(place, 1.0 - place) * 16.0
    fall = np.where(edge < 1.0, 0.5 + 0.5 * np.sin(0.5 * np.pi * np.clip(edge, 0.0, 1.0)), 1.0)
    amplitude = 1.0 + effects.bandpass_amplitude * ripples[0]
    if effects.bandpass_amplitude > 0.0:
        amplitude = amplitude * fall[:, None]
    return np.asarray(amplitude * np.exp(1j * effects.bandpass_phase * ripples[1]), dtype=np.complex128)
