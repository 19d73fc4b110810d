"""A worker in a job, as the client sees it."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping

from parallactic.backend import Broken, Emit, RunContext
from parallactic.errors import BackendUnavailable, LossCause
from parallactic.worker.namespace import hostname
from parallactic_backends.relay.hello import Hello, check_versions
from parallactic_backends.relay.link import Arrival, LinkLost, Order, Report, Way
from parallactic_backends.relay.stream import StreamLink
from parallactic_backends.relay.worker import FORWARDED, RelayedWorker
from parallactic_backends.slurm.yard import Yard
from parallactic_backends.supervised import thread_variables

__all__ = ["SlurmWorker"]


class SlurmWorker(RelayedWorker):
    """A supervisor and its worker, behind the pilot of a job.

    Parameters
    ----------
    number
        The worker's number.
    threads
        Threads it may use.
    context, emit
        Those of the run.
    yard
        Where jobs are had.
    variables
        What is added to the worker's environment.
    """

    backend = "slurm"

    def __init__(
        self,
        number: int,
        threads: int,
        context: RunContext,
        emit: Emit,
        *,
        yard: Yard,
        variables: Mapping[str, str],
    ) -> None:
        super().__init__(number, threads, context, emit)
        self._yard = yard
        self._variables = variables
        self._stream: StreamLink | None = None
        self._host = ""
        self._is_local = False
        self._has_job = self._changes_job = False
        self._idle = False
        """Whether the agent says that no process of the run is left."""

    @property
    def host(self) -> str:
        """Where the worker runs."""
        return self._host or hostname()

    def start(self) -> None:
        """Start a supervisor through the pilot; submit one first, if there is none."""
        if self._stream is not None:
            self.start_supervisor()
        elif not self._has_job:
            self._has_job = True
            self._yard.want(self)

    def pilot_called(self, stream: StreamLink) -> None:
        """Take the connection of a pilot."""
        if self._stream is not None or self.stopping:
            stream.close()
            return
        if self.control is not None or self.data is not None:
            # SLURM began the job again before it was seen to have ended.
            self.both_ended("preempted", f"worker {self.number}: its job was begun again by SLURM.", "")
        self._stream = stream
        self._yard.connected(self.number)
        self.emit.watch(stream.channel, self._read)

    def _read(self) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            arrivals = stream.receive()
        except LinkLost:
            self._hang_up()
            self._yard.hung_up(self.number)
            return
        if self.link is None:
            arrivals = self._greeted(stream, arrivals)
        for arrival in arrivals:
            if arrival.way is Way.AGENT and arrival.message.kind == Report.IDLE:
                self._idle = True
        self.arrived(stream, arrivals)

    def _greeted(self, stream: StreamLink, arrivals: list[Arrival]) -> list[Arrival]:
        if not arrivals:
            return arrivals
        hello = Hello.decode(arrivals[0].message.control)
        try:
            check_versions(hello)
        except BackendUnavailable as error:
            # Every further job would be of the same kind.
            self._hang_up()
            self.emit(Broken(str(error)))
            return []
        self._host, self.link, self._is_local = hello.host, stream, hello.opens_here()
        self.start_supervisor()
        return arrivals[1:]

    def _hang_up(self) -> None:
        if self._stream is not None:
            self.emit.unwatch(self._stream.channel)
            self._stream.close()
            # The scheduler may have killed it before it could clean up.
            self.remove_folders(local=self._is_local)
        self._stream = self.link = None

    def time_is_near(self) -> None:
        """Let the worker end what it has begun, and have another in a new job."""
        self._changes_job = True
        self.retire()

    def parted(self) -> None:
        """Let a job go whose time is near, and ask for the next."""
        if not self._changes_job:
            return
        self._order(Order.LEAVE, json.dumps(False).encode())
        self._hang_up()
        self._yard.give_back(self.number)
        self._has_job = self._changes_job = False
        self.recall()

    def job_ended(self, cause: LossCause, text: str, log_tail: str, *, again: bool) -> None:
        """Learn why the job is gone, and the worker with it; have another in its place."""
        self._has_job = again
        if self._stream is not None:
            self._read()
            self._hang_up()
        self.both_ended(cause, f"worker {self.number}: {text}", log_tail)

    def wake(self) -> None:
        """Send what was posted."""
        stream = self._stream
        if stream is None:
            return
        try:
            done = stream.send()
        except LinkLost:
            return  # what it said last is still to be read
        self.emit.watch_writable(stream.channel, None if done else self.wake)

    def environment(self) -> dict[str, str]:
        """Return the variables of the worker: the library's; the rest the job has from sbatch."""
        own = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
        return own | thread_variables(self.threads) | dict(self._variables)

    def wait(self, end: float) -> None:
        """Have the processes ended until the time `end`, and let the pilot go."""
        if self._stream is not None:
            left = max(0.1, end - time.monotonic())
            self._order(Order.END, json.dumps((left, self.data is not None)).encode())
            # The agent kills what is left after that time.
            self._listen_until_idle(end + 1.0)
            self._order(Order.LEAVE, json.dumps(False).encode())
        self._hang_up()
        self.close_lanes()

    def _listen_until_idle(self, end: float) -> None:
        """Read what the pilot says: the dispatcher's loop, which does so otherwise, has ended."""
        while self._stream is not None and not self._idle:
            ready, _, _ = select.select([self._stream.channel], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return
            self._read()
