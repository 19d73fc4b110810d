"""The backend ``dask``: Dask balances and moves untargeted work, and workers of ours run it.

Beside every Dask worker an agent runs a supervisor and a worker, as `multiprocessing` does. A task without a
target is a task of Dask's: Dask chooses where it runs, waits for its inputs and keeps its result. What is
addressed to one worker goes there by a connection of its own, in strict order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import psutil

from parallactic.backend import (
    Availability,
    Broken,
    Capabilities,
    Check,
    Emit,
    Lost,
    RunContext,
    Skipped,
    TaskSpec,
    usable_cores,
)
from parallactic.errors import InvalidSpec, LossCause, WorkerLost
from parallactic.wire.envelopes import Envelope
from parallactic.wire.memory import raise_open_file_limit
from parallactic.worker.namespace import hostname
from parallactic_backends.dask.plane import DaskBlock, DaskPlane
from parallactic_backends.dask.settings import DaskSettings
from parallactic_backends.dask.worker import DaskWorker
from parallactic_backends.supervised import SupervisedBackend

if TYPE_CHECKING:
    from parallactic_backends.dask.own import OwnCluster

__all__ = ["DaskBackend", "DaskSettings"]

_log = logging.getLogger(__name__)


class DaskBackend(SupervisedBackend[DaskWorker]):
    """Workers beside those of a Dask cluster."""

    name = "dask"
    Settings = DaskSettings
    capabilities = Capabilities(
        queues=True,
        native_dependencies=True,
        shared_memory=True,
        several_hosts=True,
        output=True,
        resources=frozenset({"gpus"}),
        elastic=True,
    )

    def __init__(self, settings: DaskSettings, context: RunContext) -> None:
        from parallactic_backends.dask.clusters import connect

        super().__init__(settings, context)
        raise_open_file_limit()
        self.plane = DaskPlane()
        self._stopping = False
        connection = connect(settings, context)
        from parallactic_backends.dask.session import Session

        try:
            self._session = Session(connection, settings.threads)
            self._supply = self._session.supply
            self._cluster: OwnCluster | None = connection.cluster
            if self._cluster is None:
                self.capabilities = replace(self.capabilities, elastic=False)
            self._names: dict[str, str] = {}
            self._resting: set[str] = set()
            self._count = settings.workers or connection.workers or self._supply.places(settings.threads)
            self.dashboard = self._session.dashboard if settings.dashboard else ""
        except BaseException:
            connection.close(1.0)
            raise

    @property
    def client(self) -> Any:
        """The ``distributed.Client`` of this run."""
        return self._session.client

    @classmethod
    def available(cls) -> Availability:
        """Tell whether Dask is installed."""
        missing = [name for name in ("dask", "distributed") if find_spec(name) is None]
        if missing:
            return Availability(
                False, f"{' and '.join(missing)} not found", "pip install 'parallactic[dask]'"
            )
        return Availability(True, "starts a local cluster, or joins one")

    @classmethod
    def diagnose(cls, settings: Any) -> Iterator[Check]:
        """Look at Dask's packages, and at the scheduler that is named."""
        from parallactic_backends.dask.diagnose import diagnose

        yield from diagnose(settings)

    @property
    def max_workers(self) -> int:
        """Number of workers."""
        # On a cluster of others the run may have grown with it.
        return self._count if self._cluster is not None else max(self._count, len(self.workers))

    @property
    def total_cores(self) -> int:
        """Threads of all workers together, and at least the cores of this host."""
        threads: int = self.settings.threads
        return max(self.max_workers * threads, self._supply.cores, usable_cores())

    @property
    def total_memory(self) -> int:
        """Memory of all Dask workers; of this host, if they do not tell."""
        return self._supply.memory or psutil.virtual_memory().total

    def refuse(self, spec: TaskSpec, worker: int | None = None) -> None:
        """Refuse resources that no Dask worker has, or not the one beside a worker.

        Raises
        ------
        InvalidSpec
            With what was asked for and what there is.
        """
        # Workers that are still to be started have no place yet.
        berth = self.workers[worker].berth if worker is not None and worker < len(self.workers) else None
        self._supply.refuse(spec, berth.address if berth is not None else None)

    def start(self, emit: Emit) -> None:
        """Seek a place for each worker; they report when they are ready."""
        from parallactic_backends.dask.fleet import Fleet
        from parallactic_backends.dask.presence import watch

        self._emit = emit
        session = self._session
        self._fleet = Fleet(
            session.client,
            session.name,
            emit,
            lambda berth: emit.call(self._grow, berth),
            lambda text: emit(Broken(text)),
            self._why,
            shares_memory=self.settings.shared_memory,
        )
        for _ in range(self._count):
            self._add()
        session.listen(emit, self._heard)
        self._run(self._fleet.watch_scheduler(self._look))
        self._run(watch(session.client))
        if self._cluster is not None:
            self._cluster.fail = lambda text: emit(Broken(text))
            if self.settings.adaptive:
                self._adapt(self._cluster, *self.settings.adaptive)
        if self.dashboard:
            _log.info("Dask's dashboard: %s%s", self.dashboard, _tunnel(self.dashboard))

    def _add(self) -> None:
        worker = DaskWorker(
            len(self.workers),
            self.settings.threads,
            self.context,
            self._emit,
            seek=self._fleet.seek,
            unseek=self._fleet.unseek,
            keep=self._session.keep,
            began=self._session.began,
            ended=self._ended,
            variables=self.settings.environment,
            memory=self.settings.memory_limit or 0,
        )
        self.workers.append(worker)
        worker.start()

    def _ended(self, task: int, attempt: int, kept: bool) -> None:
        # After the dispatcher has taken the end: until then a task that follows names this one.
        self._emit.call(lambda: self._session.ended(task, attempt, kept=kept))

    def _grow(self, berth: Any) -> None:
        """Take a place that nobody sought, if nobody said how many there should be."""
        if self.settings.workers is None and self._cluster is None:
            _log.info("the Dask worker %s has joined", berth.address)
            self._add()

    def _heard(self, event: dict[str, Any]) -> None:
        if "joined" in event:
            self._supply.joined(event["joined"], event["threads"], event["memory"], event["resources"])
            self._names[event["joined"]] = event["name"]
            if self._cluster is not None:
                self._cluster.has_joined(event["name"])
            self._fleet.joined(event)
        elif "left" in event:
            if not self._supply.left(event["left"]) and not self._stopping:
                _log.warning(
                    "the Dask worker %s left before it could be used. If Parallactic is not installed there, "
                    "its log says so: it needs the client's version.",
                    event["left"],
                )
            self._fleet.left(event["left"])
            self._fleet.keep(self._after(event["left"]))
        elif "stuck" in event:
            self._session.stuck(event["stuck"])
        elif "trouble" in event:
            _log.warning("%s", event["trouble"])

    async def _after(self, address: str) -> None:
        await self._fleet.gone(address)
        if self._cluster is not None and address in self._names and not self._stopping:
            self._cluster.soon(self._cluster.renew, self._names[address])

    async def _why(self, address: str) -> tuple[LossCause, str]:
        cause, text = "", ""
        if self._cluster is not None and not self._stopping:
            asking = asyncio.run_coroutine_threadsafe(
                self._cluster.cause(self._names[address]), self._cluster.loop.asyncio_loop
            )
            cause, text = await asyncio.wrap_future(asking)
        return cast("LossCause", cause or "unreachable"), text

    # How many

    def resize(self, workers: int) -> None:
        """Have so many workers, on a cluster of our own."""
        if self._cluster is None:
            raise InvalidSpec(
                f"backend 'dask' cannot change its number of workers to {workers}: the cluster is another's. "
                "Start or end Dask workers there; without workers= the run follows."
            )
        if self.settings.adaptive:
            raise InvalidSpec(f"resize({workers}) cannot be had with adaptive: Dask chooses the number.")
        self._count = workers
        self.resize_workers(workers)
        for _ in range(len(self.workers), workers):
            self._add()
        self._cluster.soon(self._cluster.keep, self._cluster.units(workers))

    def _look(self) -> None:
        """Look for what is lost or silent, and for Dask workers that nobody needs any more."""
        self._session.look_for_lost()
        self._fleet.keep(self._session.set_silent(self._fleet.silent()))
        cluster = self._cluster
        if cluster is None or self._stopping:
            return
        surplus = cluster.surplus
        vacant = self._fleet.vacant() if surplus else []
        for unit in dict.fromkeys(cluster.unit_of(self._names[address]) for address in vacant):
            addresses = [a for a, name in self._names.items() if cluster.unit_of(name) == unit]
            if surplus and set(addresses) <= set(vacant):
                surplus -= 1
                for address in addresses:
                    self._fleet.withdraw(address)
                cluster.spare(unit)
        for address in [address for address in self._resting if not self._fleet.in_use(address)]:
            self._resting.discard(address)
            cluster.spare(self._names[address])

    def call_for(self, worker: int) -> None:
        """Have a cluster that adapts bring a worker that is addressed."""
        self.workers[worker].addressed = True

    def _adapt(self, cluster: OwnCluster, fewest: int, most: int) -> None:
        from parallactic_backends.dask.adapting import Adapting

        def beside(name: str) -> list[DaskWorker]:
            return [w for w in self.workers if w.berth is not None and self._names[w.berth.address] == name]

        def addressed() -> int:
            here = [worker for worker in self.workers if worker.berth is not None]
            missing = [worker for worker in self.workers if worker.addressed and worker.berth is None]
            # The places that there are have others.
            return len(here) + len(missing) if missing else sum(worker.addressed for worker in here)

        def rest(name: str, address: str) -> None:
            workers = beside(name)
            if any(worker.addressed for worker in workers):
                cluster.spared.discard(name)
                self._fleet.offer_again(address)
                return
            for worker in workers:
                worker.rest()
            self._run(note(address))

        async def note(address: str) -> None:
            self._resting.add(address)

        def withdraw(name: str) -> None:
            (address,) = [address for address, known in self._names.items() if known == name]
            loop = self._session.client.loop.asyncio_loop
            loop.call_soon_threadsafe(self._fleet.withdraw, address)
            self._emit.call(rest, name, address)

        cluster.adapt(
            Adaptive=Adapting,
            minimum=cluster.units(fewest),
            maximum=cluster.units(most),
            load=self._session.load,
            addressed=addressed,
            may_rest=lambda name: not any(worker.addressed for worker in beside(name)),
            rest=withdraw,
        )

    def launch(self, envelopes: Sequence[Envelope]) -> None:
        """Put tasks into Dask's graph, and send those with a target to their workers."""
        self._session.hand_over([envelope for envelope in envelopes if envelope.worker is None])
        for envelope in envelopes:
            if envelope.worker is not None:
                self.workers[envelope.worker].addressed |= not envelope.renewed
                self._send(self.workers[envelope.worker], envelope)

    def _send(self, worker: DaskWorker, envelope: Envelope) -> None:
        """Send a task to its worker, after those before it; what Dask keeps is brought here first."""
        if worker.bringing or any(isinstance(entry.payload.block, DaskBlock) for entry in envelope.inputs):
            worker.bringing.append(envelope)
            if len(worker.bringing) == 1:
                self._run(self._bring(worker, envelope))
        else:
            super().launch([envelope])

    async def _bring(self, worker: DaskWorker, envelope: Envelope) -> None:
        brought: Envelope | WorkerLost
        try:
            brought = await self._session.bring(envelope)
        except WorkerLost as error:
            brought = error
        self._emit.call(self._brought, worker, envelope, brought)

    def _brought(self, worker: DaskWorker, envelope: Envelope, brought: Envelope | WorkerLost) -> None:
        if not self._drop(worker, envelope.task, envelope.attempt):
            return  # its worker has died, or it was cancelled
        if isinstance(brought, WorkerLost):
            self._emit(Lost(envelope.task, envelope.attempt, "unreachable", str(brought)))
        else:
            super().launch([brought])
        self._send_rest(worker)

    def _drop(self, worker: DaskWorker, task: int, attempt: int) -> bool:
        """Take a task out of those that wait for their inputs; return whether it was there."""
        left = [entry for entry in worker.bringing if (entry.task, entry.attempt) != (task, attempt)]
        found = len(left) < len(worker.bringing)
        worker.bringing = deque(left)
        return found

    def _send_rest(self, worker: DaskWorker) -> None:
        rest, worker.bringing = worker.bringing, deque()
        for envelope in rest:
            self._send(worker, envelope)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        loop = self._session.client.loop.asyncio_loop
        loop.call_soon_threadsafe(self._fleet.keep, work)

    def cancel(self, task: int, attempt: int, worker: int | None, *, force: bool) -> None:
        """Take a task out of Dask's graph; ask its worker to skip it, or kill that."""
        if worker is None:
            self._session.withdraw(task, attempt)
        elif self._drop(self.workers[worker], task, attempt):
            self._emit(Skipped(task, attempt, worker))
            self._send_rest(self.workers[worker])
        else:
            super().cancel(task, attempt, worker, force=force)

    def admit(self, worker: int) -> None:
        """Let Dask's tasks come to a worker."""
        self.workers[worker].admit()

    def stop(self, deadline: float, *, detach: bool = False) -> None:
        """Ask all workers to go, kill those that stay, and leave the cluster."""
        super().stop(deadline, detach=detach)
        self._stopping = True
        asyncio.run_coroutine_threadsafe(self._fleet.close(), self._session.client.loop.asyncio_loop).result(
            deadline
        )
        self._session.close(deadline)


def _tunnel(dashboard: str) -> str:
    """Say how the dashboard is reached from elsewhere, if it is served to its own host alone."""
    parts = urlsplit(dashboard)
    if parts.hostname not in ("127.0.0.1", "localhost"):
        return ""
    return f" (from elsewhere: ssh -N -L 8787:{parts.netloc} {hostname()}, then http://localhost:8787/status)"
