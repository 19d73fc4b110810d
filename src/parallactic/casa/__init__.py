"""CASA in parallel: mpi4casa's client interface, and unmodified CASA tasks, on any backend.

`enable` makes ``import casampi`` (and ``mpi4casa``) mean the classes below, so that casatasks, imported after
it, runs its parallel tasks on the workers of an `Executor`. The classes can also be used by themselves.
"""

from __future__ import annotations

from parallactic.casa.client import MPICommandClient
from parallactic.casa.environment import MPIEnvironment
from parallactic.casa.interface import MPIInterface
from parallactic.casa.monitor import MPIMonitorClient
from parallactic.casa.standin import enable

__all__ = ["MPICommandClient", "MPIEnvironment", "MPIInterface", "MPIMonitorClient", "enable"]
