"""A cluster of processes on this host."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from distributed.deploy.spec import ProcessInterface, SpecCluster

from parallactic.errors import BackendUnavailable
from parallactic.worker.supervisor import tail

__all__ = ["local_cluster"]

_START_SECONDS = 60.0
_STOP_SECONDS = 2.0
_CERTIFICATES = (
    "tls_ca_file",
    "tls_client_key",
    "tls_client_cert",
    "tls_scheduler_key",
    "tls_scheduler_cert",
    "tls_worker_key",
    "tls_worker_cert",
)


class _Process(ProcessInterface):  # type: ignore[misc]
    """One scheduler or worker in a process of its own."""

    role: str

    def __init__(
        self,
        scheduler: str | None = None,
        name: int = 0,
        *,
        folder: str,
        options: dict[str, Any],
        security: dict[str, Any],
    ) -> None:
        super().__init__(scheduler, name)
        self._scheduler_address = scheduler
        self._name = name
        self._folder = Path(folder)
        self._options = options
        self._security = security
        self._process: asyncio.subprocess.Process | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What Dask's class is made with."""
        return self._options

    async def start(self) -> None:
        """Start the process and wait until it has an address."""
        label = f"{self.role}-{self._name}"
        orders = self._folder / f"{label}.json"
        log = self._folder / f"{label}.log"
        orders.touch(mode=0o600)
        orders.write_text(
            json.dumps(
                {
                    "role": self.role,
                    "options": self.options,
                    "security": self._security,
                    "config": {"temporary-directory": str(self._folder)},
                }
            )
        )
        log.touch(mode=0o600)
        with log.open("ab") as written:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "parallactic_backends.dask.process",
                str(os.getpid()),
                str(orders),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=written,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _START_SECONDS)
        except TimeoutError:
            line = b""
        if not line:
            await self._kill()
            raise BackendUnavailable(
                f"the Dask {self.role} of the local cluster did not start. It last wrote:\n{tail(str(log))}"
            )
        self.address = json.loads(line)["address"]
        await super().start()

    async def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
            except TimeoutError:
                await self._kill()
        await super().close()

    async def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class _Scheduler(_Process):
    role = "scheduler"


class _Worker(_Process):
    role = "worker"

    @property
    def options(self) -> dict[str, Any]:
        """What Dask's class is made with."""
        return self._options | {"scheduler_ip": self._scheduler_address, "name": self._name}


def local_cluster(
    folder: Path,
    workers: int,
    *,
    scheduler: dict[str, Any],
    worker: dict[str, Any],
    security: Any,
) -> SpecCluster:
    """Start a scheduler and workers on this host.

    Parameters
    ----------
    folder
        Where orders, logs and scratch files of the processes lie.
    workers
        How many workers.
    scheduler, worker
        Options of ``distributed.Scheduler`` and ``distributed.Worker``.
    security
        A ``distributed.security.Security``, whose certificates the processes read from a private file.

    Raises
    ------
    BackendUnavailable
        If a process does not start; its last words are quoted.
    """
    certificates = {name: getattr(security, name) for name in _CERTIFICATES}
    secret = certificates | {"require_encryption": True} if security.tls_ca_file else {}
    common = {"folder": str(folder), "security": secret}
    template = {"cls": _Worker, "options": {**common, "options": worker}}
    return SpecCluster(
        workers=dict.fromkeys(range(workers), template),
        scheduler={"cls": _Scheduler, "options": {**common, "options": scheduler}},
        worker=template,
        security=security,
        silence_logs=False,
    )
