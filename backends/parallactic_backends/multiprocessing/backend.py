"""The backend ``multiprocessing``: worker processes on this host, each under a small supervisor.

Workers are started as ``python -m parallactic.worker``, so scripts need no main guard and no threaded process
is forked. They connect back to a Unix socket in a private folder and both ends prove the run's key.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import psutil
from pydantic import Field

from parallactic.backend import Availability, Backend, Capabilities, Emit, RunContext, Settings, usable_cores
from parallactic.errors import InvalidSpec
from parallactic.wire.envelopes import Envelope
from parallactic.wire.framing import Channel
from parallactic.wire.hello import ROLE_SUPERVISOR, Hello
from parallactic.wire.listener import Listener
from parallactic.wire.memory import SharedMemoryPlane, raise_open_file_limit
from parallactic_backends.multiprocessing.process import WorkerProcess

__all__ = ["MultiprocessingBackend", "MultiprocessingSettings"]


class MultiprocessingSettings(Settings):
    """What can be set for local processes."""

    threads: int | None = Field(
        default=None, ge=1, description="Threads of each worker; by default the cores are shared out."
    )


class MultiprocessingBackend(Backend):
    """Worker processes on this host."""

    name = "multiprocessing"
    Settings = MultiprocessingSettings
    capabilities = Capabilities(shared_memory=True)

    def __init__(self, settings: MultiprocessingSettings, context: RunContext) -> None:
        super().__init__(settings, context)
        self.plane = SharedMemoryPlane()
        self._workers: list[WorkerProcess] = []
        self._count = settings.workers or usable_cores()
        self._threads = settings.threads or max(1, usable_cores() // self._count)
        self._listener = Listener(context.key, self._welcome)

    @classmethod
    def available(cls) -> Availability:
        """Tell how many cores there are."""
        memory = psutil.virtual_memory().total / 1e9
        return Availability(True, f"{usable_cores()} cores, {memory:.0f} GB")

    @property
    def max_workers(self) -> int:
        """Number of workers."""
        return self._count

    @property
    def total_cores(self) -> int:
        """Threads of all workers together, and at least the cores of this host."""
        return max(self._count * self._threads, usable_cores())

    @property
    def total_memory(self) -> int:
        """Memory of this host."""
        return psutil.virtual_memory().total

    def start(self, emit: Emit) -> None:
        """Start all workers; they report when they are ready."""
        self._emit = emit
        raise_open_file_limit()
        self._listener.start()
        for number in range(self._count):
            self._add(number)

    def _add(self, number: int) -> None:
        process = WorkerProcess(number, self._listener.address, self._threads, self.context, self._emit)
        self._workers.append(process)
        process.start()

    def _welcome(self, sock: socket.socket, hello: Hello) -> None:
        self._emit.call(self._connected, sock, hello)

    def _connected(self, sock: socket.socket, hello: Hello) -> None:
        self._listener.taken(sock)
        channel = Channel(sock)
        if hello.worker >= len(self._workers):
            channel.close()
        elif hello.role == ROLE_SUPERVISOR:
            self._workers[hello.worker].supervisor_connected(channel)
        else:
            self._workers[hello.worker].loop_connected(channel, hello.epoch, hello.pid)

    def launch(self, envelopes: Sequence[Envelope]) -> None:
        """Write the tasks to their workers, one write for each worker."""
        touched: dict[int, WorkerProcess] = {}
        for envelope in envelopes:
            if envelope.worker is None:
                raise InvalidSpec(f"task {envelope.task} was launched without a worker.")
            process = self._workers[envelope.worker]
            process.queue(envelope)
            touched[envelope.worker] = process
        for process in touched.values():
            process.flush()

    def cancel(self, task: int, attempt: int, worker: int | None, *, force: bool) -> None:
        """Ask the worker to skip a task it has not begun, or kill it."""
        if worker is None:
            raise InvalidSpec(f"task {task} has no worker to be cancelled on.")
        if force:
            self._workers[worker].kill(task, attempt)
        else:
            self._workers[worker].skip(task, attempt)

    def forget(self, key: int) -> None:
        """Release a value on all workers."""
        for process in self._workers:
            process.forget(key)

    def stop(self, deadline: float, *, detach: bool = False) -> None:
        """Ask all workers to go, and kill those that stay."""
        if detach:
            raise InvalidSpec("backend 'multiprocessing' cannot detach: its workers end with the client.")
        end = time.monotonic() + deadline
        for process in self._workers:
            process.ask_to_stop(deadline)
        # Who is about to connect finds nobody, and goes too.
        self._listener.close()
        for process in self._workers:
            process.wait(end)
