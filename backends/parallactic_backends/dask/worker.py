"""A worker beside a Dask worker, as the client sees it."""

from __future__ import annotations

import json
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from parallactic.backend import Emit, Finished, RunContext, Started
from parallactic.errors import LossCause
from parallactic.wire.envelopes import Envelope, Outcome, Stats
from parallactic.wire.framing import Message
from parallactic.wire.payload import Payload
from parallactic.worker.namespace import hostname
from parallactic.worker.supervisor import MEMORY_LIMIT
from parallactic_backends.dask.plane import DaskBlock
from parallactic_backends.relay.link import Link, Order, Report, Way
from parallactic_backends.relay.worker import FORWARDED, RelayedWorker
from parallactic_backends.supervised import thread_variables

if TYPE_CHECKING:
    from parallactic_backends.dask.fleet import Berth

__all__ = ["DaskWorker"]

_FALSE = json.dumps(False).encode()


class DaskWorker(RelayedWorker):
    """A supervisor and its worker, beside a Dask worker.

    Parameters
    ----------
    number
        The worker's number.
    threads
        Threads it may use.
    context, emit
        Those of the run.
    seek, unseek
        Called when the worker needs a place in the cluster, and when it needs none any more.
    keep
        Makes a block of a key and its size.
    began
        Called with a task of Dask's and its attempt before it is reported that it begins.
    ended
        Called with a task, its attempt, and whether Dask keeps the result, after the end was reported.
    variables
        What is added to the worker's environment.
    memory
        Bytes that the worker may have; 0 for no limit.
    """

    backend = "dask"

    def __init__(
        self,
        number: int,
        threads: int,
        context: RunContext,
        emit: Emit,
        *,
        seek: Callable[[DaskWorker], None],
        unseek: Callable[[DaskWorker], None],
        keep: Callable[[str, int], DaskBlock],
        began: Callable[[int, int], None],
        ended: Callable[[int, int, bool], None],
        variables: Mapping[str, str],
        memory: int,
    ) -> None:
        super().__init__(number, threads, context, emit)
        self._seek, self._unseek = seek, unseek
        self._keep = keep
        self._began = began
        self._ended = ended
        self._variables = variables
        self._memory = memory
        self.idle = threading.Event()
        """Set when the agent says that no process of the run is left."""

        self.addressed = False
        """Whether its namespace may hold something that no setup brings back, or somebody waits for it."""

        self.berth: Berth | None = None
        self.bringing: deque[Envelope] = deque()
        """Tasks that wait for inputs which are brought here, and those behind them."""

    @property
    def host(self) -> str:
        """Where the worker runs."""
        return self.berth.host if self.berth is not None else hostname()

    def start(self) -> None:
        """Start a supervisor beside the Dask worker; seek one first, if there is none."""
        if self.berth is None:
            self._seek(self)
        else:
            self.start_supervisor()

    def moor(self, berth: Berth, link: Link) -> None:
        """Take a place beside a Dask worker into use."""
        if self.away:
            link.post(Way.AGENT, Order.LEAVE, _FALSE)
            return
        self.berth, self.link = berth, link
        self.addressed = False
        self.start_supervisor()

    def lost(self, link: Link, cause: LossCause, why: str) -> None:
        """Learn that the Dask worker is gone, and the worker with it."""
        if link is not self.link or self.berth is None:
            return
        self.idle.set()
        text = f"the Dask worker of worker {self.number} on {self.host}, {self.berth.address}, is gone"
        self.remove_folders(local=self.berth.is_local)
        self.berth = self.link = None
        if self.away:
            if self._returns or self.resting:
                self.resting = False
                self._come_again()
        elif self.is_up or self.leaving:
            self.both_ended(cause, f"{text}: {why}." if why else f"{text}.", "")
        elif not self.stopping:
            # Nobody has heard of it: it begins anew at the next place.
            self.close_lanes()
            self.start()

    def retire(self) -> None:
        """Let the worker end what it has begun and then go; if it has no place yet, it seeks none."""
        super().retire()
        if self.berth is None and not self.away:
            self.away = True
            self._unseek(self)
            text = f"worker {self.number} was not there yet and is not needed."
            self.emit.call(self.worker_ended, "exit", text, "", (0, 0))

    def rest(self) -> None:
        """Let the worker go, and seek a place again: there may be another when there is more to do."""
        self.resting = True
        self.retire()

    def recall(self) -> None:
        """Have a worker again in the place of one that leaves, or has left."""
        if self.away and self.berth is None:
            self._come_again()
        elif self.leaving:
            self._returns = True

    def parted(self) -> None:
        """Give the place back."""
        self._order(Order.LEAVE, _FALSE)

    def worker_ended(
        self, cause: LossCause, text: str, log_tail: str, started: tuple[int, int] | None
    ) -> None:
        """Report the death of the worker, after all it sent."""
        self.bringing.clear()
        self.addressed = False
        super().worker_ended(cause, text, log_tail, started)

    def admit(self) -> None:
        """Let tasks of Dask's come to the worker."""
        self._order(Order.ADMIT, json.dumps(self.epoch).encode())

    def wake(self) -> None:
        """Nothing: the link wakes its loop itself."""

    def environment(self) -> dict[str, str]:
        """Return the variables of the worker: those of the client on its host, the library's elsewhere."""
        local = self.berth is not None and self.berth.is_local
        own = {name: value for name, value in os.environ.items() if local or name.startswith(FORWARDED)}
        limit = {MEMORY_LIMIT: str(self._memory)} if self._memory else {}
        return own | thread_variables(self.threads) | dict(self._variables) | limit

    def _reported(self, link: Link, message: Message) -> None:
        match message.kind:
            case Report.STARTED:
                task, attempt = json.loads(message.control)
                self._began(task, attempt)
                self.emit(Started(task, attempt, self.number))
            case Report.KEPT:
                self._kept(message)
            case _:
                super()._reported(link, message)

    def task_ended(self, outcome: Outcome) -> None:
        """Report the end of a task; Dask may forget it."""
        super().task_ended(outcome)
        self._ended(outcome.task, outcome.attempt, False)

    def _kept(self, message: Message) -> None:
        (task, attempt, ok, *stats), head, spans, size, key = pickle.loads(message.control)
        payload = Payload(head, message.buffers, self._keep(key, size), spans)
        self.emit(Finished(Outcome(task, attempt, ok, payload, Stats(*stats)), self.number))
        self._ended(task, attempt, True)

    def wait(self, end: float) -> None:
        """Have the processes ended until the time `end`."""
        if self.link is not None:
            self.end_run(end, self.idle)
            self._order(Order.LEAVE, _FALSE)
        self.close_lanes()
        self.berth = self.link = None
