"""The file of the truth: all that was put into a simulation, beside the MeasurementSet."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from parallactic.errors import InvalidSpec
from parallactic.measurementset.simulation.instrument import Instrument
from parallactic.measurementset.simulation.observation import Observation

__all__ = ["Truth", "truth_files"]

_FORMAT = "parallactic-truth-1"


def truth_files(path: str | Path) -> tuple[Path, Path]:
    """Return the names of the two files of the truth of the MeasurementSet `path`: JSON and NPZ."""
    base = Path(path)
    return base.with_name(base.name + ".truth.json"), base.with_name(base.name + ".truth.npz")


@dataclass(frozen=True)
class Truth:
    """What was put into a simulated MeasurementSet.

    The data of the baseline of antennas p and q (ANTENNA1 and ANTENNA2), of a time and a channel, are the
    2 x 2 matrix [[RR, RL], [LR, LL]] (or XX, XY, YX, YY)::

        V_pq = J_p S_pq J_q^H + interference + noise

    where S_pq is the exact sum over the sources (`parallactic.measurementset.simulation.visibilities`, in
    CASA's scale: RR = I + V) and J_p = G_p B_p K_p D_p P_p, so that, without leakage and parallactic angle,
    the product of feeds a and b is ::

        V_pq,ab = g_p,a conj(g_q,b) S_pq,ab  with  g = instrument.diagonal(spw)[time, antenna, channel, feed]

    A gain solved over G alone (B and K applied before) is compared with ``instrument.gains``; how a factor is
    shared between G and B is arbitrary, so that the product of all solved terms is compared with
    ``instrument.diagonal``; phases relative to a reference antenna. K turns about the mean frequency of its
    window.

    Attributes
    ----------
    observation
        What was asked for: fields with their sources, windows, scans, effects, interference, seed.
    antennas
        Their names, in the order of every antenna axis.
    times
        Mid-times of the integrations in seconds of MJD (TIME of the rows), (ntime,).
    scans, fields
        Scan number and field of every integration, (ntime,).
    instrument
        Gains, bandpass, delays, leakage and parallactic angle.
    rfi
        Of every window (ntime, nchan, ncorr) uint8: 0 without interference, else 1 + the place in
        ``observation.rfi`` of the strongest entry there. The same for all baselines.
    sigma
        Standard deviation of the noise of the real, and of the imaginary, part in every window, in Jy;
        SIGMA of the rows is this and WEIGHT its inverse square. (nspw,)
    """

    observation: Observation
    antennas: tuple[str, ...]
    times: npt.NDArray[np.float64]
    scans: npt.NDArray[np.int32]
    fields: npt.NDArray[np.int32]
    instrument: Instrument
    rfi: tuple[npt.NDArray[np.uint8], ...]
    sigma: npt.NDArray[np.float64]

    def at(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        """Return which integration each of `times` (seconds of MJD, any shape) lies in or is nearest to."""
        after = np.clip(np.searchsorted(self.times, times), 1, len(self.times) - 1)
        if len(self.times) == 1:
            return np.zeros(np.shape(times), dtype=np.intp)
        before = after - 1
        nearer = np.abs(times - self.times[before]) <= np.abs(self.times[after] - times)
        return np.where(nearer, before, after)

    def rfi_of_rows(self, spw: int, times: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """Return the interference of rows of window `spw` at `times` (nrow,): (nrow, nchan, ncorr) uint8."""
        return self.rfi[spw][self.at(times)]

    def save(self, path: str | Path) -> tuple[Path, Path]:
        """Write the truth of the MeasurementSet `path` beside it and return the two files."""
        text, arrays = truth_files(path)
        plain = {
            "format": _FORMAT,
            "antennas": list(self.antennas),
            "observation": self.observation.to_dict(),
        }
        named: dict[str, Any] = {
            "times": self.times,
            "scans": self.scans,
            "fields": self.fields,
            "sigma": self.sigma,
            "gains": self.instrument.gains,
            "delays": self.instrument.delays,
            "leakage": self.instrument.leakage,
            "parallactic": self.instrument.parallactic,
        }
        for spw, rfi in enumerate(self.rfi):
            named[f"frequencies_{spw}"] = self.instrument.frequencies[spw]
            named[f"bandpass_{spw}"] = self.instrument.bandpass[spw]
            named[f"rfi_{spw}"] = rfi
        with tempfile.TemporaryDirectory(prefix=".truth-", dir=text.parent) as aside:
            (Path(aside) / "json").write_text(json.dumps(plain, indent=1) + "\n")
            with (Path(aside) / "npz").open("wb") as file:
                np.savez_compressed(file, **named)
            (Path(aside) / "npz").replace(arrays)
            (Path(aside) / "json").replace(text)
        return text, arrays

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the truth of the simulated MeasurementSet `path`.

        Raises
        ------
        InvalidSpec
            If it has none, or one of another format.
        """
        text, arrays = truth_files(path)
        if not (text.is_file() and arrays.is_file()):
            raise InvalidSpec(
                f"{path} has no truth beside it ({text.name} and {arrays.name}); is it simulated?"
            )
        plain = json.loads(text.read_text())
        if plain.get("format") != _FORMAT:
            raise InvalidSpec(
                f"{text} has the format {plain.get('format')!r}, not {_FORMAT!r}; simulate it again."
            )
        observation = Observation.from_dict(plain["observation"])
        spws = range(len(observation.windows))
        with np.load(arrays) as named:
            instrument = Instrument(
                gains=named["gains"],
                bandpass=tuple(named[f"bandpass_{spw}"] for spw in spws),
                delays=named["delays"],
                leakage=named["leakage"],
                parallactic=named["parallactic"],
                frequencies=tuple(named[f"frequencies_{spw}"] for spw in spws),
                circular=observation.feeds == "circular",
            )
            return cls(
                observation=observation,
                antennas=tuple(plain["antennas"]),
                times=named["times"],
                scans=named["scans"],
                fields=named["fields"],
                instrument=instrument,
                rfi=tuple(named[f"rfi_{spw}"] for spw in spws),
                sigma=named["sigma"],
            )
