"""One worker process of this host, as the client sees it."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import parallactic
from parallactic.backend import (
    Broken,
    Emit,
    Finished,
    Heartbeat,
    Logged,
    Printed,
    RunContext,
    Skipped,
    Spared,
    WorkerDown,
    WorkerUp,
)
from parallactic.errors import LossCause
from parallactic.wire.envelopes import Envelope
from parallactic.wire.framing import Channel, Message
from parallactic.wire.messages import Kind, Outbox, receive_outcome
from parallactic.worker.namespace import hostname
from parallactic.worker.supervisor import tail

__all__ = ["WorkerProcess"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_MAX_FALSE_STARTS = 3


class WorkerProcess:
    """A supervisor, the worker it forked, the two connections to them, and their replacements."""

    def __init__(self, number: int, address: str, threads: int, context: RunContext, emit: Emit) -> None:
        self._number = number
        self._address = address
        self._threads = threads
        self._context = context
        self._emit = emit
        self._epoch = 0
        self._pid = 0
        self._pidfd = -1
        self._false_starts = 0
        self._stopping = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._control: Channel | None = None
        self._data: Channel | None = None
        self._outbox: Outbox | None = None
        self._log = str(context.run_dir / f"worker-{number}.log")

    def start(self) -> None:
        """Start the supervisor, which forks the worker and connects back."""
        environment = dict(os.environ)
        for variable in _THREAD_VARIABLES:
            environment[variable] = str(self._threads)
        home = str(Path(parallactic.__file__).parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [home, environment.get("PYTHONPATH")]))
        # -P: a file of the current folder must not stand in for a module of the library.
        command = [sys.executable, "-P", "-m", "parallactic.worker", self._address, self._context.key_file]
        with open(self._log, "ab", opener=_private) as log:
            self._popen = subprocess.Popen(
                [*command, str(self._number), str(self._epoch), self._log],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is the client's to handle
            )
        # A supervisor that never gets as far as to connect is noticed by its end.
        self._pidfd = os.pidfd_open(self._popen.pid)
        self._emit.watch(self._pidfd, self._supervisor_ended)

    def supervisor_connected(self, channel: Channel) -> None:
        """Take the connection of the supervisor."""
        self._control = channel
        self._emit.watch(channel, self._read_control)
        if self._stopping:
            self.ask_to_stop(1.0)

    def loop_connected(self, channel: Channel, epoch: int, pid: int) -> None:
        """Take the connection of the worker, and tell it what it must know."""
        if epoch != self._epoch or self._stopping:
            channel.close()
            return
        self._data = channel
        self._outbox = Outbox(channel)
        self._pid = pid
        settings = {
            "worker": self._number,
            "epoch": epoch,
            "backend": "multiprocessing",
            "cores": self._threads,
            "path": sys.path,
            "folder": str(Path.cwd()),
            "log_level": self._context.log_level,
        }
        channel.queue(Kind.WELCOME, pickle.dumps(settings, 5))
        self._emit.watch(channel, self._read_data)
        self.flush()

    def queue(self, envelope: Envelope) -> None:
        """Put a task into the outgoing queue."""
        if self._outbox is not None:
            self._outbox.task(envelope)

    def skip(self, task: int, attempt: int) -> None:
        """Ask the worker to drop a task it has not begun."""
        if self._data is not None:
            self._data.queue(Kind.SKIP, pickle.dumps((task, attempt), 5))
            self.flush()

    def forget(self, key: int) -> None:
        """Release a value."""
        if self._outbox is not None:
            self._outbox.forget(key)
            self.flush()

    def flush(self) -> None:
        """Write what is queued; the rest is written when the worker has read some."""
        if self._data is None:
            return
        try:
            done = self._data.flush()
        except OSError:
            # The worker is dead; its supervisor is about to say why.
            return
        self._emit.watch_writable(self._data, None if done else self.flush)

    def kill(self, task: int, attempt: int) -> None:
        """Kill the worker if it runs this attempt; the supervisor reports it and forks the next."""
        self._tell(Kind.KILL, json.dumps((task, attempt)).encode())

    def _tell(self, kind: Kind, content: bytes) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):  # a dead supervisor is noticed by its end
                self._control.queue(kind, content)
                self._control.flush()

    def ask_to_stop(self, grace: float) -> None:
        """Ask the worker to go, and the supervisor to kill it after `grace` seconds."""
        self._stopping = True
        if self._data is not None:
            with contextlib.suppress(OSError):
                self._data.queue(Kind.STOP, b"")
                self._data.flush()
        self._tell(Kind.QUIT, json.dumps(grace).encode())

    def wait(self, end: float) -> None:
        """Wait for the processes to end until the time `end`, then kill them; close all connections."""
        if self._popen is not None:
            if self._control is None:
                # It has not connected yet and so cannot be asked.
                self._popen.kill()
            try:
                self._popen.wait(max(0.1, end + 0.5 - time.monotonic()))
            except subprocess.TimeoutExpired:
                # Its child is tied to it and dies with it.
                self._popen.kill()
                self._popen.wait()
        for channel in (self._control, self._data):
            if channel is not None:
                self._emit.unwatch(channel)
                channel.close()
        self._control = self._data = self._outbox = None
        self._close_pidfd()

    def _read_data(self) -> None:
        if self._data is None:
            return
        try:
            messages = self._data.receive()
        except EOFError:
            # What the supervisor says about the end follows; until then there is nothing to read.
            self._emit.unwatch(self._data)
            return
        self._handle(messages)

    def _handle(self, messages: list[Message]) -> None:
        for message in messages:
            match message.kind:
                case Kind.DONE:
                    self._emit(Finished(receive_outcome(message), self._number))
                case Kind.SKIPPED:
                    task, attempt = pickle.loads(message.control)
                    self._emit(Skipped(task, attempt, self._number))
                case Kind.LOG:
                    self._emit(Logged(pickle.loads(message.control)))
                case Kind.OUTPUT:
                    stream, text = pickle.loads(message.control)
                    self._emit(Printed(stream, text, self._number))
                case Kind.READY:
                    self._ready()

    def _ready(self) -> None:
        self._false_starts = 0
        self._emit(WorkerUp(self._number, self._epoch, hostname(), self._pid, self._threads, self._log))

    def _read_control(self) -> None:
        if self._control is None:
            return
        try:
            messages = self._control.receive()
        except EOFError:
            self._emit.unwatch(self._control)
            return
        for message in messages:
            content = json.loads(message.control)
            if message.kind == Kind.SPARED:
                self._emit(Spared(self._number, content["epoch"]))
            elif message.kind == Kind.BEAT:
                self._emit(Heartbeat(self._number, content["epoch"], content["state"]))
            elif message.kind == Kind.EXIT and content["epoch"] == self._epoch:
                started = tuple(content["started"])
                self._worker_ended(content["code"], content["tail"], started, oom=content["oom"])
                self._tell(Kind.SPAWN, json.dumps(self._epoch).encode())

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._emit.unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _supervisor_ended(self) -> None:
        self._close_pidfd()
        if self._stopping or self._popen is None:
            return
        if self._control is not None:
            # The last word of the supervisor may still be in the socket.
            self._read_control()
            self._emit.unwatch(self._control)
            self._control.close()
            self._control = None
        self._worker_ended(self._popen.wait(), tail(self._log), None, oom=False)
        if not self._stopping:
            self.start()

    def _worker_ended(self, code: int, log_tail: str, started: tuple[int, int] | None, *, oom: bool) -> None:
        if self._data is not None:
            self._handle(self._data.drain())
            self._emit.unwatch(self._data)
            self._data.close()
        was_up = self._outbox is not None
        self._data = self._outbox = None
        if self._stopping:
            return
        cause, message = _explain(self._number, code, oom=oom)
        self._emit(WorkerDown(self._number, self._epoch, cause, message, log_tail, started))
        self._epoch += 1
        if not was_up:
            self._false_starts += 1
            if self._false_starts >= _MAX_FALSE_STARTS:
                self._stopping = True
                self._emit(
                    Broken(
                        f"worker {self._number} failed to start {_MAX_FALSE_STARTS} times: {message} "
                        f"It last wrote:\n{log_tail}"
                    )
                )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _explain(number: int, code: int, *, oom: bool) -> tuple[LossCause, str]:
    if code >= 0:
        return "exit", f"the process of worker {number} ended with exit code {code}."
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    if oom and -code == signal.SIGKILL:
        return (
            "oom",
            f"the kernel killed worker {number} because memory ran out; "
            "give tasks less, or use fewer workers.",
        )
    return "signal", f"worker {number} was ended by {name}."
