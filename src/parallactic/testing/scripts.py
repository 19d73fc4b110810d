"""Clients that run as programs of their own, and what is left of them when they end."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from parallactic.testing.engine import Engine
from parallactic.testing.waiting import settles, until
from parallactic.worker.ranks import without_launcher

__all__ = ["LAUNCHER", "Client", "running"]

LAUNCHER = "PARALLACTIC_TEST_LAUNCHER"
"""Variable with a command that starts clients, such as ``mpiexec -n 3``; without it they start alone."""

_PREAMBLE = """\
import faulthandler, os, sys
faulthandler.dump_traceback_later({limit}, exit=True)
from parallactic.testing import tasks
import parallactic as plx
with open({pid_file!r}, "w") as file:
    file.write(str(os.getpid()))
def open_executor(**options):
    return plx.Executor({backend!r}, **({settings!r} | options))
"""


class Client:
    """A script that uses an executor, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], mark: str, folder: Path, pid_file: Path) -> None:
        self.process = process
        self.folder = folder
        self._mark = mark
        self._pid_file = pid_file

    @property
    def launched(self) -> bool:
        """Whether a launcher has started the script, and tells an exit code of its own."""
        return self.pid not in (0, self.process.pid)

    @property
    def pid(self) -> int:
        """The process that runs the script; not that of a launcher."""
        return int(self._pid_file.read_text() or 0) if self._pid_file.exists() else 0

    @property
    def helpers(self) -> list[psutil.Process]:
        """Every living process that the client started, direct or not, orphans included.

        They are known by a variable of their environment.
        """
        found = []
        own = (self.process.pid, self.pid)
        for process in psutil.process_iter():
            try:
                if process.pid not in own and process.environ().get("PLX_CLIENT") == self._mark:
                    found.append(process)
            except psutil.Error:
                continue  # not ours to look into, or gone meanwhile
        return [process for process in found if _lives(process)]

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        with suppress(ProcessLookupError):
            os.kill(self.pid or self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill the process that runs the script, without a word."""
        os.kill(self.pid or self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float) -> tuple[int, str, str]:
        """Wait for the end; return exit code and output. Nothing that it started lives on then."""
        out, err = self.process.communicate(timeout=seconds)
        until(lambda: not self.helpers, 5.0, f"all processes of the client are gone: {self.helpers}")
        return self.process.returncode, out, err


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(engine: Engine, code: str, *arguments: str, how: str = "file") -> Iterator[Client]:
    """Run a script in which ``open_executor(**options)`` opens the engine.

    Parameters
    ----------
    engine
        The backend under test.
    code
        The script, without a main guard.
    *arguments
        What it finds in ``sys.argv[1:]``.
    how
        "file", "stdin" or "command" (``python -c``): how Python is given the script.
    """
    settings = {"workers": engine.workers} | dict(engine.settings)
    launcher = shlex.split(os.environ.get(LAUNCHER, ""))
    if launcher and how == "stdin":
        pytest.skip(f"{launcher[0]} gives standard input to one of the processes it starts")
    with tempfile.TemporaryDirectory(prefix="plx-") as name:
        folder = Path(name)
        mark = folder.name
        temporary = folder / "tmp"
        temporary.mkdir()
        script = folder / "script.py"
        pid_file = folder / "pid"
        code = (
            _PREAMBLE.format(limit=60, backend=engine.name, settings=settings, pid_file=str(pid_file)) + code
        )
        script.write_text(code)
        command = [*launcher, sys.executable]
        command += {"file": [str(script)], "stdin": ["-"], "command": ["-c", code]}[how]
        with script.open() as source:
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=source if how == "stdin" else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=without_launcher(os.environ)
                | {"PLX_CLIENT": mark, "TMPDIR": str(temporary)}
                | ({"PARALLACTIC_BACKEND": engine.name} if launcher else {}),
                cwd=folder,
                # When a client is killed, the launcher of MPICH kills its process group: not this one.
                start_new_session=True,
            )
        client = Client(process, mark, temporary, pid_file)
        try:
            yield client
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
            settles(lambda: not client.helpers, 5.0)
            for helper in client.helpers:
                helper.kill()
