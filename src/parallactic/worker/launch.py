"""How a supervisor is started on this host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import parallactic
from parallactic.worker.ranks import without_launcher

__all__ = ["start_supervisor"]


def start_supervisor(
    address: str, key_file: str, worker: int, epoch: int, log: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the supervisor of a worker, as a child of this process in a session of its own.

    Parameters
    ----------
    address
        Path of the socket that it and its worker connect to.
    key_file
        Where it reads the run's key; empty for a run without authentication.
    worker, epoch
        Whose supervisor it is.
    log
        File to which all that the processes print is appended.
    environment
        Its variables, of which those of an MPI launcher are left out; the folder of this library is put in
        front of ``PYTHONPATH``.
    """
    variables = without_launcher(environment)
    home = str(Path(parallactic.__file__).parents[1])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [home, variables.get("PYTHONPATH")]))
    # -P: a file of the current folder must not stand in for a module of the library.
    command = [sys.executable, "-P", "-m", "parallactic.worker", address, key_file]
    with open(log, "ab", opener=_private) as output:
        return subprocess.Popen(
            [*command, str(worker), str(epoch), log],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=variables,
            start_new_session=True,  # Ctrl-C is the client's to handle
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
