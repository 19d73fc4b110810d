"""From an observation to visibilities: sky, instrument, interference and noise, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parallactic.errors import InvalidSpec
from parallactic.measurementset.simulation.array import Geometry, Layout, vla_layout
from parallactic.measurementset.simulation.instrument import build, generator
from parallactic.measurementset.simulation.observation import Observation
from parallactic.measurementset.simulation.rfi import occupied, signal
from parallactic.measurementset.simulation.sky import visibilities
from parallactic.measurementset.simulation.truth import Truth

__all__ = ["Chunk", "chunks", "draw"]

_LOWEST = np.radians(10.0)  # below, an antenna could not point there


@dataclass(frozen=True)
class Chunk:
    """The rows of one scan in one spectral window, time by time and baseline by baseline.

    Attributes
    ----------
    spw, field, scan
        Numbers of window, field and scan.
    time
        Mid-time in seconds of MJD, (nrow,).
    antenna1, antenna2
        Numbers of the antennas, (nrow,); antenna1 <= antenna2.
    uvw
        Antenna 2 - antenna 1, in metres, (nrow, 3).
    data
        (nrow, nchan, ncorr) complex64, in Jy.
    """

    spw: int
    field: int
    scan: int
    time: npt.NDArray[np.float64]
    antenna1: npt.NDArray[np.int32]
    antenna2: npt.NDArray[np.int32]
    uvw: npt.NDArray[np.float64]
    data: npt.NDArray[np.complex64]


def draw(observation: Observation) -> tuple[Truth, Layout]:
    """Draw all that is random but the noise, and return the truth and the array.

    Raises
    ------
    InvalidSpec
        If the array cannot be built or a field is below 10 degrees of elevation when it is observed.
    """
    layout = vla_layout(observation.nantennas, observation.configuration)
    times, scans, fields = observation.timeline()
    geometry = Geometry(layout)
    for scan in np.unique(scans):
        for edge in (np.flatnonzero(scans == scan)[0], np.flatnonzero(scans == scan)[-1]):
            field = observation.fields[fields[edge]]
            elevation = geometry.elevation(times[edge], np.radians(field.ra), np.radians(field.dec))
            if elevation < _LOWEST:
                raise InvalidSpec(
                    f"the field {field.name!r} stands at {np.degrees(elevation):.1f} degrees of elevation in "
                    f"scan {scan}; change start={observation.start} (days of MJD): 10 degrees are needed."
                )
    parallactic = np.zeros((len(times), observation.nantennas))
    if observation.effects.parallactic:
        for step, time in enumerate(times):
            field = observation.fields[fields[step]]
            parallactic[step] = geometry.parallactic_angle(time, np.radians(field.ra), np.radians(field.dec))
    instrument = build(
        observation.effects,
        times=times,
        nantennas=observation.nantennas,
        frequencies=[window.frequencies for window in observation.windows],
        parallactic=parallactic,
        circular=observation.feeds == "circular",
        seed=observation.seed,
    )
    rfi = tuple(
        occupied(
            observation.rfi,
            spw=spw,
            ntime=len(times),
            nchan=window.nchan,
            correlations=observation.correlations,
            random=generator(observation.seed, "rfi", spw),
        )
        for spw, window in enumerate(observation.windows)
    )
    sigma = np.array([observation.sigma(spw) for spw in range(len(observation.windows))])
    return Truth(observation, layout.names, times, scans, fields, instrument, rfi, sigma), layout


def chunks(truth: Truth, layout: Layout) -> Iterator[Chunk]:
    """Yield the data in the order of time: every scan, and in it every window."""
    observation = truth.observation
    first, second = np.triu_indices(observation.nantennas, 0 if observation.autocorrelations else 1)
    geometry = Geometry(layout)
    for scan in np.unique(truth.scans):
        steps = np.flatnonzero(truth.scans == scan)
        number = int(truth.fields[steps[0]])
        field = observation.fields[number]
        antennas = np.array(
            [geometry.uvw(time, np.radians(field.ra), np.radians(field.dec)) for time in truth.times[steps]]
        )
        uvw = (antennas[:, second] - antennas[:, first]).reshape(-1, 3)
        for spw in range(len(observation.windows)):
            yield Chunk(
                spw=spw,
                field=number,
                scan=int(scan),
                time=np.repeat(truth.times[steps], len(first)),
                antenna1=np.tile(first, len(steps)).astype(np.int32),
                antenna2=np.tile(second, len(steps)).astype(np.int32),
                uvw=uvw,
                data=_data(truth, spw, number, slice(steps[0], steps[-1] + 1), uvw, (first, second)),
            )


def _data(
    truth: Truth,
    spw: int,
    field: int,
    steps: slice,
    uvw: npt.NDArray[np.float64],
    baselines: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
) -> npt.NDArray[np.complex64]:
    observation, first, second = truth.observation, *baselines
    frequencies = truth.instrument.frequencies[spw]
    ntime, nbaseline, nchan = steps.stop - steps.start, len(first), len(frequencies)
    sky = visibilities(
        observation.fields[field].sources,
        uvw,
        frequencies,
        feeds=observation.feeds,
        reffreq=observation.reffreq,
    ).reshape(ntime, nbaseline, nchan, 2, 2)
    jones = truth.instrument.jones(spw, steps)
    seen = jones[:, first] @ sky @ jones[:, second].conj().swapaxes(-1, -2)
    data = seen.reshape(ntime, nbaseline, nchan, 4).astype(np.complex64)
    if observation.rfi:
        data += signal(
            observation.rfi,
            truth.rfi[spw][steps],
            first=steps.start,
            nbaseline=nbaseline,
            scale=float(truth.sigma[spw]) or 1.0,
            random=generator(observation.seed, "transmitters", spw),
        )
    noise = generator(observation.seed, "noise", spw, steps.start).standard_normal(
        (ntime, nbaseline, nchan, 4, 2), dtype=np.float32
    )
    data += np.float32(truth.sigma[spw]) * noise.view(np.complex64)[..., 0]
    if observation.autocorrelations:
        data[:, first == second, :, ::3] += np.float32(observation.sefd)
    return data.reshape(-1, nchan, 4)
