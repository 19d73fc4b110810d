"""The client's side of the process that forks the scheduler and the workers of a local cluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from parallactic.errors import BackendUnavailable
from parallactic.worker.supervisor import tail

__all__ = ["Nursery"]

_START_SECONDS = 60.0
_STOP_SECONDS = 2.0


class Nursery:
    """Starts processes, and ends them. All but the constructor belongs to one event loop.

    Parameters
    ----------
    folder
        Where the processes write their logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "nursery.log"
        self._log.touch(mode=0o600)
        with self._log.open("ab") as written:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "parallactic_backends.dask.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                start_new_session=True,
            )
        self.closed = False
        self._rest = b""
        self._reads = False
        self._addresses: dict[str, asyncio.Future[str]] = {}
        self._ends: dict[str, asyncio.Future[None]] = {}

    def prepare(self, common: dict[str, Any]) -> None:
        """Tell what all orders to start have in common."""
        self._tell(common)

    async def start(self, label: str, order: dict[str, Any]) -> str:
        """Start a process and return its address.

        Raises
        ------
        BackendUnavailable
            If it does not start; its last words are quoted.
        """
        self._listen()
        loop = asyncio.get_running_loop()
        self._addresses[label], self._ends[label] = loop.create_future(), loop.create_future()
        log = self._folder / f"{label}.log"
        self._tell(order | {"label": label, "log": str(log)})
        started = self._addresses[label]
        either: list[asyncio.Future[Any]] = [started, self._ends[label]]
        await asyncio.wait(either, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            await self.end(label)
            raise BackendUnavailable(
                f"{label} of the local Dask cluster did not start. It last wrote:\n"
                f"{tail(str(log)) or tail(str(self._log))}"
            )
        return started.result()

    async def end(self, label: str) -> None:
        """End a process."""
        ended = self._ends.get(label)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if ended is None or ended.done():
                return
            self._tell({"label": label, "signal": int(number)})
            await asyncio.wait([ended], timeout=_STOP_SECONDS)

    def _tell(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._all_ended()

    def _listen(self) -> None:
        if not self._reads:
            self._reads = True
            assert self._process.stdout is not None
            asyncio.get_running_loop().add_reader(self._process.stdout.fileno(), self._heard)

    def _heard(self) -> None:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        heard = os.read(fd, 1 << 16)
        if not heard:
            asyncio.get_running_loop().remove_reader(fd)
            self._all_ended()
            return
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for line in lines:
            report = json.loads(line)
            label = report["label"]
            if "address" in report:
                _resolve(self._addresses[label], report["address"])
            else:
                _resolve(self._ends[label], None)

    def _all_ended(self) -> None:
        for ended in self._ends.values():
            _resolve(ended, None)

    def close(self) -> None:
        """End the nursery, and with it all that it has forked."""
        if self.closed:
            return
        self.closed = True
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        if self._reads:
            asyncio.get_running_loop().remove_reader(stdout.fileno())
        self._process.kill()
        self._process.wait()
        stdin.close()
        stdout.close()


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
