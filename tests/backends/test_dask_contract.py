"""A part of the contract on a Dask cluster of others, whose workers come and go meanwhile."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from inner_contract import run_contract

from parallactic.testing.engine import require, selected_backends

if "dask" not in selected_backends():
    pytest.skip("dask is not in the matrix of this run; see BACKENDS of make test", allow_module_level=True)

BY_HAND = Path(__file__).with_name("dask_by_hand.py")
PARTS = (
    "test_order.py",
    "test_state.py",
    "test_delivery.py",
    "test_liveness.py",
    "test_shutdown.py::TestShutdown::test_shutdown_by_sigkill_of_the_client_ends_workers",
)
"""The whole: python tests/backends/dask_by_hand.py -m pytest tests/contract"""


@pytest.mark.slow
def test_on_a_cluster_of_others(tmp_path: Path) -> None:
    """Dask workers must have left while the tests ran."""
    require("dask")
    said = run_contract(tmp_path, [sys.executable, str(BY_HAND)], PARTS, {}, more_than=45)
    left = re.search(r"^(\d+) Dask workers have left", said, flags=re.MULTILINE)
    assert left is not None, said[-1000:]
    assert int(left[1]) > 0
