"""The backend ``multiprocessing``: worker processes on this host, each under a small supervisor.

Workers are started as ``python -m parallactic.worker``, so scripts need no main guard and no threaded process
is forked. They connect back to a Unix socket in a private folder and both ends prove the run's key.
"""

from __future__ import annotations

import socket

import psutil
from pydantic import Field

from parallactic.backend import Availability, Capabilities, Emit, RunContext, Settings, usable_cores
from parallactic.wire.framing import Channel
from parallactic.wire.hello import ROLE_SUPERVISOR, Hello
from parallactic.wire.listener import Listener
from parallactic.wire.memory import SharedMemoryPlane, raise_open_file_limit
from parallactic_backends.multiprocessing.process import WorkerProcess
from parallactic_backends.supervised import SupervisedBackend

__all__ = ["MultiprocessingBackend", "MultiprocessingSettings"]


class MultiprocessingSettings(Settings):
    """What can be set for local processes."""

    threads: int | None = Field(
        default=None, ge=1, description="Threads of each worker; by default the cores are shared out."
    )


class MultiprocessingBackend(SupervisedBackend[WorkerProcess]):
    """Worker processes on this host."""

    name = "multiprocessing"
    Settings = MultiprocessingSettings
    capabilities = Capabilities(shared_memory=True, output=True, elastic=True)

    def __init__(self, settings: MultiprocessingSettings, context: RunContext) -> None:
        super().__init__(settings, context)
        self.plane = SharedMemoryPlane()
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

    def resize(self, workers: int) -> None:
        """Start or end worker processes; the threads of each stay as they are."""
        self._count = workers
        self.resize_workers(workers)
        for number in range(len(self.workers), workers):
            self._add(number)

    def _add(self, number: int) -> None:
        process = WorkerProcess(number, self._listener.address, self._threads, self.context, self._emit)
        self.workers.append(process)
        process.start()

    def _welcome(self, sock: socket.socket, hello: Hello) -> None:
        self._emit.call(self._connected, sock, hello)

    def _connected(self, sock: socket.socket, hello: Hello) -> None:
        self._listener.taken(sock)
        channel = Channel(sock)
        if hello.worker >= len(self.workers):
            channel.close()
        elif hello.role == ROLE_SUPERVISOR:
            self.workers[hello.worker].supervisor_connected(channel)
        else:
            self.workers[hello.worker].loop_connected(channel, hello.epoch, hello.pid)

    def close_door(self) -> None:
        """Let no further worker connect."""
        self._listener.close()
