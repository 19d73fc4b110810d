"""The examples for CASA run, and do what they say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from scipy.signal import medfilt

from parallactic.measurementset import MeasurementSet
from parallactic.testing.engine import require, selected_backends

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "casa"


@pytest.fixture(params=selected_backends())
def backend(request) -> str:
    require(request.param)
    return request.param


def run(name: str, folder: Path, backend: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env={**os.environ, "PARALLACTIC_BACKEND": backend, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_commands(backend, tmp_path):
    said = run("commands.py", tmp_path, backend)
    numbers = [line.partition(":")[0] for line in said.splitlines()]
    assert numbers[:12] == [str(number) for number in range(1, 13)]
    assert "3: 1+1 on ['server 1', 'server 2']" in said
    assert "ZeroDivisionError: division by zero" in said


@pytest.mark.casa
def test_tasks(casa, backend, simulated_copy, tmp_path):
    rows = MeasurementSet(simulated_copy.path).index.row.size
    before = casa.flagdata(vis=str(simulated_copy.path), mode="summary")
    said = run("tasks.py", tmp_path, backend, str(simulated_copy.path))
    assert f"{before['flagged']:.0f} of {before['total']:.0f} are flagged" in said
    assert f"[{rows}, {rows}] rows" in said
    assert casa.flagdata(vis=str(simulated_copy.path), mode="summary")["flagged"] > before["flagged"]


@pytest.mark.casa
def test_two_observations(casa, backend, simulated, tmp_path):
    paths = [tmp_path / "first.ms", tmp_path / "second.ms"]
    for path in paths:
        shutil.copytree(simulated.path, path)
    with table(str(simulated.path), ack=False) as untouched:
        data = untouched.getcell("DATA", 1)
    run("two_observations.py", tmp_path, backend, *map(str, paths))
    assert {"first.cal", "second.cal"} <= {path.name for path in tmp_path.iterdir()}
    expected = medfilt(data.real, (3, 1)) + 1j * medfilt(data.imag, (3, 1))
    assert np.abs(expected - data).max() > 0
    for path in paths:
        with table(str(path), ack=False) as changed:
            # Only rounded to the single precision of the column, as the data were.
            np.testing.assert_allclose(changed.getcell("DATA", 1), expected, rtol=1e-6)
