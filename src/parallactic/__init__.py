"""Radio-astronomy tasks, written once, on one process, many cores, MPI, Dask or SLURM.

The names below are the whole public interface of the executor. They are imported at first use: a worker
process imports this package before it forks and must stay small.
"""

from __future__ import annotations

from importlib import import_module
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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'parallactic' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
