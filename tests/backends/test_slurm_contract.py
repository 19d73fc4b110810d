"""A part of the contract on pilots of a real SLURM."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from inner_contract import run_contract

from slurm_lab import SlurmLab

PARTS = (
    "test_order.py",
    "test_state.py",
    "test_delivery.py",
    "test_shutdown.py::TestShutdown::test_shutdown_by_sigkill_of_the_client_ends_workers",
)
"""The whole, with PARALLACTIC_SLURM__TIME=30min and PARALLACTIC_TEST_BACKENDS=slurm in the environment:
python tests/slurm_lab.py --cpus 8 -- python -m pytest tests/contract"""


@pytest.mark.slow
def test_on_pilots(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    """No test may fail or be skipped, and no job be left."""
    variables = {
        "PARALLACTIC_TEST_BACKENDS": "slurm",
        "PARALLACTIC_SLURM__TIME": "30min",
        "PARALLACTIC_SLURM__FOLDER": str(tmp_path / "shared"),
    }
    run_contract(tmp_path, [sys.executable], PARTS, variables, more_than=40)
    assert slurm_lab.jobs() == {}
