"""One worker process of this host, as the client sees it."""

from __future__ import annotations

import os
import subprocess
import time
from typing import cast

from parallactic.backend import Emit, RunContext
from parallactic.wire.framing import Channel, Lane
from parallactic.worker.launch import start_supervisor
from parallactic.worker.supervisor import tail
from parallactic_backends.supervised import SupervisedWorker, thread_variables

__all__ = ["WorkerProcess"]


class WorkerProcess(SupervisedWorker):
    """A supervisor that is a child of this process; both of its channels are sockets of this host."""

    backend = "multiprocessing"

    def __init__(self, number: int, address: str, threads: int, context: RunContext, emit: Emit) -> None:
        super().__init__(number, threads, context, emit)
        self._address = address
        self._pidfd = -1
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the supervisor, which forks the worker and connects back."""
        self._popen = start_supervisor(
            self._address,
            self.context.key_file,
            self.number,
            self.epoch,
            self.log,
            dict(os.environ) | thread_variables(self.threads),
        )
        # A supervisor that never gets as far as to connect is noticed by its end.
        self._pidfd = os.pidfd_open(self._popen.pid)
        self.emit.watch(self._pidfd, self._supervisor_exited)

    def attend(self, lane: Lane) -> None:
        """Have the socket watched."""
        self.emit.watch(lane, self._read_control if lane is self.control else self._read_data)

    def leave(self, lane: Lane) -> None:
        """Close the socket."""
        self.emit.unwatch(lane)
        cast("Channel", lane).close()

    def await_room(self, lane: Lane, *, full: bool) -> None:
        """Flush again when the socket takes more."""
        self.emit.watch_writable(lane, self.flush if full else None)

    def wait(self, end: float) -> None:
        """Wait for the processes to end until the time `end`, then kill them; close all connections."""
        if self._popen is not None:
            if self.control is None:
                # It has not connected yet and so cannot be asked.
                self._popen.kill()
            try:
                self._popen.wait(max(0.1, end + 0.5 - time.monotonic()))
            except subprocess.TimeoutExpired:
                # Its child is tied to it and dies with it.
                self._popen.kill()
                self._popen.wait()
        self.close_lanes()
        self._close_pidfd()

    def _read_data(self) -> None:
        if self.data is None:
            return
        try:
            messages = cast("Channel", self.data).receive()
        except EOFError:
            # What the supervisor says about the end follows; until then there is nothing to read.
            self.emit.unwatch(self.data)
            return
        self.data_arrived(messages)

    def _read_control(self) -> None:
        if self.control is None:
            return
        try:
            messages = cast("Channel", self.control).receive()
        except EOFError:
            self.emit.unwatch(self.control)
            return
        self.control_arrived(messages)

    def _supervisor_exited(self) -> None:
        self._close_pidfd()
        if self.stopping or self._popen is None:
            return
        # The last word of the supervisor may still be in the socket.
        self._read_control()
        self.supervisor_ended(self._popen.wait(), tail(self.log))

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            self.emit.unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
