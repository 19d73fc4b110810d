"""What computes: which executor a session gets, and Dask clients by RASCIL's rules."""

from __future__ import annotations

import logging
import os
import socket
import warnings
import weakref
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parallactic.config import read_configuration
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic.executor import Executor

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "close_client",
    "get_dask_client",
    "get_nodes",
    "is_dask_client",
    "open_executor",
    "refuse_contradictions",
    "scheduler_of",
]

_log = logging.getLogger(__name__)

SCHEDULER = "RASCIL_DASK_SCHEDULER"
HOSTFILE = "RASCIL_HOSTFILE"
_NEVER_READ = "ARL_DASK_SCHEDULER"

_WORKERS = ("workers", "n_workers", "nworkers", "max_workers")

_DASK_NAMES = {
    "threads_per_worker": "threads",
    "local_dir": "local_directory",
    "dashboard_address": "dashboard",
    "timeout": "connect_timeout",
}
"""How settings of Dask's cluster are called here."""

_made: weakref.WeakSet[Any] = weakref.WeakSet()
"""Clients of `get_dask_client`: whoever closes the session closes them."""


def scheduler_of() -> str | None:
    """Return the address of the scheduler that the environment names, None if it names none.

    Warns
    -----
    UserWarning
        If only ``ARL_DASK_SCHEDULER`` is set, which nothing has read since RASCIL got its name.
    """
    address = os.environ.get(SCHEDULER)
    if not address and os.environ.get(_NEVER_READ):
        warnings.warn(
            f"{_NEVER_READ}={os.environ[_NEVER_READ]} is not read; to use that scheduler, "
            f"export {SCHEDULER} instead. Without it the work stays on this host.",
            stacklevel=3,
        )
    return address or None


def is_dask_client(client: object) -> bool:
    """Tell whether an object is a ``distributed.Client``, without importing distributed."""
    return any(
        kind.__name__ == "Client" and kind.__module__.partition(".")[0] == "distributed"
        for kind in type(client).__mro__
    )


def refuse_contradictions(
    client: object, use_dask: bool, use_dlg: bool, backend: str | None, settings: Mapping[str, Any]
) -> None:
    """Refuse arguments of `RSExecute.set_client` that cannot be meant together.

    Raises
    ------
    InvalidSpec
        With what contradicts what.
    """
    if use_dlg:
        raise InvalidSpec("use_dlg=True: DALiuGE is not supported; choose a backend.")
    if client is not None and (backend is not None or (settings and use_dask)):
        extra = [*(["backend"] if backend is not None else []), *settings]
        raise InvalidSpec(
            f"set_client(client, {', '.join(extra)}=...): a client that exists has its settings already."
        )
    if backend is not None and not use_dask:
        raise InvalidSpec(
            f"backend={backend!r} and use_dask=False contradict each other: without Dask functions are "
            "called at once, in this process. Leave one of them out."
        )


def open_executor(backend: str | None, settings: Mapping[str, Any]) -> Executor:
    """Return a new executor.

    Parameters
    ----------
    backend
        Name of the backend. None: that of ``PARALLACTIC_BACKEND`` or the configuration file, else Dask.
    settings
        Of the executor and its backend. The number of workers may also be called ``n_workers`` or
        ``nworkers``; for Dask, what `get_dask_client` takes is taken as well.

    Raises
    ------
    InvalidSpec
        If a setting is unknown or wrong.
    BackendUnavailable
        If the backend cannot be had here.
    """
    given = _with_workers(settings)
    chosen = backend or read_configuration(given.get("config")).backend or "dask"
    if chosen == "dask":
        given = _of_dask(given)
    scheduler = scheduler_of()
    if scheduler and chosen == "dask":
        if not {"scheduler", "scheduler_file", "client", "cluster"} & set(given):
            given["scheduler"] = scheduler
    elif scheduler:
        _log.warning("%s=%s is not used: the backend is %s", SCHEDULER, scheduler, chosen)
    return Executor(chosen, **given)


def _with_workers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the number of workers under its own name."""
    given = {name: value for name, value in settings.items() if name not in _WORKERS}
    workers = {name: settings[name] for name in _WORKERS if settings.get(name) is not None}
    if len(set(workers.values())) > 1:
        values = ", ".join(f"{name}={value}" for name, value in workers.items())
        raise InvalidSpec(f"{values} are names of one thing, the number of workers; give one.")
    if workers:
        given["workers"] = next(iter(workers.values()))
    return given


def _of_dask(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of our Dask backend for what RASCIL's callers give to Dask."""
    given = {_DASK_NAMES.get(name, name): value for name, value in settings.items()}
    if not given.pop("processes", True):
        raise InvalidSpec("processes=False: workers are processes; backend='serial' has none.")
    if not given.pop("with_file", "scheduler_file" in given):
        given.pop("scheduler_file", None)
    # Who makes the cluster makes no difference to it.
    given.pop("create_cluster", None)
    if isinstance(given.get("memory_limit"), float):
        given["memory_limit"] = int(given["memory_limit"])
    return {name: value for name, value in given.items() if value is not None}


