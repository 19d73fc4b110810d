"""Ctrl-C and SIGTERM in the middle of a step: nobody left, nothing half-written, the right exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cli_helpers import environment

from parallactic.testing.waiting import undisturbed

SCRIPT = Path(__file__).with_name("slowtask.py")

Start = Callable[..., subprocess.Popen[str]]


def _wait_for(folder: Path, pattern: str, count: int) -> list[Path]:
    deadline = time.monotonic() + 30
    while len(found := sorted(folder.glob(pattern))) < count:
        assert time.monotonic() < deadline, f"only {found}"
        time.sleep(0.02)
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command in a session of its own; whatever a failed test leaves is killed."""
    processes = []

    def run(*words: str) -> subprocess.Popen[str]:
        processes.append(_start(tmp_path, *words))
        return processes[-1]

    yield run
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *words],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _nobody_left(pids: set[int], patience: float = 5.0) -> None:
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=patience)
    assert not alive, alive


@pytest.mark.parametrize("backend", ["multiprocessing", "serial"])
@pytest.mark.parametrize(
    ("number", "code", "to_group"),
    [(signal.SIGINT, 130, False), (signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)],
    ids=["Ctrl-C to the client", "Ctrl-C to the group, as a terminal does", "SIGTERM"],
)
def test_interrupted_in_mid_step(
    tmp_path: Path, start: Start, backend: str, number: signal.Signals, code: int, to_group: bool
) -> None:

    def attempt(count: int) -> bool:
        folder = tmp_path / str(count)
        folder.mkdir()
        process = start("slow", f"{count}/out", "--backend", backend, "--workers", "2")
        busy = _wait_for(folder, "busy-*", 2 if backend == "multiprocessing" else 1)
        below = psutil.Process(process.pid).children(recursive=True)
        family = {child.pid for child in below} | {process.pid}
        assert {int(path.name.split("-")[2]) for path in busy} <= family
        begin = time.monotonic()
        if to_group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=30)
        seconds = time.monotonic() - begin
        assert process.returncode == code, err
        assert out == ""
        assert "Traceback" not in err
        assert ("interrupted;" in err) == (number == signal.SIGINT)
        assert ("terminated;" in err) == (number == signal.SIGTERM)
        _nobody_left(family)
        assert not (folder / "out").exists()
        assert not list(folder.glob("rested-*"))
        # Workers are stopped by force; a second or two is theirs to go.
        return seconds < 5

    undisturbed(attempt, "the command ends within 5 s")


def test_a_running_writer_may_finish(tmp_path: Path, start: Start) -> None:
    process = start("slow", "out", "--writes", "--units", "6", "--workers", "2")
    _wait_for(tmp_path, "busy-*", 2)
    family = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = ""
    while line := process.stderr.readline():
        said += line
        if "letting 2 writing task(s) finish" in line:
            break
    (tmp_path / "enough").touch()
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 130, said + rest
    assert "letting 2 writing task(s) finish" in said, said + rest
    assert sorted(path.name for path in tmp_path.glob("rested-*")) == ["rested-0", "rested-1"]
    assert not (tmp_path / "out").exists()
    _nobody_left(family)


def test_an_interrupted_recipe_is_recorded(tmp_path: Path, start: Start) -> None:
    (tmp_path / "r.toml").write_text('[[step]]\ntask = "slow"\noutputvis = "out"\n')
    process = start("run", "r.toml", "--workers", "2")
    _wait_for(tmp_path, "busy-*", 2)
    family = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    _nobody_left(family)
    events = [json.loads(line) for line in (tmp_path / "r-output/logs/steps.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "interrupted"]
