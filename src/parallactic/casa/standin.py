"""The modules that answer to the names ``casampi`` and ``mpi4casa``."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from parallactic.casa.client import MPICommandClient
from parallactic.casa.environment import MPIEnvironment
from parallactic.casa.interface import MPIInterface
from parallactic.casa.monitor import MPIMonitorClient
from parallactic.casa.session import Settings, open_session
from parallactic.errors import InvalidSpec

__all__ = ["MPICommandServer", "enable", "install"]

_PACKAGES = ("casampi", "mpi4casa")


class MPICommandServer:
    """What mpi4casa runs on a server; here a worker serves by itself, and none can be made."""

    def __init__(self, start_services: bool = False) -> NoReturn:
        raise InvalidSpec("a server cannot be made: the workers of the executor are the servers.")


def enable(
    backend: str | None = None,
    workers: int | None = None,
    *,
    tasks: bool | None = None,
    resend: int = 0,
    silence: float | None = None,
    fast_polling: bool = False,
    **settings: Any,
) -> None:
    """Start servers, and make ``import casampi`` and ``import mpi4casa`` mean this package.

    To be called before casatasks is imported. From then on casatasks divides the work on a multi-MS, and that
    of ``tclean(specmode='mfs', parallel=True)``, among the servers. Calling it again with the same arguments
    changes nothing; after `MPICommandClient.stop_services` it starts new servers.

    Parameters
    ----------
    backend, workers
        As of `Executor`.
    tasks
        Import casatasks on every server. None: where it is installed.
    resend
        How often a request that any server may run is sent again if its server dies.
    silence
        Seconds without a sign of a server's Python interpreter after which the server counts as timed out.
        None: a server that computes never does, however long one call takes.
    fast_polling
        Let tclean ask its servers every 5 ms instead of once a second.
    **settings
        Settings of the backend.

    Raises
    ------
    InvalidSpec
        If casatasks has been imported already, or servers run with other settings.
    BackendUnavailable
        If the backend cannot be had here.
    """
    install()
    open_session(Settings(backend, workers, tasks, resend, silence, fast_polling, settings))


def install() -> None:
    """Put the modules where ``import`` finds them.

    Raises
    ------
    InvalidSpec
        If casatasks, or casampi itself, has been imported already.
    """
    if "casampi" in sys.modules and _is_ours():
        return
    for name in ("casatasks", *_PACKAGES):
        if name in sys.modules:
            raise InvalidSpec(
                f"{name} has been imported already: call parallactic.casa.enable() before that."
            )
    for package in _PACKAGES:
        root = _module(package, {}, package=True)
        parts = {
            "MPIEnvironment": _module(f"{package}.MPIEnvironment", {"MPIEnvironment": MPIEnvironment}),
            "MPICommandClient": _module(
                f"{package}.MPICommandClient", {"MPICommandClient": MPICommandClient}
            ),
            "MPIInterface": _module(f"{package}.MPIInterface", {"MPIInterface": MPIInterface}),
            "private": _module(f"{package}.private", {}, package=True),
        }
        private: dict[str, dict[str, Any]] = {
            "start_mpi": {},
            "MPIMonitorClient": {"MPIMonitorClient": MPIMonitorClient},
            "MPICommandServer": {"MPICommandServer": MPICommandServer},
        }
        for name, content in private.items():
            setattr(parts["private"], name, _module(f"{package}.private.{name}", content))
        # In CASA 4 and 5 it was not private.
        parts["MPIMonitorClient"] = _module(
            f"{package}.MPIMonitorClient", {"MPIMonitorClient": MPIMonitorClient}
        )
        for name, module in parts.items():
            setattr(root, name, module)


def _is_ours() -> bool:
    return sys.modules["casampi"].__dict__.get("__stand_in__") is MPICommandClient


def _module(name: str, content: dict[str, Any], *, package: bool = False) -> ModuleType:
    spec = ModuleSpec(name, None, is_package=package)
    module = importlib.util.module_from_spec(spec)
    vars(module).update(content)
    if package:
        vars(module)["__stand_in__"] = MPICommandClient
    sys.modules[name] = module
    return module
