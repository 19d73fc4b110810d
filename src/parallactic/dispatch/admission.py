"""Whether a task fits: the cores and the memory that running tasks have left."""

from __future__ import annotations

from parallactic.backend import Backend
from parallactic.dispatch.task import Task
from parallactic.errors import InvalidSpec
from parallactic.spec import TaskSpec

__all__ = ["Resources", "check_spec"]


def check_spec(spec: TaskSpec, backend: Backend) -> None:
    """Refuse what this backend can never give.

    Raises
    ------
    InvalidSpec
        With what was asked for and what there is.
    """
    name = backend.name
    if spec.cores is not None and spec.cores > backend.total_cores:
        raise InvalidSpec(
            f"a task asks for cores={spec.cores}, but backend {name!r} has {backend.total_cores} in all; "
            "ask for fewer, or use more workers or another backend."
        )
    if spec.memory is not None and spec.memory > backend.total_memory:
        raise InvalidSpec(
            f"a task asks for {spec.memory / 1e9:.1f} GB of memory, but backend {name!r} has "
            f"{backend.total_memory / 1e9:.1f} GB in all; ask for less, or use another backend."
        )
    for resource, plain in (("gpus", 0), ("nodes", 1), ("ranks", 1)):
        value = getattr(spec, resource)
        if value != plain and resource not in backend.capabilities.resources:
            raise InvalidSpec(
                f"a task asks for {resource}={value}, which backend {name!r} cannot give; "
                "run it on a backend for clusters, or leave it out."
            )
    backend.refuse(spec)


class Resources:
    """Cores and memory in use. A task without wishes takes the cores of one worker."""

    def __init__(self, cores: int, memory: int) -> None:
        self.limit(cores, memory)
        self._used_cores = 0
        self._used_memory = 0
        self._wide = 0

    def limit(self, cores: int, memory: int) -> None:
        """Set what tasks may use together."""
        self._cores = cores
        self._memory = memory

    def fits(self, task: Task, worker_cores: int) -> bool:
        """Tell whether a task may start beside those that run."""
        spec = task.spec
        need = spec.cores or worker_cores
        tight = self._wide or need > worker_cores
        if tight and self._used_cores and self._used_cores + need > self._cores:
            return False
        return not (spec.memory and self._used_memory and self._used_memory + spec.memory > self._memory)

    def take(self, task: Task, worker_cores: int) -> None:
        """Count a task that starts."""
        spec = task.spec
        need = spec.cores or worker_cores
        self._used_cores += need
        self._wide += need > worker_cores
        if spec.memory:
            self._used_memory += spec.memory

    def give_back(self, task: Task, worker_cores: int) -> None:
        """Count a task that has ended."""
        spec = task.spec
        need = spec.cores or worker_cores
        self._used_cores -= need
        self._wide -= need > worker_cores
        if spec.memory:
            self._used_memory -= spec.memory
