"""A part of the contract on a Dask cluster of others, whose workers come and go meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parallactic.testing.engine import require, selected_backends

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

BY_HAND = Path(__file__).with_name("dask_by_hand.py")
CONTRACT = Path(__file__).parents[1] / "contract"
PARTS = (
    "test_order.py",
    "test_state.py",
    "test_delivery.py",
    "test_liveness.py",
    "test_data.py",
    "test_shutdown.py::TestShutdown::test_shutdown_by_sigkill_of_the_client_ends_workers",
)
"""The whole: python tests/backends/dask_by_hand.py -m pytest tests/contract"""


@pytest.mark.slow
def test_on_a_cluster_of_others(tmp_path: Path) -> None:
    """No test may fail or be skipped, and Dask workers must have left while they ran."""
    require("dask")
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PARALLACTIC_", "PYTEST_", "RASCIL_"))
    }
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tmp_path}/tests"]
    done = subprocess.run(
        [sys.executable, str(BY_HAND), "-m", "pytest", *words, *(str(CONTRACT / part) for part in PARTS)],
        cwd=CONTRACT.parents[1],
        env=clean | {"NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"^(\d+) passed in ", done.stdout, flags=re.MULTILINE)
    assert passed is not None, done.stdout[-1000:]
    assert int(passed[1]) > 60
    left = re.search(r"^(\d+) Dask workers have left", done.stderr, flags=re.MULTILINE)
    assert left is not None, done.stderr[-1000:]
    assert int(left[1]) > 0
