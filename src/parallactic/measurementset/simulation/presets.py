"""A whole observation from a few numbers: calibrators, target, scans and interference as people have them."""

from __future__ import annotations

from typing import Literal

from parallactic.errors import InvalidSpec
from parallactic.measurementset.simulation.array import Configuration
from parallactic.measurementset.simulation.instrument import Effects
from parallactic.measurementset.simulation.observation import Observation, Scan, SkyField, Window
from parallactic.measurementset.simulation.rfi import Rfi
from parallactic.measurementset.simulation.sky import Feeds, Source
from parallactic.spec import near_match

__all__ = ["FLUX_CALIBRATOR", "PHASE_CALIBRATOR", "RFI_LEVELS", "TARGET", "RfiLevel", "standard_observation"]

RfiLevel = Literal["none", "weak", "strong", "mixed"]

RFI_LEVELS: dict[RfiLevel, tuple[Rfi, ...]] = {
    "none": (),
    "weak": (
        Rfi("narrowband", strength=6.0, occupancy=0.03),
        Rfi("burst", strength=5.0, occupancy=0.02),
        Rfi("intermittent", strength=8.0, occupancy=0.01),
    ),
    "strong": (
        Rfi("narrowband", strength=200.0, occupancy=0.03),
        Rfi("burst", strength=60.0, occupancy=0.02),
        Rfi("intermittent", strength=100.0, occupancy=0.01),
    ),
    "mixed": (
        Rfi("narrowband", strength=200.0, occupancy=0.03, spw=0),
        Rfi("narrowband", strength=6.0, occupancy=0.02),
        Rfi("burst", strength=60.0, occupancy=0.02),
        Rfi("intermittent", strength=100.0, occupancy=0.005),
        Rfi("intermittent", strength=8.0, occupancy=0.01),
        Rfi("intermittent", strength=30.0, occupancy=0.005, spw=1),
    ),
}
"""Interference of each level; strengths in standard deviations of a visibility's noise."""

FLUX_CALIBRATOR = SkyField(
    name="J1331+3030",
    ra=202.784533,
    dec=30.509155,
    intent="CALIBRATE_FLUX#ON_SOURCE,CALIBRATE_BANDPASS#ON_SOURCE,CALIBRATE_DELAY#ON_SOURCE",
    sources=(Source(i=15.0, q=0.55, u=1.25, spix=-0.5),),
)
"""At the place of 3C 286, polarised like it."""

PHASE_CALIBRATOR = SkyField(
    name="J1310+3220",
    ra=197.619433,
    dec=32.345495,
    intent="CALIBRATE_PHASE#ON_SOURCE,CALIBRATE_AMPLI#ON_SOURCE",
    sources=(Source(i=2.5, q=0.03, u=-0.02, spix=-0.2),),
)

TARGET = SkyField(
    name="TARGET",
    ra=199.5,
    dec=31.4,
    intent="OBSERVE_TARGET#ON_SOURCE",
    sources=(
        Source(i=1.00, q=0.05, u=-0.03, l=131.3, m=87.7, spix=-0.7),
        Source(i=0.60, l=-213.6, m=152.9, spix=-0.7),
        Source(i=0.45, q=-0.03, u=0.04, v=0.005, l=-96.2, m=-178.4),
        Source(i=0.30, l=274.9, m=-121.1, spix=-1.0),
    ),
)
"""Four sources, all off the centre and off the pixels, two of them polarised."""


def standard_observation(
    *,
    nantennas: int = 10,
    configuration: Configuration = "C",
    feeds: Feeds = "circular",
    nspw: int = 2,
    nchan: int = 32,
    frequency: float = 1.4e9,
    chanwidth: float = 1e6,
    cycles: int = 2,
    calibrator_integrations: int = 6,
    target_integrations: int = 12,
    integration: float = 10.0,
    gap: float = 60.0,
    effects: Effects | None = None,
    rfi: RfiLevel | tuple[Rfi, ...] = "mixed",
    sefd: float = 400.0,
    autocorrelations: bool = False,
    seed: int = 1,
) -> Observation:
    """Return an observation: flux calibrator, phase calibrator, target, phase calibrator, target, and so on.

    It ends on the phase calibrator, so that every scan of the target lies between two of its scans.

    Parameters
    ----------
    nantennas, configuration, feeds, integration, gap, sefd, autocorrelations, seed
        As in `Observation`.
    nspw, nchan, frequency, chanwidth
        Windows of `nchan` channels of `chanwidth` Hz, one above the other, from `frequency` Hz on.
    cycles
        How often the target is visited.
    calibrator_integrations, target_integrations
        Length of the scans of calibrators (twice for the flux calibrator) and of the target.
    effects
        What the instrument does. None: `Effects` with its defaults.
    rfi
        A level of `RFI_LEVELS`, or the interference itself.

    Raises
    ------
    InvalidSpec
        If there is no cycle or no window.
    """
    if cycles < 1 or nspw < 1:
        raise InvalidSpec(f"cycles={cycles} and nspw={nspw} must both be 1 or more.")
    phase = Scan(PHASE_CALIBRATOR.name, calibrator_integrations)
    visits = (phase, Scan(TARGET.name, target_integrations)) * cycles
    return Observation(
        fields=(FLUX_CALIBRATOR, PHASE_CALIBRATOR, TARGET),
        windows=tuple(Window(frequency + k * nchan * chanwidth, chanwidth, nchan) for k in range(nspw)),
        scans=(Scan(FLUX_CALIBRATOR.name, 2 * calibrator_integrations), *visits, phase),
        nantennas=nantennas,
        configuration=configuration,
        feeds=feeds,
        integration=integration,
        gap=gap,
        effects=effects or Effects(),
        rfi=_of_level(rfi, nspw) if isinstance(rfi, str) else rfi,
        sefd=sefd,
        autocorrelations=autocorrelations,
        seed=seed,
    )


def _of_level(level: RfiLevel, nspw: int) -> tuple[Rfi, ...]:
    """Return the interference of a level, without what belongs to a second window if there is one alone."""
    if level not in RFI_LEVELS:
        raise InvalidSpec(f"rfi={level!r} is no level of interference{near_match(level, RFI_LEVELS)}")
    return tuple(entry for entry in RFI_LEVELS[level] if entry.spw is None or entry.spw < nspw)
