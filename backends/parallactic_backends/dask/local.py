"""A cluster of processes on this host."""

from __future__ import annotations

from typing import Any

from distributed.deploy.spec import ProcessInterface

from parallactic_backends.dask.nursery import Nursery
from parallactic_backends.dask.own import OwnCluster

__all__ = ["LocalCluster", "SchedulerProcess", "secret_of"]

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
        self, scheduler: str | None = None, name: str = "", *, nursery: Nursery, options: dict[str, Any]
    ) -> None:
        super().__init__(scheduler, name)
        self._scheduler_address = scheduler
        self._name = name
        self._nursery = nursery
        self._options = options
        self._label = name or self.role

    @property
    def options(self) -> dict[str, Any]:
        """What Dask's class is made with."""
        return self._options

    async def start(self) -> None:
        """Start the process and wait until it has an address."""
        order = {"role": self.role, "options": self.options}
        self.address = await self._nursery.start(self._label, order)
        await super().start()

    async def close(self) -> None:
        """End the process."""
        await self._nursery.end(self._label)
        await super().close()


class SchedulerProcess(_Process):
    """A scheduler in a process of this host, whose workers may be anywhere."""

    role = "scheduler"


class _Worker(_Process):
    role = "worker"

    @property
    def options(self) -> dict[str, Any]:
        """What Dask's class is made with."""
        return self._options | {"scheduler_ip": self._scheduler_address, "name": self._name}


def secret_of(security: Any) -> dict[str, Any]:
    """Return what another process needs of the certificates; empty if there are none."""
    if not security.tls_ca_file:
        return {}
    return {name: getattr(security, name) for name in _CERTIFICATES} | {"require_encryption": True}


class LocalCluster(OwnCluster):
    """A scheduler on this host, for workers of this host.

    Parameters
    ----------
    nursery
        What starts their processes; it ends with the cluster.
    scheduler, worker
        Options of ``distributed.Scheduler`` and ``distributed.Worker``.
    security
        A ``distributed.security.Security``, whose certificates the processes get.
    scratch
        Folder for what Dask writes to disk.

    Raises
    ------
    BackendUnavailable
        If the scheduler does not start; its last words are quoted.
    """

    def __init__(
        self,
        nursery: Nursery,
        *,
        scheduler: dict[str, Any],
        worker: dict[str, Any],
        security: Any,
        scratch: str,
    ) -> None:
        nursery.prepare({"security": secret_of(security), "config": {"temporary-directory": scratch}})
        super().__init__(
            scheduler={"cls": SchedulerProcess, "options": {"nursery": nursery, "options": scheduler}},
            worker={"cls": _Worker, "options": {"nursery": nursery, "options": worker}},
            security=security,
            silence_logs=False,
        )
