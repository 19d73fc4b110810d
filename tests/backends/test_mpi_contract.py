"""A part of the contract on MPI in a job of mpiexec, and with MPICH; the rest of the suite spawns servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_mpi_job import ENVIRONMENT, MPIEXEC

from parallactic.testing.engine import require
from parallactic.testing.scripts import LAUNCHER
from parallactic.worker.ranks import without_launcher
from surroundings import mpich_environment

CONTRACT = Path(__file__).parents[1] / "contract"
PARTS = (
    "test_order.py",
    "test_state.py",
    "test_delivery.py",
    "test_shutdown.py::TestShutdown::test_shutdown_by_ctrl_c_is_quick",
)
KILLED = "test_shutdown.py::TestShutdown::test_shutdown_by_sigkill_of_the_client_ends_workers"
"""For MPICH, whose capability it asks. Under Open MPI it counts all shared memory of the host, which other
jobs of these tests use at the same time; the contract suite has it for servers that are spawned."""

JOB = (MPIEXEC, "--oversubscribe", "--with-ft", "ulfm", "-n", "3")


@pytest.fixture(autouse=True)
def _mpi() -> None:
    require("mpi")


def run_contract(folder: Path, *python: str, parts: tuple[str, ...] = PARTS, **own: str) -> None:
    """Run these parts; none may fail, and none be skipped."""
    clean = {
        name: value
        for name, value in without_launcher(os.environ).items()
        if not name.startswith(("PARALLACTIC_", "PYTEST_"))
    }
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}/tests"]
    done = subprocess.run(
        [*python, "-m", "pytest", *words, *(str(CONTRACT / part) for part in parts)],
        cwd=CONTRACT.parents[1],
        env=clean | ENVIRONMENT | {"PARALLACTIC_TEST_BACKENDS": "mpi", "NO_COLOR": "1"} | own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"^(\d+) passed in ", done.stdout, flags=re.MULTILINE)
    assert passed is not None, done.stdout[-1000:]
    assert int(passed[1]) > 40


@pytest.mark.slow
def test_under_mpiexec(tmp_path: Path) -> None:
    """The tests are the script of the job, and each client of their own is a job too."""
    command = [*JOB, sys.executable, "-m", "parallactic.mpi"]
    run_contract(tmp_path, *command, **{LAUNCHER: " ".join(JOB)})


@pytest.mark.slow
def test_with_mpich(tmp_path: Path) -> None:
    """What MPICH does not do is declared by its capabilities, and the tests ask these."""
    python = mpich_environment(tmp_path / "mpich") / "bin" / "python"
    run_contract(tmp_path, str(python), parts=(*PARTS, KILLED))
