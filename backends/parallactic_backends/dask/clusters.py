"""The cluster of a run: one that is started here, or one that runs already."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.security import Security

from parallactic.backend import RunContext, usable_cores
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic_backends.dask.local import local_cluster
from parallactic_backends.dask.settings import DaskSettings

__all__ = ["RASCIL_VARIABLE", "Connection", "connect"]

RASCIL_VARIABLE = "RASCIL_DASK_SCHEDULER"


@dataclass
class Connection:
    """A client of a Dask scheduler, and what must be closed at the end.

    Parameters
    ----------
    client
        The client, of this run alone.
    cluster
        The cluster, if it belongs to this run.
    one_host
        Whether every process of the cluster is, and will be, on this host.
    workers
        How many Dask workers there will be; None if others decide.
    """

    client: Any
    cluster: Any = None
    one_host: bool = False
    workers: int | None = None

    def replace(self, address: str) -> None:
        """Start another Dask worker in place of one that has died, if the cluster is our own."""
        if self.cluster is None or self.workers is None:
            return
        for name, process in list(self.cluster.workers.items()):
            if process.address == address:
                del self.cluster.workers[name]
                # The cluster finds that one is missing.
                self.cluster.scale(self.workers)

    def close(self, seconds: float) -> None:
        """Hang up, and end a cluster of our own."""
        self.client.close(timeout=seconds)
        if self.cluster is not None:
            self.cluster.close(timeout=seconds)


def connect(settings: DaskSettings, context: RunContext) -> Connection:
    """Find or start the cluster that the settings name.

    Raises
    ------
    InvalidSpec
        If the settings name two.
    BackendUnavailable
        If it cannot be had.
    """
    named = {
        name: value
        for name, value in {
            "client": settings.client,
            "scheduler": settings.scheduler,
            "scheduler_file": settings.scheduler_file,
            "cluster": settings.cluster,
        }.items()
        if value is not None
    }
    if len(named) > 1:
        raise InvalidSpec(f"{' and '.join(named)} name two clusters; give one of them.")
    if not named and os.environ.get(RASCIL_VARIABLE):
        named = {"scheduler": os.environ[RASCIL_VARIABLE]}
    kind: str
    value: Any
    kind, value = next(iter(named.items()), ("cluster", "local"))
    if kind != "cluster" or value != "local":
        _refuse_for_a_cluster_of_others(settings)
    if kind == "client":
        return _join(value.scheduler.address, settings, context, security=value.security)
    if kind == "scheduler":
        address = value if "://" in value else f"tcp://{value}"
        return _join(address, settings, context)
    if kind == "scheduler_file":
        return _join_by_file(value, settings, context)
    if not isinstance(value, str):
        return _join(value.scheduler_address, settings, context, security=value.security)
    if value != "local":
        raise InvalidSpec(f"cluster={value!r} is not known; there is 'local'.")
    return _start_local(settings, context)


def _refuse_for_a_cluster_of_others(settings: DaskSettings) -> None:
    own = {
        "local_directory": settings.local_directory is not None,
        "dashboard": isinstance(settings.dashboard, str),
    }
    for name, is_set in own.items():
        if is_set:
            raise InvalidSpec(
                f"{name}={str(getattr(settings, name))!r} is for a cluster that Parallactic starts; give it "
                "to the commands that started this one."
            )


def _join_by_file(path: Path, settings: DaskSettings, context: RunContext) -> Connection:
    import json

    try:
        address = json.loads(path.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError) as error:
        raise BackendUnavailable(
            f"scheduler_file={str(path)!r} does not hold the address of a Dask scheduler: {error}. "
            "Start one with: dask scheduler --scheduler-file FILE"
        ) from error
    return _join(address, settings, context)


def _join(address: str, settings: DaskSettings, context: RunContext, security: Any = None) -> Connection:
    try:
        client = _client(address, context, settings.connect_timeout, security)
    except (OSError, TimeoutError) as error:
        raise BackendUnavailable(
            f"the Dask scheduler at {address} did not answer within {settings.connect_timeout:g} s: {error}. "
            "Is it running, and can this host reach it? Start one with: dask scheduler"
        ) from error
    except ValueError as error:
        raise BackendUnavailable(f"{address!r} is not an address of a Dask scheduler: {error}") from error
    return Connection(client)


def _start_local(settings: DaskSettings, context: RunContext) -> Connection:
    workers = settings.workers or max(1, usable_cores() // settings.threads)
    security = Security.temporary() if context.key else Security()
    folder = context.run_dir / "dask"
    folder.mkdir(mode=0o700, exist_ok=True)
    scratch = settings.local_directory or folder
    dashboard = settings.dashboard if isinstance(settings.dashboard, str) else "127.0.0.1:0"
    cluster = local_cluster(
        folder,
        workers,
        scheduler={
            "host": "127.0.0.1",
            "protocol": "tls" if context.key else "tcp",
            "dashboard": bool(settings.dashboard),
            "dashboard_address": dashboard,
        },
        worker={
            "host": "127.0.0.1",
            "protocol": "tls" if context.key else "tcp",
            "nthreads": 1,
            "memory_limit": 0,
            "local_directory": str(scratch),
            "dashboard": False,
        },
        security=security,
    )
    try:
        client = _client(cluster.scheduler_address, context, settings.connect_timeout, security)
    except BaseException:
        cluster.close()
        raise
    return Connection(client, cluster, one_host=settings.shared_memory, workers=workers)


def _client(address: str, context: RunContext, timeout: float, security: Any) -> Any:
    return Client(
        address,
        timeout=timeout,
        security=security,
        set_as_default=False,
        direct_to_workers=True,
        name=f"parallactic-{context.name}",
    )
