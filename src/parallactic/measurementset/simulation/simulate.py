"""From an observation to a MeasurementSet on disk, with the truth beside it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parallactic.errors import ParallacticError
from parallactic.measurementset.create import Rows, create_ms
from parallactic.measurementset.metadata import Antenna, Field, SpectralWindow, State
from parallactic.measurementset.simulation.array import Layout
from parallactic.measurementset.simulation.observation import Observation
from parallactic.measurementset.simulation.observe import chunks, draw
from parallactic.measurementset.simulation.truth import Truth, truth_files
from parallactic.measurementset.staging import check_output
from parallactic.measurementset.tables import file_error

__all__ = ["simulate"]

log = logging.getLogger(__name__)


def simulate(path: str | os.PathLike[str], observation: Observation) -> Truth:
    """Write a MeasurementSet of a simulated `observation`, and its truth beside it.

    The rows lie in the order of time: every scan, in it every window, in it every integration and baseline.
    SIGMA is
    the noise that was added (1 where none was) and WEIGHT its inverse square. `Truth` says how the data
    follow from what was put in.

    Parameters
    ----------
    path
        The MeasurementSet to make; ``<path>.truth.json`` and ``<path>.truth.npz`` are made too. Must not
        exist.
    observation
        What to observe, from `standard_observation` or made by hand.

    Returns
    -------
    Truth
        As `Truth.load` reads it.

    Raises
    ------
    InvalidSpec
        If a product exists or cannot be written, or the observation cannot be made.
    ParallacticError
        If writing fails, for example because the disk is full; nothing is left behind.
    """
    target = check_output(path, "path")
    for file in truth_files(target):
        check_output(file, "the file of the truth")
    truth, layout = draw(observation)
    log.info("Simulating %d integrations of %d antennas.", len(truth.times), len(truth.antennas))
    try:
        truth.save(target)
        create_ms(
            target,
            antennas=_antennas(layout),
            fields=[
                Field.at(number, field.name, np.radians(field.ra), np.radians(field.dec))
                for number, field in enumerate(observation.fields)
            ],
            spws=[
                SpectralWindow.regular(
                    number, f"window{number}", window.frequency, window.width, window.nchan
                )
                for number, window in enumerate(observation.windows)
            ],
            states=[State(number, field.intent) for number, field in enumerate(observation.fields)],
            polarizations=[observation.correlations],
            rows=_rows(truth, layout),
            telescope=layout.telescope,
            observer="parallactic",
            project="simulation",
            history=[f"Simulated by parallactic, seed {observation.seed}; truth in {target.name}.truth.json"],
        )
    except BaseException as error:
        for file in truth_files(target):
            Path(file).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, ParallacticError):
            raise file_error(target, error) from error
        raise
    return truth


def _antennas(layout: Layout) -> list[Antenna]:
    return [
        Antenna(number, name, position, layout.diameter, station)
        for number, (name, station, position) in enumerate(
            zip(layout.names, layout.stations, layout.positions, strict=True)
        )
    ]


def _rows(truth: Truth, layout: Layout) -> Iterator[Rows]:
    observation = truth.observation
    for chunk in chunks(truth, layout):
        sigma = float(truth.sigma[chunk.spw]) or 1.0
        yield Rows(
            ddid=chunk.spw,
            time=chunk.time,
            antenna1=chunk.antenna1,
            antenna2=chunk.antenna2,
            uvw=chunk.uvw,
            data=chunk.data,
            interval=observation.integration,
            field=chunk.field,
            scan=chunk.scan,
            state=chunk.field,
            sigma=np.full((len(chunk.time), 4), sigma, dtype=np.float32),
        )
