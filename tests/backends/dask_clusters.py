"""What the tests of Dask's clusters share: waiting, functions for tasks, and a client to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

import parallactic as plx

PATIENCE = 60.0


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in {seconds:g} s: {what}"
        time.sleep(0.05)


def states(executor: plx.Executor) -> list[str]:
    return [worker.state for worker in executor.status().workers]


def up(executor: plx.Executor) -> int:
    return sum(state in ("idle", "busy") for state in states(executor))


def job_of() -> str:
    """Return the number of the SLURM job beside whose Dask worker this runs."""
    dask_worker = psutil.Process().parent().parent()  # type: ignore[union-attr]
    return dask_worker.environ()["SLURM_JOB_ID"]  # type: ignore[union-attr]


def host_of() -> int:
    """Return the number of the Dask worker's process beside which this runs."""
    return psutil.Process().parent().parent().pid  # type: ignore[union-attr]


def announce_and_wait(started: str) -> None:
    with Path(started).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)


def remember(value: object) -> None:
    plx.namespace()["remembered"] = value


def remembered() -> object:
    return plx.namespace().get("remembered")


CLIENT = """\
import sys, time
import parallactic as plx
executor = plx.Executor("dask", workers=2, **eval(sys.argv[1]))
print(executor.target("all").submit(pow, 2, 5).result(60), flush=True)
time.sleep(600)
"""


def killed_client(settings: dict[str, object]) -> None:
    """Start a client in a process of its own, wait until its workers are up, and kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, repr(settings)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline().strip() == "[32, 32]"
        client.kill()
