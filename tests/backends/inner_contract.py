"""A run of the contract suite within a test: in other surroundings than those of the tests themselves."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from parallactic.worker.ranks import without_launcher

__all__ = ["run_contract"]

CONTRACT = Path(__file__).parents[1] / "contract"


def run_contract(
    folder: Path, python: Sequence[str], parts: Sequence[str], variables: Mapping[str, str], *, more_than: int
) -> str:
    """Run parts of the suite, of which none may fail or be skipped; return its standard error."""
    clean = {
        name: value
        for name, value in without_launcher(os.environ).items()
        if not name.startswith(("PARALLACTIC_", "PYTEST_", "RASCIL_"))
    }
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}/tests"]
    done = subprocess.run(
        [*python, "-m", "pytest", *words, *(str(CONTRACT / part) for part in parts)],
        cwd=CONTRACT.parents[1],
        env=clean | {"NO_COLOR": "1"} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=270,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"^(\d+) passed in ", done.stdout, flags=re.MULTILINE)
    assert passed is not None, done.stdout[-1000:]
    assert int(passed[1]) > more_than
    return done.stderr
