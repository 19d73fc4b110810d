"""A Dask cluster as a person starts it, whose workers come and go while something runs on it.

As a program it gives such a cluster to the tests, which find it by the variable of the backend's setting::

    python tests/backends/dask_by_hand.py -m pytest tests/contract
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

__all__ = ["ByHand", "Comings", "until"]

PATIENCE = 30.0
STAY = 4
"""Dask workers that there are at least: each is a place for every executor that is open."""


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not in {PATIENCE:g} s: {what}"
        time.sleep(0.02)


class ByHand:
    """A scheduler and workers as a person starts them, without encryption, on this host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file))
        until(self.file.exists, "the scheduler has written its file")

    def _start(self, command: str, *words: str) -> subprocess.Popen[bytes]:
        with self._log(len(self.processes)).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", command, *words, "--no-dashboard"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self.processes.append(process)
        return process

    def _log(self, number: int) -> Path:
        return self._folder / f"process-{number}.log"

    def worker(self, threads: int = 1) -> subprocess.Popen[bytes]:
        scratch = str(self._folder / "scratch")
        return self._start(
            "worker", "--scheduler-file", str(self.file), "--nthreads", str(threads), "--no-nanny",
            "--host", "127.0.0.1", "--local-directory", scratch,
        )  # fmt: skip

    def workers(self) -> list[subprocess.Popen[bytes]]:
        """Return the Dask workers that have registered and live, the oldest first."""
        return [
            process
            for number, process in enumerate(self.processes)
            if number and process.poll() is None and "Registered to:" in self._log(number).read_text()
        ]

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


class Comings(threading.Thread):
    """Every few seconds lets a Dask worker join, and another leave, by SIGKILL, without a word.

    Who leaves has no worker of ours beside it at that moment: else a test that counts epochs would be wrong.

    Parameters
    ----------
    cluster
        The cluster, to which this brings its first workers as well.
    every
        Seconds between two.
    """

    def __init__(self, cluster: ByHand, every: float) -> None:
        super().__init__(name="comings", daemon=True)
        self._cluster = cluster
        self._every = every
        self._over = threading.Event()
        self.left = 0
        for _ in range(STAY):
            cluster.worker()
        until(lambda: len(cluster.workers()) == STAY, "the first workers are there")

    def run(self) -> None:
        while not self._over.wait(self._every):
            there = self._cluster.workers()
            if len(there) > STAY:
                self.left += any(map(let_go_if_idle, there))
            else:
                self._cluster.worker()

    def end(self) -> None:
        self._over.set()
        self.join()


def let_go_if_idle(worker: subprocess.Popen[bytes]) -> bool:
    """Kill a Dask worker, unless a supervisor is its child; stopped, it cannot get one meanwhile."""
    process = psutil.Process(worker.pid)
    process.suspend()
    until(lambda: process.status() == psutil.STATUS_STOPPED, "a Dask worker is stopped")
    if process.children():
        process.resume()
        return False
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    return True


def main() -> int:
    """Run ``python ARGUMENTS`` on such a cluster; return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="plx-by-hand-") as folder:
        cluster = ByHand(Path(folder))
        try:
            comings = Comings(cluster, 3.0)
            comings.start()
            own = {"PARALLACTIC_TEST_BACKENDS": "dask", "PARALLACTIC_DASK__SCHEDULER_FILE": str(cluster.file)}
            with subprocess.Popen([sys.executable, *sys.argv[1:]], env=os.environ | own) as process:
                try:
                    code = process.wait()
                finally:
                    process.kill()
            comings.end()
        finally:
            cluster.close()
    print(f"{comings.left} Dask workers have left meanwhile, and as many have joined", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
