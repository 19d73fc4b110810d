"""The cluster of a run: one that is started here, or one that runs already."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from parallactic.backend import RunContext
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic_backends.dask.connection import Connection
from parallactic_backends.dask.encryption import REMEDY, is_open
from parallactic_backends.dask.settings import DaskSettings
from parallactic_backends.dask.starting import start_jobs, start_local, start_ssh

__all__ = ["RASCIL_VARIABLE", "address_of", "connect"]

_log = logging.getLogger(__name__)
_WRITE_SECONDS = 2.0
RASCIL_VARIABLE = "RASCIL_DASK_SCHEDULER"


#: Which kinds of cluster a setting belongs to; those that are not here belong to all.
_BATCH = ("slurm", "pbs")
_REMOTE = (*_BATCH, "ssh")
_OWN = ("local", *_REMOTE)
_BELONGS = {
    "local_directory": _OWN,
    "dashboard": _OWN,
    "adaptive": _OWN,
    "resources": _OWN,
    "interface": _REMOTE,
    "prologue": _REMOTE,
    "python": _REMOTE,
    "hosts": ("ssh",),
    "ssh_options": ("ssh",),
} | dict.fromkeys(
    (
        "walltime", "memory", "cores", "processes", "queue", "account", "directives", "death_timeout",
        "shared_directory",
    ),
    _BATCH,
)  # fmt: skip


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
    kind = "others" if address is not None else settings.cluster or "local"
    _refuse_what_belongs_elsewhere(settings, kind)
    if kind == "local":
        return start_local(settings, context)
    if kind == "ssh":
        return start_ssh(settings, context)
    if address is None:
        return start_jobs(kind, settings, context)
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
        if value not in _OWN:
            raise InvalidSpec(f"cluster={value!r} is not known; there are {', '.join(map(repr, _OWN))}.")
        return None, None
    return value.scheduler_address, value.security


def _refuse_what_belongs_elsewhere(settings: DaskSettings, kind: str) -> None:
    for name, kinds in _BELONGS.items():
        value = getattr(settings, name)
        is_set = name in settings.model_fields_set and value is not None
        if not is_set or kind in kinds or (name == "dashboard" and not isinstance(value, str)):
            continue
        if kind == "others" and kinds == _OWN:
            raise InvalidSpec(
                f"{name}={str(value)!r} is for a cluster that Parallactic starts; give it to the commands "
                "that started this one."
            )
        here = "a cluster that runs already" if kind == "others" else f"cluster={kind!r}"
        fits = " or ".join(f"cluster={other!r}" for other in kinds)
        raise InvalidSpec(f"{name}={str(value)!r} is for {fits}; with {here} it has no meaning.")
    if settings.adaptive and settings.workers:
        raise InvalidSpec(
            f"workers={settings.workers} and adaptive={settings.adaptive} both say how many there are to be; "
            "give one."
        )


def _address_in(path: Path) -> str:
    end = time.monotonic() + _WRITE_SECONDS
    while True:
        try:
            address: str = json.loads(path.read_text(encoding="utf-8"))["address"]
        except (OSError, ValueError, KeyError) as error:
            # A scheduler that has just started may not have written all of it.
            if isinstance(error, ValueError) and time.monotonic() < end:
                time.sleep(0.05)
                continue
            raise BackendUnavailable(
                f"scheduler_file={str(path)!r} does not hold the address of a Dask scheduler: {error}. "
                "Start one with: dask scheduler --scheduler-file FILE"
            ) from error
        return address
