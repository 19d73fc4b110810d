"""The command, run as a person runs it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without settings of Parallactic, whatever this machine has."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PARALLACTIC_")}
    clean |= {"XDG_CONFIG_HOME": str(folder / "no-config"), "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    return {**clean, **(more or {})}


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """``command("flag", "obs.ms")`` runs ``parallactic flag obs.ms`` in an empty folder."""

    def run(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "parallactic", *map(str, words)],
            cwd=tmp_path,
            env=environment(tmp_path, env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error of a command: one line on stderr, nothing on stdout, no traceback."""
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "pydantic" not in done.stderr
    assert "\x1b" not in done.stderr, "colours are for terminals"
    return lines[0].removeprefix("error: ")
