"""Radio-astronomy tasks, written once, on one process, many cores, MPI, Dask or SLURM.

The names below are the whole public interface of the executor. They are imported at first use: a worker
process imports this package before it forks and must stay small.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parallactic.errors import (
        BackendUnavailable,
        DependencyFailed,
        InvalidSpec,
        ParallacticError,
        StateLost,
        SubmitError,
        TaskTimeout,
        WorkerLost,
    )
    from parallactic.executor import Executor
    from parallactic.future import Future
    from parallactic.pipeline import run
    from parallactic.status import Status
    from parallactic.target import Target
    from parallactic.wire.ref import Ref
    from parallactic.worker.namespace import namespace, worker

__version__ = "0.1.0"

_HOME = {
    "Executor": "parallactic.executor",
    "Future": "parallactic.future",
    "Target": "parallactic.target",
    "Ref": "parallactic.wire.ref",
    "Status": "parallactic.status",
    "namespace": "parallactic.worker.namespace",
    "worker": "parallactic.worker.namespace",
    "run": "parallactic.pipeline",
    "ParallacticError": "parallactic.errors",
    "BackendUnavailable": "parallactic.errors",
    "InvalidSpec": "parallactic.errors",
    "SubmitError": "parallactic.errors",
    "TaskTimeout": "parallactic.errors",
    "DependencyFailed": "parallactic.errors",
    "WorkerLost": "parallactic.errors",
    "StateLost": "parallactic.errors",
}

__all__ = [
    "BackendUnavailable",
    "DependencyFailed",
    "Executor",
    "Future",
    "InvalidSpec",
    "ParallacticError",
    "Ref",
    "StateLost",
    "Status",
    "SubmitError",
    "Target",
    "TaskTimeout",
    "WorkerLost",
    "__version__",
    "namespace",
    "run",
    "worker",
]


class _Package(ModuleType):
    """The package itself: `parallactic.worker` is the function, never the folder of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'parallactic' has no attribute {name!r}")
        value = getattr(import_module(_HOME[name]), name)
        super().__setattr__(name, value)
        return value

    def __dir__(self) -> list[str]:
        return __all__

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions that use this module by name travel to workers, and cloudpickle knows plain modules only.
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package

import_module("parallactic.first_mpi").load_before_casa()
if import_module("parallactic.worker.ranks").has_company():
    import_module("parallactic.registry").enter()
