"""One executor for all tests of tasks, and simulated calibrators, each made once; to be read only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from calibrators import Calibrator, flag_some, simulated

from parallactic import Executor
from parallactic.measurementset.simulation import Effects


@pytest.fixture(scope="session")
def serial() -> Iterator[Executor]:
    """An executor that runs in this process."""
    with Executor(backend="serial", workers=1) as ex:
        yield ex


@pytest.fixture(scope="session")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Calibrator:
    """Gains, bandpasses and delays that do not change; no leakage, which G and B do not describe."""
    effects = Effects(drift_amplitude=0.0, drift_phase=0.0, leakage=0.0)
    return simulated(tmp_path_factory.mktemp("steady"), "steady.ms", effects=effects)


@pytest.fixture(scope="session")
def drifting(tmp_path_factory: pytest.TempPathFactory) -> Calibrator:
    """Gains that drift, no bandpass and no delay, no leakage."""
    effects = Effects(bandpass_amplitude=0.0, bandpass_phase=0.0, delay=0.0, leakage=0.0)
    return simulated(tmp_path_factory.mktemp("drifting"), "drifting.ms", effects=effects)


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Calibrator:
    """All effects and strong interference, some of it flagged in one correlation or another."""
    built = simulated(tmp_path_factory.mktemp("everything"), "everything.ms", rfi="strong")
    flag_some(built.path)
    return built


@pytest.fixture(scope="session")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> Calibrator:
    """All effects but interference, with flags of all kinds."""
    built = simulated(tmp_path_factory.mktemp("flagged"), "flagged.ms")
    flag_some(built.path)
    return built
