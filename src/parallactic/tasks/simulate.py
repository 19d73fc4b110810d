"""The task that makes a MeasurementSet of known sources, with the truth beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parallactic.errors import InvalidSpec
from parallactic.measurementset.simulation import Effects, Feeds, Observation, RfiLevel, standard_observation
from parallactic.measurementset.simulation import simulate as write
from parallactic.measurementset.simulation.array import Configuration
from parallactic.measurementset.simulation.observe import draw
from parallactic.measurementset.simulation.truth import truth_files
from parallactic.measurementset.staging import check_output
from parallactic.tasks.base import ExecutorLike, TaskResult, run_units, task, using
from parallactic.tasks.quantity import Duration, Frequency, quantity

__all__ = ["SimulationSummary", "simulate"]


@dataclass(kw_only=True)
class SimulationSummary(TaskResult):
    """What `simulate` made.

    Parameters
    ----------
    fields
        Names of the fields, each with the sum of its sources' Stokes I and their number.
    sigma
        Noise of the real and of the imaginary part of a visibility in every window, in Jy.
    """

    fields: dict[str, Any]
    sigma: list[float]


@task
def simulate(
    outputvis: str,
    nantennas: int = 10,
    configuration: Configuration = "C",
    *,
    feeds: Feeds = "circular",
    nspw: int = 2,
    nchan: int = 32,
    frequency: Frequency = "1.4GHz",
    chanwidth: Frequency = "1MHz",
    cycles: int = 2,
    calibrator_integrations: int = 6,
    target_integrations: int = 12,
    integration: Duration = "10s",
    gap: Duration = "60s",
    gains: bool = True,
    bandpass: bool = True,
    delay: float = 2.0,
    leakage: float = 0.02,
    parang: bool = False,
    rfi: RfiLevel = "mixed",
    sefd: float = 400.0,
    autocorrelations: bool = False,
    seed: int = 1,
    executor: ExecutorLike = None,
) -> SimulationSummary:
    """Make a MeasurementSet of known sources, seen by a known instrument, and a file of the truth.

    A flux calibrator, then `cycles` times a phase calibrator and a target, then the phase calibrator again.
    The target has four sources off its centre, two of them polarised. The truth (sources, gains, bandpass,
    delays, leakage, where the interference lies) is written to ``<outputvis>.truth.json`` and ``.npz``;
    `parallactic.measurementset.simulation.Truth` reads it and says how the data follow from it. For other
    skies and scans, `parallactic.measurementset.simulation.simulate` takes an `Observation`.

    Parameters
    ----------
    outputvis
        The MeasurementSet to make; must not exist.
    nantennas
        Number of antennas on the VLA's arms, 3 to 27.
    configuration
        Size of the VLA: A is the largest (21 km arms), D the smallest (0.6 km).
    feeds
        Circular gives RR RL LR LL, linear XX XY YX YY.
    nspw
        Number of spectral windows, one above the other.
    nchan
        Channels in each.
    frequency
        Centre of the first channel.
    chanwidth
        Width of a channel.
    cycles
        How often the target is visited.
    calibrator_integrations
        Integrations in a scan of the phase calibrator; the flux calibrator gets twice as many.
    target_integrations
        Integrations in a scan of the target.
    integration
        Length of an integration.
    gap
        Time between scans.
    gains
        Whether antennas have gains that drift slowly, in amplitude and phase.
    bandpass
        Whether they have a bandpass.
    delay
        Standard deviation of their delays, in nanoseconds; 0: none.
    leakage
        Standard deviation of the real and of the imaginary part of the D terms; 0: none.
    parang
        Whether the sky turns in the feeds with the parallactic angle.
    rfi
        Interference: none, weak (5 to 8 times the noise), strong (60 to 200 times), or both kinds mixed.
    sefd
        System equivalent flux density in Jy, which sets the noise; 0: none.
    autocorrelations
        Whether the antennas' products with themselves are kept.
    seed
        Of all random numbers: the same seed gives the same set.

    Returns
    -------
    SimulationSummary
        What was made.
    """
    if delay < 0.0 or leakage < 0.0:
        raise InvalidSpec(
            f"delay={delay} and leakage={leakage} are standard deviations; they cannot be negative."
        )
    still, flat = ({} if gains else _NO_GAINS), ({} if bandpass else _NO_BANDPASS)
    effects = Effects(delay=delay * 1e-9, leakage=leakage, parallactic=parang, **still, **flat)
    observation = standard_observation(
        nantennas=nantennas,
        configuration=configuration,
        feeds=feeds,
        nspw=nspw,
        nchan=nchan,
        frequency=quantity(frequency, "frequency", default="Hz"),
        chanwidth=quantity(chanwidth, "frequency", default="Hz"),
        cycles=cycles,
        calibrator_integrations=calibrator_integrations,
        target_integrations=target_integrations,
        integration=quantity(integration, "time", default="s"),
        gap=quantity(gap, "time", default="s"),
        effects=effects,
        rfi=rfi,
        sefd=sefd,
        autocorrelations=autocorrelations,
        seed=seed,
    )
    target = check_output(outputvis, "outputvis")
    for file in truth_files(target):
        check_output(file, "the file of the truth")
    truth, _ = draw(observation)
    # One writer per set, so this is one unit of work; a worker does it, which also frees the client.
    with using(executor) as ex:
        (rows,) = run_units(ex, _work, [observation], str(target), label="simulate")
    return SimulationSummary(
        counts={
            "rows": rows,
            "integrations": len(truth.times),
            "antennas": nantennas,
            "scans": 2 * cycles + 2,
        },
        products=[str(target), *(str(file) for file in truth_files(target))],
        fields={
            entry.name: f"{sum(source.i for source in entry.sources):g} Jy in {len(entry.sources)}"
            for entry in observation.fields
        },
        sigma=[float(value) for value in truth.sigma],
    )


_NO_GAINS = {"gain_amplitude": 0.0, "gain_phase": 0.0, "drift_amplitude": 0.0, "drift_phase": 0.0}
_NO_BANDPASS = {"bandpass_amplitude": 0.0, "bandpass_phase": 0.0}


def _work(observation: Observation, target: str) -> int:
    truth = write(target, observation)
    baselines = (
        observation.nantennas * (observation.nantennas + (1 if observation.autocorrelations else -1)) // 2
    )
    return len(truth.times) * baselines * len(observation.windows)
