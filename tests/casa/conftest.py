"""Servers on every backend of the matrix, and scripts that run beside the tests in a process of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parallactic.casa import MPICommandClient
from parallactic.casa.session import Settings, open_session
from parallactic.testing.engine import selected_backends

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", params=selected_backends())
def client(request: pytest.FixtureRequest) -> Iterator[MPICommandClient]:
    """The client of three servers without CASA."""
    session = open_session(Settings(backend=request.param, workers=3, tasks=False))
    client = MPICommandClient(start_services=True)
    yield client
    session.close()


@pytest.fixture
def run_script(tmp_path: Path) -> Run:
    """Run Python code, or a command, in a folder of its own: what it imports leaves this process alone."""

    def run(code: str, *arguments: str, timeout: float = 120, **environment: str) -> Run:
        script = tmp_path / "script.py"
        script.write_text(code)
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
