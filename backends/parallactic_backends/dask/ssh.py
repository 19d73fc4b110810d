"""A cluster of Dask workers on hosts that are reached by ssh."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncssh
from distributed.deploy.spec import ProcessInterface

from parallactic.errors import BackendUnavailable
from parallactic_backends.dask.own import OwnCluster

__all__ = ["SshCluster", "SshWorker"]

_CONNECT_SECONDS = 20.0
_START_SECONDS = 60.0
_STOP_SECONDS = 2.0
_TAIL = 2000


class SshWorker(ProcessInterface):  # type: ignore[misc]
    """A Dask worker on another host. It ends with the connection, however that ends.

    Its orders, with the certificates, go through the connection: neither a file nor a command line has them.

    Parameters
    ----------
    scheduler
        Address of the scheduler.
    name
        Name of the Dask worker.
    host
        Where to start it.
    connect
        What ``asyncssh.connect`` is told besides.
    options, security
        What it is made with.
    python
        Python on that host.
    prologue
        Shell lines before it.
    """

    def __init__(
        self,
        scheduler: str | None = None,
        name: str = "",
        *,
        host: str,
        connect: dict[str, Any],
        options: dict[str, Any],
        security: dict[str, Any],
        python: str | None,
        prologue: Sequence[str],
    ) -> None:
        super().__init__(scheduler, name)
        self.host = host
        self._connect = {"connect_timeout": _CONNECT_SECONDS, "keepalive_interval": 10} | connect
        self._orders = {
            "options": options | {"scheduler_ip": scheduler, "name": name},
            "security": security,
        }
        start = shlex.join([python or sys.executable, "-P", "-m", "parallactic_backends.dask.remote"])
        self._command = "\n".join([*prologue, f"exec {start}"])
        self._connection: asyncssh.SSHClientConnection | None = None
        self._process: asyncssh.SSHClientProcess[str] | None = None
        self._words = ""
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and wait until it has an address."""
        try:
            self._connection = await asyncssh.connect(self.host, **self._connect)
        except (OSError, asyncssh.Error) as error:
            raise BackendUnavailable(
                f"the host {self.host} cannot be reached by ssh: {error}. Does this command work without a "
                f"password: ssh {self.host} true"
            ) from error
        self._process = await self._connection.create_process(self._command)
        self._process.stdin.write(json.dumps(self._orders) + "\n")
        self._reading = asyncio.create_task(self._read_errors(self._process))
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _START_SECONDS)
        except TimeoutError:
            line = ""
        if not line.startswith("{"):
            await self.close()
            raise BackendUnavailable(
                f"no Dask worker could be started on {self.host}. It wrote:\n{line}{self._words}"
            )
        self.address = json.loads(line)["address"]
        await super().start()

    async def _read_errors(self, process: asyncssh.SSHClientProcess[str]) -> None:
        async for line in process.stderr:
            self._words = (self._words + line)[-_TAIL:]

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stdin.write_eof()
            try:
                await asyncio.wait_for(self._process.wait_closed(), _STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
        if self._connection is not None:
            self._connection.close()
            await self._connection.wait_closed()
        if self._reading is not None:
            await self._reading
        await super().close()


class SshCluster(OwnCluster):
    """Dask workers on several hosts, as evenly as may be; the scheduler is a process of this host."""

    kind = "a process on another host"
    hosts: Sequence[str] = ()

    def new_worker_spec(self) -> dict[str, Any]:
        """Describe the next Dask worker: on the host that has fewest."""
        ((name, spec),) = super().new_worker_spec().items()
        there = Counter(known["options"]["host"] for known in self.worker_spec.values())
        host = min(self.hosts, key=lambda host: there[host])
        return {name: {"cls": spec["cls"], "options": spec["options"] | {"host": host}}}
