"""The backend ``slurm``: workers that are jobs, which connect back to the client.

Each pilot is a job that runs a supervisor and a worker, as `multiprocessing` does, and relays what they say.
SLURM decides when and where it begins. A job that ends, whatever the reason, is replaced by another.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path

from parallactic.backend import Availability, Broken, Capabilities, Emit, RunContext
from parallactic.errors import BackendUnavailable, InvalidSpec
from parallactic.wire.framing import Channel
from parallactic.wire.hello import Hello
from parallactic.wire.memory import SharedMemoryPlane, raise_open_file_limit
from parallactic_backends.relay.stream import StreamLink, keep_alive
from parallactic_backends.slurm.batch import Batch
from parallactic_backends.slurm.harbour import Harbour, own_address
from parallactic_backends.slurm.pilot import Meeting
from parallactic_backends.slurm.settings import SlurmSettings
from parallactic_backends.slurm.states import QueueAway, largest_memory, missing_commands
from parallactic_backends.slurm.worker import SlurmWorker
from parallactic_backends.slurm.yard import Yard
from parallactic_backends.supervised import SupervisedBackend

__all__ = ["SlurmBackend", "SlurmSettings"]


class SlurmBackend(SupervisedBackend[SlurmWorker]):
    """Workers in jobs of SLURM."""

    name = "slurm"
    Settings = SlurmSettings
    capabilities = Capabilities(several_hosts=True, output=True)

    def __init__(self, settings: SlurmSettings, context: RunContext) -> None:
        super().__init__(settings, context)
        if settings.time is None:
            raise InvalidSpec(
                "backend 'slurm' needs a time limit for its jobs, such as time='2h'; without one a site's "
                "default ends them in mid-task."
            )
        if settings.workers is None:
            raise InvalidSpec("backend 'slurm' needs the number of its workers, such as workers=4.")
        raise_open_file_limit()
        self.plane = SharedMemoryPlane()
        self._address = own_address(settings.interface)
        self._node_memory = self._ask_for_memory(settings.partition)
        self._folder = self._make_folder(settings.folder.expanduser())

    def _ask_for_memory(self, partition: str | None) -> int:
        try:
            return largest_memory(partition)
        except QueueAway as error:
            raise BackendUnavailable(f"SLURM's controller does not answer: {error}") from error

    def _make_folder(self, parent: Path) -> Path:
        folder = parent / f"{self.context.name}-{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True, mode=0o700)
            if self.context.key:
                (folder / "key").touch(mode=0o600)
                (folder / "key").write_bytes(self.context.key)
        except OSError as error:
            raise BackendUnavailable(
                f"the folder {parent} for scripts and logs of jobs cannot be used: {error.strerror}. "
                "Name another by the setting folder, on a disk that all nodes share."
            ) from error
        return folder

    @classmethod
    def available(cls) -> Availability:
        """Tell whether submitit and SLURM's commands are here."""
        if find_spec("submitit") is None:
            return Availability(False, "submitit not found", "pip install 'parallactic[slurm]'")
        missing = missing_commands()
        if missing:
            return Availability(False, f"{', '.join(missing)} not found", "run this on a login node of SLURM")
        return Availability(True, "submits its workers as jobs")

    @property
    def max_workers(self) -> int:
        """Number of workers."""
        count: int = self.settings.workers
        return count

    @property
    def total_cores(self) -> int:
        """CPUs of all jobs together."""
        cpus: int = self.settings.cpus_per_task
        return self.max_workers * cpus

    @property
    def total_memory(self) -> int:
        """Memory of all jobs together; without a setting each may have a node's."""
        settings = self.settings
        each: int = settings.mem or self._node_memory
        if settings.mem_per_cpu is not None:
            each = settings.mem_per_cpu * settings.cpus_per_task
        return self.max_workers * each

    def start(self, emit: Emit) -> None:
        """Submit a job for each worker; they report when they are ready."""
        self._emit = emit
        self._harbour = Harbour(self.context.key, self._address, self._called)
        self._harbour.start()
        meeting = Meeting(
            ((self._address, self._harbour.port),), str(self._folder / "key") if self.context.key else ""
        )
        batch = Batch(self.settings, self._folder, self.context.name)
        self._yard = Yard(
            batch,
            meeting,
            emit,
            lambda text: emit(Broken(text)),
            poll=self.settings.poll,
            # Of a short time most must be left for work.
            margin=min(self.settings.drain, self.settings.time / 4),
        )
        self._yard.start()
        for number in range(self.max_workers):
            self.workers.append(
                SlurmWorker(
                    number,
                    self.settings.cpus_per_task,
                    self.context,
                    emit,
                    yard=self._yard,
                    variables=self.settings.environment,
                )
            )
        for worker in self.workers:
            worker.start()

    def _called(self, sock: socket.socket, hello: Hello) -> None:
        keep_alive(sock)
        self._emit.call(self._moor, sock, hello)

    def _moor(self, sock: socket.socket, hello: Hello) -> None:
        self._harbour.taken(sock)
        if hello.worker < len(self.workers):
            self.workers[hello.worker].pilot_called(StreamLink(Channel(sock)))
        else:
            sock.close()

    def close_door(self) -> None:
        """Let no further pilot connect."""
        self._harbour.close()

    def stop(self, deadline: float, *, detach: bool = False) -> None:
        """Ask all workers to go, end all jobs, and remove what the run has written for them."""
        super().stop(deadline, detach=detach)
        self._yard.stop(max(deadline, 5.0))
        shutil.rmtree(self._folder, ignore_errors=True)
