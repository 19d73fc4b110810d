"""A part of the contract on pilots of a real SLURM."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slurm_lab import SlurmLab

CONTRACT = Path(__file__).parents[1] / "contract"
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
    """No test may fail or be skipped."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PARALLACTIC_", "PYTEST_"))
    }
    own = {
        "PARALLACTIC_TEST_BACKENDS": "slurm",
        "PARALLACTIC_SLURM__TIME": "30min",
        "PARALLACTIC_SLURM__FOLDER": str(tmp_path / "shared"),
        "NO_COLOR": "1",
    }
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tmp_path}/tests"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *(str(CONTRACT / part) for part in PARTS)],
        cwd=CONTRACT.parents[1],
        env=clean | own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"^(\d+) passed in ", done.stdout, flags=re.MULTILINE)
    assert passed is not None, done.stdout[-1000:]
    assert int(passed[1]) > 40
    assert slurm_lab.jobs() == {}
