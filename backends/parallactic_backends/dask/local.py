"""A cluster of processes on this host."""

from __future__ import annotations

from typing import Any

from distributed.deploy.spec import ProcessInterface, SpecCluster

from parallactic_backends.dask.nursery import Nursery

__all__ = ["LocalCluster"]

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
        self, scheduler: str | None = None, name: int = 0, *, nursery: Nursery, options: dict[str, Any]
    ) -> None:
        super().__init__(scheduler, name)
        self._scheduler_address = scheduler
        self._name = name
        self._nursery = nursery
        self._options = options
        self._label = f"{self.role}-{name}"

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


class _Scheduler(_Process):
    role = "scheduler"


class _Worker(_Process):
    role = "worker"

    @property
    def options(self) -> dict[str, Any]:
        """What Dask's class is made with."""
        return self._options | {"scheduler_ip": self._scheduler_address, "name": self._name}


class LocalCluster(SpecCluster):  # type: ignore[misc]
    """A scheduler and workers on this host.

    Parameters
    ----------
    nursery
        What starts their processes; it ends with the cluster.
    workers
        How many workers.
    scheduler, worker
        Options of ``distributed.Scheduler`` and ``distributed.Worker``.
    security
        A ``distributed.security.Security``, whose certificates the processes get.
    scratch
        Folder for what Dask writes to disk.

    Raises
    ------
    BackendUnavailable
        If a process does not start; its last words are quoted.
    """

    def __init__(
        self,
        nursery: Nursery,
        workers: int,
        *,
        scheduler: dict[str, Any],
        worker: dict[str, Any],
        security: Any,
        scratch: str,
    ) -> None:
        self._nursery = nursery
        certificates = {name: getattr(security, name) for name in _CERTIFICATES}
        secret = certificates | {"require_encryption": True} if security.tls_ca_file else {}
        nursery.prepare({"security": secret, "config": {"temporary-directory": scratch}})
        template = {"cls": _Worker, "options": {"nursery": nursery, "options": worker}}
        super().__init__(
            workers=dict.fromkeys(range(workers), template),
            scheduler={"cls": _Scheduler, "options": {"nursery": nursery, "options": scheduler}},
            worker=template,
            security=security,
            silence_logs=False,
        )

    async def _close(self) -> None:
        try:
            await super()._close()
        finally:
            self._nursery.close()
