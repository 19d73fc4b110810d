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
