"""The examples run, as a person would run them, on every backend of the matrix."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parallactic.testing.engine import selected_backends

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path.name != "mean_amplitude.py")


@pytest.mark.parametrize("backend", selected_backends())
@pytest.mark.parametrize("script", SCRIPTS)
def test_example_runs(script: str, backend: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PARALLACTIC_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_page_on_tasks_shows_the_example() -> None:
    page = (ROOT / "docs" / "writing-a-task.md").read_text(encoding="utf-8")
    shown = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    _, _, code = (ROOT / "examples" / "mean_amplitude.py").read_text(encoding="utf-8").partition("\n\n")
    assert shown[1] == code


@pytest.mark.parametrize("backend", selected_backends())
def test_task_of_ones_own(backend: str, simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from parallactic.measurementset import MeasurementSet

    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from mean_amplitude import meanamplitude

    ms = MeasurementSet(simulated.path)
    result = meanamplitude(str(simulated.path), executor=backend)
    assert sorted(result.mean) == sorted(set(ms.index.scan.tolist()))
    for scan, mean in result.mean.items():
        rows = np.flatnonzero(ms.index.scan == scan)
        good = ~ms.read(rows, "FLAG")
        expected = np.abs(ms.read(rows, "DATA"))[good].mean(dtype=np.float64)
        # Both sum 32-bit amplitudes in 64 bits, in different groupings: rounding alone.
        assert mean == pytest.approx(expected, rel=1e-12)
