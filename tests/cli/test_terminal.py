"""What a person sees at a terminal, and what a file gets: colours and progress bars are for people."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import environment

from parallactic.testing.waiting import undisturbed

SLOW = [sys.executable, str(Path(__file__).with_name("slowtask.py")), "slow", "out", "--units", "3"]
"""The command with a task of three units."""


def _at_a_terminal(folder: Path, *words: str) -> tuple[int, str]:
    """Run the command on a pseudo-terminal; return its exit code and all that it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment(folder, {"TERM": "xterm"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass  # the other side is closed: the process has ended
    finally:
        os.close(ours)
    return process.wait(), written.decode()


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_a_bar_for_what_takes_more_than_two_seconds(tmp_path: Path, backend: str) -> None:
    words = [*SLOW, "--backend", backend, "--workers", "1"]

    def seen(seconds: str) -> str:
        code, text = _at_a_terminal(tmp_path, *words, "--seconds", seconds)
        assert code == 0
        (tmp_path / "out").rmdir()
        return text

    undisturbed(lambda _: "nap" in (text := seen("1.1")) and "2/3" in text, "what is slow has a bar")
    undisturbed(lambda _: "/3" not in seen("0.1"), "what is quick needs no bar")


def test_no_bar_in_a_file(tmp_path: Path) -> None:
    words = [*SLOW, "--backend", "serial", "--seconds", "1"]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "parallactic", "flag", "nothing.ms"]
    code, seen = _at_a_terminal(tmp_path, *words)
    assert code == 2
    assert "\x1b[" in seen
    assert "there is no MeasurementSet" in seen
