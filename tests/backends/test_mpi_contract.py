"""A part of the contract on MPI in a job of mpiexec, and with MPICH; the rest of the suite spawns servers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from inner_contract import run_contract
from test_mpi_job import ENVIRONMENT, MPIEXEC

from parallactic.testing.engine import require
from parallactic.testing.scripts import LAUNCHER
from surroundings import mpich_environment

PARTS = (
    "test_order.py",
    "test_state.py",
    "test_delivery.py",
    "test_shutdown.py::TestShutdown::test_shutdown_by_ctrl_c_is_quick",
)
KILLED = "test_shutdown.py::TestShutdown::test_shutdown_by_sigkill_of_the_client_ends_workers"
"""For MPICH, whose capability it asks. Under Open MPI it counts all shared memory of the host, which other
jobs of these tests use at the same time; the contract suite has it for servers that are spawned."""

VARIABLES = ENVIRONMENT | {"PARALLACTIC_TEST_BACKENDS": "mpi"}
JOB = (MPIEXEC, "--oversubscribe", "--with-ft", "ulfm", "-n", "3")


@pytest.fixture(autouse=True)
def _mpi() -> None:
    require("mpi")


@pytest.mark.slow
def test_under_mpiexec(tmp_path: Path) -> None:
    """The tests are the script of the job, and each client of their own is a job too."""
    command = [*JOB, sys.executable, "-m", "parallactic.mpi"]
    run_contract(tmp_path, command, PARTS, VARIABLES | {LAUNCHER: " ".join(JOB)}, more_than=40)


@pytest.mark.slow
def test_with_mpich(tmp_path: Path) -> None:
    """What MPICH does not do is declared by its capabilities, and the tests ask these."""
    python = mpich_environment(tmp_path / "mpich") / "bin" / "python"
    run_contract(tmp_path, [str(python)], (*PARTS, KILLED), VARIABLES, more_than=40)
