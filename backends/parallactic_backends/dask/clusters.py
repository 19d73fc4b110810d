"""The cluster of a run: one that is started here, or one that runs already."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parallactic.backend import RunContext, usable_cores
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic_backends.dask.encryption import REMEDY, is_open
from parallactic_backends.dask.nursery import Nursery
from parallactic_backends.dask.settings import DaskSettings

__all__ = ["RASCIL_VARIABLE", "Connection", "address_of", "connect"]

_log = logging.getLogger(__name__)
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
    resources
        What each Dask worker of a cluster of our own offers besides threads.
    """

    client: Any
    cluster: Any = None
    one_host: bool = False
    workers: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

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
    address, security = address_of(settings)
    if address is None:
        return _start_local(settings, context)
    _refuse_for_a_cluster_of_others(settings)
    if context.key and is_open(address):
        _log.warning(
            "connections to the Dask scheduler at %s are not encrypted: who reaches its port can read data "
            "and run code as you. To change that, %s insecure=True silences this.",
            address,
            REMEDY,
        )
    from parallactic_backends.dask.joining import join

    return Connection(join(address, context.name, settings.connect_timeout, security))


def address_of(settings: DaskSettings) -> tuple[str | None, Any]:
    """Return where the scheduler is that the settings name, and the certificates that belong to it.

    Returns
    -------
    tuple
        None and None if the run is to start a cluster; no certificates means those of Dask's configuration.

    Raises
    ------
    InvalidSpec
        If the settings name two clusters, or none that there is.
    BackendUnavailable
        If the file that they name holds no address.
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
    value: Any = next(iter(named.values()), "local")
    match next(iter(named), "cluster"):
        case "client":
            return value.scheduler.address, value.security
        case "scheduler":
            return value if "://" in value else f"tcp://{value}", None
        case "scheduler_file":
            return _address_in(value), None
    if isinstance(value, str):
        if value != "local":
            raise InvalidSpec(f"cluster={value!r} is not known; there is 'local'.")
        return None, None
    return value.scheduler_address, value.security


def _refuse_for_a_cluster_of_others(settings: DaskSettings) -> None:
    own = {
        "local_directory": settings.local_directory is not None,
        "dashboard": isinstance(settings.dashboard, str),
        "resources": bool(settings.resources),
    }
    for name, is_set in own.items():
        if is_set:
            raise InvalidSpec(
                f"{name}={str(getattr(settings, name))!r} is for a cluster that Parallactic starts; give it "
                "to the commands that started this one."
            )


def _address_in(path: Path) -> str:
    try:
        address: str = json.loads(path.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError) as error:
        raise BackendUnavailable(
            f"scheduler_file={str(path)!r} does not hold the address of a Dask scheduler: {error}. "
            "Start one with: dask scheduler --scheduler-file FILE"
        ) from error
    return address


def _start_local(settings: DaskSettings, context: RunContext) -> Connection:
    workers = settings.workers or max(1, usable_cores() // settings.threads)
    folder = context.run_dir / "dask"
    folder.mkdir(mode=0o700, exist_ok=True)
    scratch = str(settings.local_directory or folder)
    dashboard = settings.dashboard if isinstance(settings.dashboard, str) else "127.0.0.1:0"
    nursery = Nursery(folder)
    # The nursery imports Dask meanwhile, too.
    from distributed.security import Security

    from parallactic_backends.dask.joining import new_client
    from parallactic_backends.dask.local import LocalCluster

    security = Security.temporary() if context.key else Security()
    common = {"host": "127.0.0.1", "protocol": "tls" if context.key else "tcp"}
    try:
        cluster = LocalCluster(
            nursery,
            workers,
            scheduler={
                **common,
                "dashboard": bool(settings.dashboard),
                "dashboard_address": dashboard,
            },
            worker={
                **common,
                "nthreads": 1,
                "memory_limit": 0,
                "resources": settings.resources,
                "local_directory": scratch,
                "dashboard": False,
            },
            security=security,
            scratch=scratch,
        )
    except RuntimeError as error:
        # What Dask wraps says it better.
        raise error.__cause__ if isinstance(error.__cause__, BackendUnavailable) else error from None
    try:
        client = new_client(cluster.scheduler_address, context.name, settings.connect_timeout, security)
    except BaseException:
        cluster.close()
        raise
    return Connection(
        client, cluster, one_host=settings.shared_memory, workers=workers, resources=settings.resources
    )