def get_dask_client(
    timeout: float = 30,
    n_workers: int | None = None,
    threads_per_worker: int | None = 1,
    processes: bool = True,
    create_cluster: bool = True,
    memory_limit: float | str | None = None,
    local_dir: str | os.PathLike[str] = ".",
    with_file: bool = False,
    scheduler_file: str | os.PathLike[str] = "./scheduler.json",
    dashboard_address: str | None = ":8787",
) -> Client:
    """Return a Dask client: of the scheduler that is named, else of a cluster on this host.

    The scheduler is that of ``RASCIL_DASK_SCHEDULER`` (``host:port``), else with `with_file` that of
    `scheduler_file`. A scheduler that is named and does not answer is an error, never a local cluster. Give
    the client to `RSExecute.set_client`, which closes it in the end.

    The local cluster is Dask's own: a script must make it under ``if __name__ == "__main__":``, which
    ``set_client(n_workers=...)`` does not need.

    Parameters
    ----------
    timeout
        Seconds to wait for the scheduler.
    n_workers, threads_per_worker, processes, memory_limit, local_dir, dashboard_address
        Of the local cluster: as in ``distributed.LocalCluster``, where `local_dir` is called
        ``local_directory``. An external scheduler has workers of its own.
    create_cluster
        False: let the client make its cluster itself; it is the same cluster.
    with_file, scheduler_file
        Look for the scheduler in a file that ``dask scheduler --scheduler-file`` writes.

    Raises
    ------
    BackendUnavailable
        If the scheduler does not answer, the cluster cannot be started, or distributed is not installed.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise BackendUnavailable(
            f"a Dask client needs distributed: {error}. To have it: pip install 'parallactic[dask]'."
        ) from error
    address = scheduler_of()
    cluster: dict[str, Any] = {
        "n_workers": n_workers,
        "threads_per_worker": threads_per_worker,
        "processes": processes,
        "local_directory": str(local_dir),
        "dashboard_address": dashboard_address,
    }
    if memory_limit is not None:
        cluster["memory_limit"] = memory_limit
    where = "on this host"
    try:
        if address:
            where = f"of {SCHEDULER}={address}"
            client: Client = distributed.Client(address, timeout=timeout)
        elif with_file:
            where = f"of the file {str(scheduler_file)!r}"
            if not Path(scheduler_file).is_file():
                # Dask's own client would wait for the file without an end.
                raise BackendUnavailable(f"the scheduler file {str(scheduler_file)!r} does not exist.")
            client = distributed.Client(scheduler_file=str(scheduler_file), timeout=timeout)
        elif create_cluster:
            client = distributed.Client(distributed.LocalCluster(**cluster), timeout=timeout)
        else:
            client = distributed.Client(timeout=timeout, **cluster)
    except RuntimeError as error:
        raise BackendUnavailable(
            f"a Dask cluster on this host cannot be started: {error} In a script, Dask's own cluster must be "
            "made under `if __name__ == '__main__':`; rsexecute.set_client(n_workers=...) needs no such line."
        ) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise BackendUnavailable(
            f"the Dask scheduler {where} does not answer within {timeout:g} s: {error}. Start it with "
            "`dask scheduler` and its workers with `dask worker`, or unset the variable."
        ) from error
    _made.add(client)
    _log.info("Dask's diagnostic pages: %s", client.dashboard_link)
    return client


def close_client(client: Any) -> None:
    """Close a client, and the cluster that it made, if `get_dask_client` has made it."""
    if client not in _made:
        return
    _made.discard(client)
    cluster = client.cluster
    client.close()
    if cluster is not None:
        cluster.close()


def get_nodes() -> list[str] | None:
    """Return the addresses of the hosts that the file ``RASCIL_HOSTFILE`` names; None if it is not set.

    Raises
    ------
    InvalidSpec
        If the file cannot be read, or a host is not known.
    """
    name = os.environ.get(HOSTFILE)
    if not name:
        return None
    try:
        lines = Path(name).read_text(encoding="utf-8").split()
    except OSError as error:
        raise InvalidSpec(f"{HOSTFILE}={name!r} cannot be read: {error.strerror}.") from error
    nodes = []
    for line in lines:
        try:
            nodes.append(socket.gethostbyname(line))
        except OSError as error:
            raise InvalidSpec(f"the host {line!r} of {HOSTFILE}={name!r} is not known: {error}.") from error
    return nodes
