"""What the tests of the command share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

SMALL = ("--nantennas", "5", "--nchan", "8", "--cycles", "1", "--calibrator_integrations", "2")
"""A simulation that takes a moment."""


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without settings of Parallactic, whatever this machine has."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PARALLACTIC_")}
    clean |= {"XDG_CONFIG_HOME": str(folder / "no-config"), "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    return {**clean, **(more or {})}


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error of a command: one line on stderr, nothing on stdout, no traceback."""
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "pydantic" not in done.stderr
    assert "\x1b" not in done.stderr, "colours are for terminals"
    return lines[0].removeprefix("error: ")
