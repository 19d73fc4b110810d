"""The ranks that serve this process, and the threads that speak to them and spawn them.

Ranks outlast an executor: the next one takes them over, with fresh workers. They end with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from parallactic.backend import Emit
from parallactic.errors import BackendUnavailable
from parallactic.threads import start_in_background
from parallactic.wire.messages import Kind
from parallactic_backends.mpi.launch import Flavour, finalize, flavour, import_mpi
from parallactic_backends.mpi.link import MpiLink
from parallactic_backends.relay.backoff import BackOff, sharpen_sleep
from parallactic_backends.relay.hello import Hello, check_versions
from parallactic_backends.relay.link import Arrival, Link, LinkLost, Order, Report, Way

__all__ = ["Owner", "Pool", "Rank", "Start"]

_SPAWN_SECONDS = 30.0
_HELLO_SECONDS = 5.0
_LEAVE_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """How a server is started: ranks that were started in another way are not taken over.

    Parameters
    ----------
    command
        What is executed, before the entry of a server.
    host
        Where; None lets MPI choose.
    """

    command: tuple[str, ...] = (sys.executable, "-P")
    host: str | None = None


class Owner(Protocol):
    """Who uses a rank: told, on the dispatcher's thread, what happens to it."""

    emit: Emit

    def rank_ready(self, rank: Rank) -> None:
        """Take a rank into use."""

    def rank_failed(self, problem: str) -> None:
        """Learn that no rank could be had."""

    def rank_lost(self, rank: Rank) -> None:
        """Learn that the rank is gone."""

    def arrived(self, link: Link, arrivals: Sequence[Arrival]) -> None:
        """Take what came through the link."""


class Rank:
    """One server of MPI.

    Parameters
    ----------
    link
        To its agent.
    start
        How it was started; None for a rank of this MPI job.
    comm
        Its own communicator, if it was spawned.
    """

    def __init__(self, link: MpiLink, start: Start | None, comm: Any) -> None:
        self.link = link
        self.start = start
        self.comm = comm
        self.hello: Hello | None = None
        self.owner: Owner | None = None
        self.idle = threading.Event()
        self.is_local = False
        """Whether its process can be looked at, and killed, from here."""
        self.lost = False
        self.left = False


