"""The backend ``multiprocessing``: worker processes on this host, each under a small supervisor.

Workers are started as ``python -m parallactic.worker``, so scripts need no main guard and no threaded process
is forked. They connect back to a Unix socket in a private folder and both ends prove the run's key.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from pydantic import Field

from parallactic.backend import Availability, Backend, Capabilities, Emit, RunContext, Settings, usable_cores
from parallactic.errors import InvalidSpec
from parallactic.wire import auth
from parallactic.wire.envelopes import Envelope
from parallactic.wire.framing import Channel
from parallactic.wire.memory import SharedMemoryPlane, raise_open_file_limit
from parallactic.worker.supervisor import HELLO, ROLE_SUPERVISOR
from parallactic_backends.multiprocessing.process import WorkerProcess

__all__ = ["MultiprocessingBackend", "MultiprocessingSettings"]

_HANDSHAKE_SECONDS = 10.0


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
        # A socket's path has at most 108 bytes, which a run folder may exceed.
        self._folder = Path(tempfile.mkdtemp(prefix="parallactic-"))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._acceptor: threading.Thread | None = None

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
        address = self._folder / "socket"
        self._listener.bind(str(address))
        self._listener.listen(128)
        self._acceptor = threading.Thread(target=self._accept, name="parallactic-accept", daemon=True)
        self._acceptor.start()
        for number in range(self._count):
            self._add(number)

    def _add(self, number: int) -> None:
        process = WorkerProcess(number, str(self._folder / "socket"), self._threads, self.context, self._emit)
        self._workers.append(process)
        process.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # the listener was closed: the end of the run
            if self._listener.fileno() < 0:
                sock.close()
                return
            # A stranger who says nothing must not keep workers waiting.
            threading.Thread(
                target=self._welcome, args=(sock,), name="parallactic-welcome", daemon=True
            ).start()

    def _welcome(self, sock: socket.socket) -> None:
        sock.settimeout(_HANDSHAKE_SECONDS)
        try:
            auth.accept(sock, self.context.key)
            hello = sock.recv(HELLO.size, socket.MSG_WAITALL)
            role, number, epoch, pid = HELLO.unpack(hello)
        except (OSError, ValueError) as error:
            self._refused(sock, error)
            return
        sock.setblocking(False)
        self._emit.call(self._connected, Channel(sock), role, number, epoch, pid)

    def _refused(self, sock: socket.socket, error: Exception) -> None:
        import logging

        logging.getLogger(__name__).warning(
            "a connection to run %s was refused: %s", self.context.name, error
        )
        sock.close()

    def _connected(self, channel: Channel, role: int, number: int, epoch: int, pid: int) -> None:
        if number >= len(self._workers):
            channel.close()
        elif role == ROLE_SUPERVISOR:
            self._workers[number].supervisor_connected(channel)
        else:
            self._workers[number].loop_connected(channel, epoch, pid)

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
            self._workers[worker].kill()
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
        for process in self._workers:
            process.wait(end)
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        finally:
            self._listener.close()
        if self._acceptor is not None:
            self._acceptor.join(timeout=1)
        shutil.rmtree(self._folder)
