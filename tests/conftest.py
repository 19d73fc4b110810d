"""Fixtures that all tests share."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from parallactic.measurementset.simulation import Truth, simulate, standard_observation


@dataclass(frozen=True)
class Simulated:
    """A simulated MeasurementSet and what was put into it."""

    path: Path
    truth: Truth


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """A small simulated observation, to be read only: `simulated_copy` is for tests that write.

    10 antennas, 2 spws of 32 channels of 1 MHz at 1.4 GHz, RR RL LR LL, 6 scans (flux calibrator, phase
    calibrator, target, phase calibrator, target, phase calibrator) of 6 to 12 integrations of 10 s, 4,860
    rows, all effects, mixed interference.
    """
    path = tmp_path_factory.mktemp("simulated") / "simulated.ms"
    return Simulated(path, simulate(path, standard_observation()))


@pytest.fixture
def simulated_copy(simulated: Simulated, tmp_path: Path) -> Simulated:
    """A private copy of `simulated`, to write to."""
    path = tmp_path / simulated.path.name
    shutil.copytree(simulated.path, path)
    return Simulated(path, simulated.truth)
