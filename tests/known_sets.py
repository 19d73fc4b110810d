"""Small sets for the tests of the package, with every visibility known by its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from parallactic.measurementset import Antenna, Field, MeasurementSet, Rows, SpectralWindow, State, create_ms

START = 5.0e9
"""2017/04/27/08:53:20, the middle of the first integration."""


@dataclass(frozen=True)
class Plan:
    """What `make` writes: scans of 300 s spacing, each of `ntime` integrations of 10 s."""

    nant: int = 6
    ntime: int = 5
    nscan: int = 4
    nchan: tuple[int, ...] = (16, 8)
    polarizations: tuple[tuple[str, ...], ...] = (("RR", "RL", "LR", "LL"),)
    data_descriptions: tuple[tuple[int, int], ...] = ((0, 0), (1, 0))
    names: Sequence[str] = field(default=())
    columns: tuple[str, ...] = ()
    autos: bool = False


MIXED = Plan(
    polarizations=(("RR", "RL", "LR", "LL"), ("XX", "YY")), data_descriptions=((0, 0), (1, 1)), autos=True
)
"""Two windows that differ in channels and in correlations, with autocorrelations."""


def visibility(
    time: np.ndarray, a1: np.ndarray, a2: np.ndarray, ddid: int, shape: tuple[int, int]
) -> np.ndarray:
    """Return the value that `make` writes, told by the place alone: (nrow, nchan, ncorr) complex64."""
    chan, corr = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    step = np.round((time - START) / 10.0)
    real = (step + 1000.0 * ddid)[:, None, None] + 0.01 * corr
    imaginary = (a1 * 100.0 + a2)[:, None, None] + 0.01 * chan[None]
    return (real + 1j * imaginary).astype(np.complex64)


def make(path: Path, plan: Plan = Plan()) -> MeasurementSet:
    """Write the set of `plan` and open it."""
    rng = np.random.default_rng(7)
    positions = np.array([-1601185.4, -5041977.5, 3554875.9]) + rng.normal(0.0, 300.0, (plan.nant, 3))
    names = plan.names or [f"ea{i + 1:02d}" for i in range(plan.nant)]
    antennas = [Antenna(i, names[i], positions[i], 25.0, f"W{i:02d}") for i in range(plan.nant)]
    fields = [
        Field.at(0, "3C286", 3.539, 0.532),
        Field.at(1, "J1008+07", 2.653, 0.131),
        Field.at(2, "3C48", 0.426, 0.579),
    ]
    spws = [
        SpectralWindow.regular(i, f"band{i}", 1.4e9 + i * 1e8, 1e6, nchan)
        for i, nchan in enumerate(plan.nchan)
    ]
    states = [
        State(0, "CALIBRATE_BANDPASS#UNSPECIFIED,CALIBRATE_FLUX#UNSPECIFIED"),
        State(1, "OBSERVE_TARGET#UNSPECIFIED"),
    ]
    a1, a2 = np.triu_indices(plan.nant, 0 if plan.autos else 1)

    def rows() -> Iterator[Rows]:
        for scan in range(plan.nscan):
            for step in range(plan.ntime):
                for ddid, (spw, polarization) in enumerate(plan.data_descriptions):
                    shape = (plan.nchan[spw], len(plan.polarizations[polarization]))
                    time = np.full(len(a1), START + scan * 300.0 + step * 10.0)
                    spectrum = rng.uniform(0.5, 2.0, (len(a1), *shape)).astype(np.float32)
                    yield Rows(
                        ddid=ddid,
                        time=time,
                        antenna1=a1,
                        antenna2=a2,
                        uvw=positions[a2] - positions[a1],
                        data=visibility(time, a1, a2, ddid, shape),
                        interval=10.0,
                        field=scan % 3,
                        scan=scan + 1,
                        state=scan % 2,
                        flag=rng.uniform(size=(len(a1), *shape)) < 0.1,
                        sigma=rng.uniform(0.5, 2.0, (len(a1), shape[1])).astype(np.float32),
                        weight_spectrum=spectrum if "WEIGHT_SPECTRUM" in plan.columns else None,
                        model=2 * visibility(time, a1, a2, ddid, shape)
                        if "MODEL_DATA" in plan.columns
                        else None,
                    )

    create_ms(
        path,
        antennas=antennas,
        fields=fields,
        spws=spws,
        rows=rows(),
        polarizations=plan.polarizations,
        data_descriptions=plan.data_descriptions,
        states=states,
        columns=plan.columns,
    )
    return MeasurementSet(path)
