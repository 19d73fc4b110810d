"""A worker behind an MPI rank, as the client sees it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from parallactic.backend import Emit, RunContext
from parallactic.worker.namespace import hostname
from parallactic_backends.mpi.pool import Pool, Rank, Start
from parallactic_backends.relay.worker import FORWARDED, RelayedWorker
from parallactic_backends.supervised import thread_variables

__all__ = ["MpiWorker"]


class MpiWorker(RelayedWorker):
    """A supervisor and its worker, next to a rank.

    Parameters
    ----------
    number
        The worker's number.
    threads
        Threads it may use.
    context, emit
        Those of the run.
    pool
        Where ranks are had.
    start
        How its rank is started, if it must be.
    shared_memory
        Whether large objects may go by reference between processes of one host.
    variables
        What is added to the worker's environment.
    """

    backend = "mpi"

    def __init__(
        self,
        number: int,
        threads: int,
        context: RunContext,
        emit: Emit,
        *,
        pool: Pool,
        start: Start,
        shared_memory: bool,
        variables: Mapping[str, str],
    ) -> None:
        super().__init__(number, threads, context, emit)
        self._pool = pool
        self._start = start
        self._shared_memory = shared_memory
        self._variables = variables
        self._rank: Rank | None = None

    @property
    def host(self) -> str:
        """Where the worker runs."""
        hello = self._rank.hello if self._rank is not None else None
        return hello.host if hello is not None else hostname()

    def start(self) -> None:
        """Start a supervisor through the rank; get a rank first, if there is none."""
        if self._rank is None:
            self._pool.engage(self, self._start)
        else:
            self.start_supervisor()

    def rank_ready(self, rank: Rank) -> None:
        """Take a rank into use."""
        if self.stopping:
            self._pool.release(rank)
            return
        self._rank, self.link = rank, rank.link
        rank.link.shares_memory = rank.is_local and self._shared_memory
        self.start_supervisor()

    def rank_failed(self, problem: str) -> None:
        """Learn that no rank could be had; try again, a few times."""
        self.both_ended("exit", f"worker {self.number} got no MPI server: {problem}", "")

    def rank_lost(self, rank: Rank) -> None:
        """Learn that the rank is gone, and the worker with it."""
        if rank is not self._rank:
            return
        text = f"the MPI server of worker {self.number} on {self.host} has died."
        self._rank = self.link = None
        self.remove_folders(local=rank.is_local)
        self.both_ended("unreachable", text, "")

    def wake(self) -> None:
        """Have the link send what was posted, and listen for the answer."""
        if self._rank is not None:
            self._rank.link.send()
        self._pool.wake()

    def environment(self) -> dict[str, str]:
        """Return the variables of the worker: those of the client on its host, the library's elsewhere."""
        local = self._rank is not None and self._rank.is_local
        # What a prefix or a prologue has made of the variables of the client, such as PATH, stays.
        known = {} if self._start.command == Start().command else self._pool.inherited
        own = {
            name: value
            for name, value in os.environ.items()
            if (known.get(name) != value if local else name.startswith(FORWARDED))
        }
        return own | thread_variables(self.threads) | dict(self._variables)

    def wait(self, end: float) -> None:
        """Have the rank's host cleaned until the time `end`, and give the rank back."""
        rank, self._rank = self._rank, None
        self._pool.give_up(self, rank)
        if rank is None:
            return
        idle: threading.Event = rank.idle
        if self.end_run(end, idle) and not rank.lost:
            self._pool.release(rank)
        elif not rank.lost:
            self._pool.discard(rank)
            self.remove_folders(local=rank.is_local)
        self.link = None
        self.close_lanes()