class Pool:
    """All ranks of this process. `Pool.of_process` makes the one there is."""

    def __init__(self) -> None:
        self.mpi = import_mpi()
        self._bereft = False
        """Whether a rank of this job has died: MPI can then not end in good order."""
        self.flavour: Flavour = flavour(self.mpi)
        self.inherited = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
        """Variables that spawned ranks have from this process; MPI gives them another temporary folder."""
        world = self.mpi.COMM_WORLD
        world.Set_errhandler(self.mpi.ERRORS_RETURN)
        self.mpi.COMM_SELF.Set_errhandler(self.mpi.ERRORS_RETURN)
        self.world_size = world.Get_size() - 1
        """Servers that the launcher has started; 0 if this process was started alone."""
        self._lock = threading.Lock()
        self._ranks = [
            Rank(MpiLink(self.mpi, world, number), None, None) for number in range(1, self.world_size + 1)
        ]
        self._waiting: list[tuple[Owner, Start | None]] = []
        self._requests: queue.SimpleQueue[Start | None] = queue.SimpleQueue()
        self._spawning: tuple[float, Start | None] = 0.0, None
        self._wake = threading.Event()
        self._closing = False
        self._pump = threading.Thread(target=self._run, name="parallactic-mpi", daemon=True)
        self._spawner = threading.Thread(target=self._spawn_all, name="parallactic-spawn", daemon=True)
        start_in_background(self._pump)
        # Ctrl-C at a terminal reaches the launcher of the servers too; it is the client's to handle.
        start_in_background(self._spawner, [signal.SIGINT])
        atexit.register(self.close)

    @staticmethod
    @cache
    def of_process() -> Pool:
        """Return the pool of this process, and initialise MPI at the first call."""
        return Pool()

    def free(self) -> int:
        """Return how many ranks of this job nobody uses."""
        with self._lock:
            return sum(rank.start is None and rank.owner is None and not rank.lost for rank in self._ranks)

    def hosts(self) -> list[str]:
        """Return the host of each rank of this job that has said hello; waits for those that are late."""
        end = time.monotonic() + _HELLO_SECONDS
        while time.monotonic() < end and any(rank.hello is None for rank in list(self._ranks)):
            time.sleep(1e-3)
        return [rank.hello.host for rank in list(self._ranks) if rank.start is None and rank.hello]

    # For workers

    def engage(self, owner: Owner, start: Start) -> None:
        """Give `owner` a rank: one of this job, an idle one that was started alike, or a new one."""
        with self._lock:
            self._waiting.append((owner, start))
            ready = [rank for rank in self._ranks if rank.owner is None and rank.hello and not rank.lost]
            match = next((rank for rank in ready if rank.start in (None, start)), None)
            coming = sum(rank.owner is None and rank.hello is None and not rank.lost for rank in self._ranks)
            if match is None and coming < len(self._waiting):
                self._requests.put(start)
        if match is not None:
            self._assign(match)
        self._wake.set()

    def give_up(self, owner: Owner, own: Rank | None) -> None:
        """Take back a request for a rank, and any but `own` that `owner` has been given and has not seen."""
        with self._lock:
            self._waiting = [(who, start) for who, start in self._waiting if who is not owner]
            unseen = [rank for rank in self._ranks if rank.owner is owner and rank is not own]
        for rank in unseen:
            self.release(rank)

    def release(self, rank: Rank) -> None:
        """Take back a rank whose agent is idle."""
        rank.owner = None
        self._assign(rank)

    def discard(self, rank: Rank) -> None:
        """Give up a rank that does not answer."""
        if rank.is_local and rank.hello is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank.hello.pid, signal.SIGKILL)
        else:
            _log.warning("an MPI server does not answer and is left alone")
        self._lose(rank)

    def wake(self) -> None:
        """Have what was posted sent now."""
        self._wake.set()

    def _assign(self, rank: Rank) -> None:
        """Give a rank to the first who waits for one like it."""
        with self._lock:
            if rank.owner is not None or rank.lost:
                return
            match = next((pair for pair in self._waiting if rank.start in (None, pair[1])), None)
            if match is None:
                return
            self._waiting.remove(match)
            owner = rank.owner = match[0]
            rank.idle.clear()
        owner.emit.call(owner.rank_ready, rank)

    # The thread that calls MPI

    def _run(self) -> None:
        pauses, moved = BackOff(), False
        sharpen_sleep()
        while not self._closing:
            in_use = busy = False
            for rank in list(self._ranks):
                if not rank.lost:
                    moved |= self._serve(rank)
                    busy |= rank.link.busy
                    in_use |= rank.owner is not None or rank.hello is None
            self._look_at_spawning()
            moved = self._wake.wait(pauses.next(moved=moved, busy=busy, in_use=in_use))
            if moved:
                self._wake.clear()

    def _serve(self, rank: Rank) -> bool:
        """Do what can be done for one rank; return whether it said more than that it lives."""
        try:
            arrivals = rank.link.progress()
        except LinkLost:
            self._lose(rank)
            return True
        if not arrivals:
            return False
        others = [arrival for arrival in arrivals if not self._is_for_pool(rank, arrival)]
        owner = rank.owner
        if others and owner is not None:
            owner.emit.call_here(owner.arrived, rank.link, others)
        return any(arrival.message.kind != Kind.BEAT for arrival in arrivals)

    def _is_for_pool(self, rank: Rank, arrival: Arrival) -> bool:
        way, message = arrival
        if way is not Way.AGENT:
            return False
        if message.kind == Report.HELLO:
            self._greet(rank, Hello.decode(message.control))
        elif message.kind == Report.IDLE:
            rank.idle.set()
        elif message.kind == Report.LEFT:
            rank.left = True
        else:
            return False
        return True

    def _greet(self, rank: Rank, hello: Hello) -> None:
        rank.hello = hello
        rank.is_local = rank.link.shares_memory = hello.opens_here()
        try:
            check_versions(hello)
        except BackendUnavailable as error:
            self._refuse(rank.start, str(error))
            self._lose(rank)
            return
        self._assign(rank)

    def _lose(self, rank: Rank) -> None:
        with self._lock:
            if rank.lost:
                return
            rank.lost = True
            self._ranks.remove(rank)
            self._bereft |= rank.start is None
        rank.link.close()
        rank.idle.set()
        owner = rank.owner
        if owner is not None:
            owner.emit.call(owner.rank_lost, rank)
        elif rank.hello is None:
            self._refuse(rank.start, "the rank ended before it said a word.")

    def _refuse(self, start: Start | None, problem: str) -> None:
        """Tell the first who waits for such a rank that there is none."""
        with self._lock:
            match = next((pair for pair in self._waiting if start in (None, pair[1])), None)
            if match is None:
                return
            self._waiting.remove(match)
        owner = match[0]
        owner.emit.call(owner.rank_failed, problem)

    # The thread that spawns

    def _spawn_all(self) -> None:
        while (start := self._requests.get()) is not None:
            if not self._is_wanted(start):
                continue
            self._spawning = time.monotonic(), start
            try:
                comm = self._spawn(start)
            except self.mpi.Exception as error:
                self._spawning = 0.0, None
                self._refuse(start, f"MPI cannot spawn a server: {error}.")
                continue
            rank = Rank(MpiLink(self.mpi, comm, 0), start, comm)
            with self._lock:
                self._ranks.append(rank)
            self._spawning = 0.0, None
            self._wake.set()

    def _is_wanted(self, start: Start) -> bool:
        """Tell whether more wait for such a rank than are on their way."""
        with self._lock:
            waiting = sum(start == other for _, other in self._waiting)
            coming = sum(rank.start == start and rank.hello is None for rank in self._ranks)
            return waiting > coming

    def _look_at_spawning(self) -> None:
        """Tell who waits if MPI does not come back with a server: it hangs if that one fails early."""
        begun, start = self._spawning
        if start is not None and time.monotonic() - begun > _SPAWN_SECONDS:
            self._spawning = time.monotonic(), start
            self._refuse(
                start,
                f"MPI did not start one within {_SPAWN_SECONDS:.0f} s; see what it printed, "
                "and try: parallactic doctor --backend mpi.",
            )

    def _spawn(self, start: Start) -> Any:
        info = self.mpi.Info.Create()
        if start.host is not None:
            info.Set("host", start.host)
        program, *arguments = [*start.command, "-m", "parallactic_backends.mpi"]
        comm = self.mpi.COMM_SELF.Spawn(program, arguments, maxprocs=1, info=info)
        comm.Set_errhandler(self.mpi.ERRORS_RETURN)
        info.Free()
        return comm

    # The end

    def close(self) -> None:
        """End all ranks."""
        self._requests.put(None)
        self._spawner.join(_LEAVE_SECONDS)
        if self._spawner.is_alive():
            _log.critical("MPI is still starting a server and cannot end in good order")
            self.mpi.COMM_SELF.Abort(1)
        for rank in self._ranks:
            rank.link.post(Way.AGENT, Order.LEAVE, json.dumps(self._bereft).encode())
        end = time.monotonic() + _LEAVE_SECONDS
        while time.monotonic() < end and any(not rank.left for rank in list(self._ranks)):
            self._wake.set()
            time.sleep(1e-3)
        self._closing = True
        self._wake.set()
        self._pump.join()
        for rank in list(self._ranks):
            if not rank.left:
                self.discard(rank)
            elif rank.comm is not None:
                with contextlib.suppress(self.mpi.Exception):  # it may have died in this very moment
                    rank.comm.Disconnect()
        if not self._bereft:
            finalize(self.mpi)
