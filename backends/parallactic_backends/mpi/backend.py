"""The backend ``mpi``: workers next to the ranks of an MPI job, or next to ranks that this process spawns.

Rank 0, or the process that spawned, is the client. Every other rank is an agent: a small process that runs a
supervisor and its worker as `multiprocessing` does, and relays what they say. User code that crashes ends a
worker and never a rank, under any MPI. A rank that dies itself is noticed by ULFM and spawned anew.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field

from parallactic.backend import (
    Availability,
    Capabilities,
    Check,
    Emit,
    RunContext,
    Settings,
    usable_cores,
)
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic.wire.memory import SharedMemoryPlane, raise_open_file_limit
from parallactic.worker.ranks import launch
from parallactic_backends.mpi.diagnose import diagnose
from parallactic_backends.mpi.launch import find_mpi, flavour_here, import_mpi
from parallactic_backends.mpi.placement import is_here, place, read_hosts
from parallactic_backends.mpi.pool import Pool, Start
from parallactic_backends.mpi.server import serve_world
from parallactic_backends.mpi.worker import MpiWorker
from parallactic_backends.supervised import SupervisedBackend

__all__ = ["MpiBackend", "MpiSettings"]


class MpiSettings(Settings):
    """What can be set for MPI servers."""

    threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads of each worker; by default the cores of a host are shared out.",
    )
    hostfile: Path | None = Field(
        default=None,
        description="Hosts of spawned servers, one a line: HOST slots=N max-slots=M. "
        "By default $PBS_NODEFILE, else this host.",
    )
    prefix: str = Field(
        default="",
        description="Command put before Python where servers are spawned, such as: singularity exec IMAGE",
    )
    prologue: str = Field(
        default="", description="Shell lines run before a spawned server, such as: module load casa"
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Variables added to the environment of workers."
    )
    shared_memory: bool = Field(
        default=True, description="Hand large objects between processes of one host by reference."
    )


class _OfThisMpi:
    """What MPI servers can do, by the library that is here; it is looked for when somebody asks."""

    def __get__(self, instance: object, owner: type) -> Capabilities:
        found = flavour_here()
        # Others name their shared memory for themselves, and leave it if they are killed.
        clean = found is None or found.name == "Open MPI"
        return Capabilities(shared_memory=True, several_hosts=True, output=True, clean_when_killed=clean)


class MpiBackend(SupervisedBackend[MpiWorker]):
    """Workers next to MPI ranks; the ranks are kept for the next executor."""

    name = "mpi"
    Settings = MpiSettings
    capabilities = _OfThisMpi()

    def __init__(self, settings: MpiSettings, context: RunContext) -> None:
        super().__init__(settings, context)
        started = launch()
        if started is not None and started.rank > 0:
            # The script chose this backend only here; what it does from here on is for rank 0.
            serve_world()
        self.plane = SharedMemoryPlane()
        self._pool = Pool.of_process()
        self._starts = self._plan(settings)
        places = self._pool.hosts() if self._pool.world_size else [start.host for start in self._starts]
        self._hosts = Counter(places or [None])
        crowded = min(max(self._hosts.values()), len(self._starts))
        self._threads = settings.threads or max(1, usable_cores() // crowded)

    def _plan(self, settings: MpiSettings) -> list[Start]:
        """Decide how each server would be started, if it must be."""
        command = _command(settings)
        if self._pool.world_size:
            self._refuse_in_a_job(settings)
            free = self._pool.free()
            return [Start(command)] * (settings.workers or free or self._pool.world_size)
        hosts = read_hosts(settings.hostfile)
        if hosts:
            placed = place(hosts, settings.workers)
            self._refuse_far_hosts(placed, settings.hostfile)
            return [Start(command, None if is_here(host) else host) for host in placed]
        return [Start(command)] * (settings.workers or usable_cores())

    def _refuse_in_a_job(self, settings: MpiSettings) -> None:
        size = self._pool.world_size
        if settings.workers is not None and settings.workers > size:
            raise BackendUnavailable(
                f"workers={settings.workers} are more than the {size} servers of this MPI job; "
                f"ask for at most {size}, or start it with mpiexec -n {settings.workers + 1}."
            )
        if settings.hostfile is not None or settings.prefix or settings.prologue:
            raise InvalidSpec(
                "hostfile, prefix and prologue are for servers that Parallactic spawns; mpiexec began these: "
                "give it the hostfile, and put the rest before python on its line."
            )

    def _refuse_far_hosts(self, placed: list[str], hostfile: Path | None) -> None:
        far = [host for host in placed if not is_here(host)]
        if far and launch() is None and self._pool.flavour.name == "Open MPI":
            # MPI_Init of such a server fails: "Not supported", in Open MPI 5.0.
            file = hostfile or "$PBS_NODEFILE"
            raise BackendUnavailable(
                f"Open MPI starts servers on {far[0]} only from a process that mpiexec has started: "
                f"mpiexec --with-ft ulfm --hostfile {file} -n {len(placed) + 1} "
                "python -m parallactic.mpi SCRIPT"
            )

    @classmethod
    def available(cls) -> Availability:
        """Tell whether mpi4py is there; which MPI it loads is known when it is used."""
        problem = find_mpi()
        if problem:
            return Availability(False, problem, "pip install 'parallactic[mpi]'")
        started = launch()
        if started is None:
            return Availability(True, "spawns its servers")
        return Availability(True, f"rank {started.rank} of a job that was started by {started.by}")

    @classmethod
    def enter(cls) -> None:
        """Serve, in every rank but the first of an MPI job."""
        started = launch()
        if started is not None and started.rank > 0:
            serve_world()
        # This rank must join the others even if its script never opens an executor.
        import_mpi()
        Pool.of_process()

    @classmethod
    def diagnose(cls, settings: Any) -> Iterator[Check]:
        """Look at the library, its launcher, and ranks that talk, die, or are spawned."""
        yield from diagnose(settings.workers, settings.hostfile, _command(settings))

    @property
    def max_workers(self) -> int:
        """Number of workers."""
        return len(self._starts)

    @property
    def total_cores(self) -> int:
        """Threads of all workers together, and at least the cores of this host."""
        return max(len(self._starts) * self._threads, usable_cores())

    @property
    def total_memory(self) -> int:
        """Memory of this host, for each host that has workers."""
        return psutil.virtual_memory().total * len(self._hosts)

    def start(self, emit: Emit) -> None:
        """Get a rank for each worker; they report when they are ready."""
        raise_open_file_limit()
        for number, start in enumerate(self._starts):
            self.workers.append(
                MpiWorker(
                    number,
                    self._threads,
                    self.context,
                    emit,
                    pool=self._pool,
                    start=start,
                    shared_memory=self.settings.shared_memory,
                    variables=self.settings.environment,
                )
            )
        for worker in self.workers:
            worker.start()


def _command(settings: MpiSettings) -> tuple[str, ...]:
    command = (*shlex.split(settings.prefix), sys.executable, "-P")
    if not settings.prologue:
        return command
    return ("/bin/bash", "-c", f'{settings.prologue}\nexec "$0" "$@"', *command)
