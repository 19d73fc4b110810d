"""Fixtures that all tests share."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from known_sets import Plan, make
from parallactic.errors import ParallacticError
from parallactic.measurementset import MeasurementSet
from parallactic.measurementset.simulation import Truth, simulate, standard_observation
from parallactic.pipeline.datasets import fetch_evla
from slurm_lab import SlurmLab, missing_daemons

_CASA_CONFIG = """\
import os, casacore
measurespath = os.path.join(os.path.dirname(casacore.__file__), "data")
datapath = [measurespath]
measures_auto_update = data_auto_update = False
nologfile = nogui = nologger = agg = True
casaconfig_verbose = 0
"""


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands under test: a shell that starts the tests in the background ignores it
    for all."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _absent(what: str, error: Exception) -> None:
    """Skip aloud at a desk; fail where everything must be there."""
    message = f"{what} is not available: {error}"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def casa(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """CASA's tasks, the module `casatasks`, set up offline; `casatools` may be imported after it.

    Its log lies in a temporary folder. Without the [casa] extra the tests that ask for it are skipped, and
    fail under CI=true.
    """
    folder = tmp_path_factory.mktemp("casa")
    config = folder / "casasiteconfig.py"
    config.write_text(_CASA_CONFIG)
    os.environ["CASASITECONFIG"] = str(config)
    here = Path.cwd()
    os.chdir(folder)  # casatasks opens its log in the working folder when it is imported
    try:
        tasks = importlib.import_module("casatasks")
    except ImportError as error:
        _absent("CASA (pip install 'parallactic[casa]')", error)
    finally:
        os.chdir(here)
    tasks.casalog.setlogfile(str(folder / "casa.log"))
    return tasks


@pytest.fixture(scope="session")
def evla_original() -> Path:
    """The real EVLA MeasurementSet in the cache, to be read only: `evla` is for tests that write."""
    own = Path(__file__).parent.parent / ".cache" / "parallactic"
    try:
        return fetch_evla(own if "PARALLACTIC_CACHE" not in os.environ else None)
    except ParallacticError as error:
        _absent("the EVLA set", error)
        raise


@pytest.fixture
def evla(evla_original: Path, tmp_path: Path) -> Path:
    """A private copy of the real EVLA MeasurementSet."""
    path = tmp_path / "evla.ms"
    shutil.copytree(evla_original, path)
    return path


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> MeasurementSet:
    """A small set whose every visibility tells its place (`known_sets.visibility`), to be read only.

    6 antennas, 2 spws of 16 and 8 channels, RR RL LR LL, 4 scans of 5 integrations on 3 fields, some flags,
    WEIGHT_SPECTRUM and MODEL_DATA.
    """
    plan = Plan(columns=("WEIGHT_SPECTRUM", "MODEL_DATA"))
    return make(tmp_path_factory.mktemp("known") / "known.ms", plan)


@pytest.fixture(scope="module")
def slurm_lab() -> Iterator[SlurmLab]:
    """A real SLURM of 4 nodes with 4 CPUs each, for the tests of one file.

    Without Debian's packages the tests that ask for it are skipped, and fail under CI=true.
    """
    if missing := missing_daemons():
        _absent("SLURM", RuntimeError(missing))
    with SlurmLab() as lab, pytest.MonkeyPatch.context() as patch:
        for name, value in lab.environment.items():
            patch.setenv(name, value)
        yield lab


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test if it leaves a child process, a temporary file, or a product built half.

    The test gets a temporary folder of its own. Put it first among a test's fixtures: processes that were
    there before it are not held against the test.
    """
    children = _children()
    # Not below tmp_path, whose length leaves no room for the name of a socket.
    temporary = Path(tempfile.mkdtemp(prefix="plx-"))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    try:
        partial = [str(path) for path in tmp_path.rglob("*.partial-*")]
        assert not partial, f"left half-built: {partial}"
        _, alive = psutil.wait_procs(list(_children() - children), timeout=5)
        assert not alive, f"left running: {alive}"
        fresh = sorted(str(path) for path in temporary.rglob("*"))
        assert not fresh, f"left among the temporary files: {fresh}"
    finally:
        shutil.rmtree(temporary)


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


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
