"""What runs inside every Dask worker: it serves one client, and runs Dask's tasks on workers of our own.

User code never runs in the Dask worker itself. So its crash, its memory and a call that never returns cost a
task and nothing else: what the Dask worker holds for others stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import psutil
from distributed import Reschedule, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from parallactic.backend import usable_cores
from parallactic.worker.namespace import hostname
from parallactic_backends.dask.agent import DaskAgent, WorkerGone
from parallactic_backends.dask.link import CommLink
from parallactic_backends.dask.parcel import unpack
from parallactic_backends.dask.product import Product
from parallactic_backends.dask.troubles import Troubles
from parallactic_backends.relay.hello import Hello, Probe
from parallactic_backends.relay.link import LinkLost, Report, Way

__all__ = ["Pilot", "TaskFailed", "run_task"]

_PATIENCE = 0.1
"""Seconds that a task of Dask's waits for a worker that is busy with what was addressed to it."""

_SHORT_PATIENCE = 0.02
"""The same where this run has no worker at all."""

_TICK = 0.25


class TaskFailed(Exception):
    """A task has failed. The error itself goes to the client; Dask learns that there is no result."""


class Pilot(WorkerPlugin):  # type: ignore[misc]
    """Serves one run.

    Parameters
    ----------
    run
        What tells this run from others of the same cluster.
    threads
        Threads of each worker.
    one_host
        Whether every process of the cluster is on the client's host.
    """

    def __init__(self, run: str, threads: int, *, one_host: bool) -> None:
        self.name = pilot_name(run)
        self._run = run
        self._threads = threads
        self._one_host = one_host

    def setup(self, worker: Any) -> None:
        """Begin to serve, and tell the client."""
        self._worker = worker
        self._agents: dict[int, DaskAgent] = {}
        self._changed = asyncio.Event()
        self._blocked = False
        self._troubles = Troubles(worker, lambda text: worker.log_event(self.name, {"trouble": text}))
        worker.handlers[self.name] = self.serve
        worker.log_event(
            self.name,
            {
                "joined": worker.address,
                "slots": max(1, worker.state.nthreads // self._threads),
                "host": hostname(),
                "threads": worker.state.nthreads,
                "memory": worker.memory_manager.memory_limit or _share_of_host(worker.state.nthreads),
                "resources": dict(worker.state.total_resources),
                "name": str(worker.name),
            },
        )

    async def teardown(self, worker: Any) -> None:
        """End all that runs here for this client."""
        worker.handlers.pop(self.name, None)
        self._troubles.close()
        for agent in list(self._agents.values()):
            agent.end_run()

    async def serve(self, comm: Any, slot: int) -> None:
        """Serve one worker of the client, until it says goodbye or is gone."""
        loop = asyncio.get_running_loop()
        link = CommLink(comm, loop)
        agent = DaskAgent(link, self._look_again)
        self._agents[slot] = agent
        self._worker.log_event(self.name, {"home": True, "at": self._worker.address})
        chores = [asyncio.create_task(link.send_all()), asyncio.create_task(self._tick(agent))]
        probe = Probe()
        link.post(Way.AGENT, Report.HELLO, Hello.own(probe).encode())
        try:
            await _obey(agent, link)
            link.post(Way.AGENT, Report.LEFT)
            await link.flush()
        except LinkLost:
            pass  # the client is gone, and wants no more
        finally:
            if self._agents.get(slot) is agent:
                del self._agents[slot]
            if not self._agents:
                self._worker.log_event(self.name, {"home": False, "at": self._worker.address})
                self._block(False)
            agent.end_run()
            probe.close()
            link.close()
            for chore in chores:
                chore.cancel()

    async def _tick(self, agent: DaskAgent) -> None:
        while True:
            await asyncio.sleep(_TICK)
            agent.look_at_clock()
            self._troubles.look()
            waiting = [task.key for task in self._worker.state.ready]
            if waiting and not any(other.free for other in self._agents.values()):
                self._worker.log_event(self.name, {"waiting": waiting, "at": self._worker.address})

    async def run(self, parcel: bytes, key: str, results: tuple[Product, ...]) -> Product:
        """Run a task on a free worker."""
        agent = await self._free_agent(key)
        state = self._worker.state.tasks.get(key)
        if state is None or state.state != "executing":
            raise TaskFailed(f"{key} was withdrawn before it began")
        envelope, many = unpack(parcel, results)
        try:
            outcome = await agent.run(envelope, key, many=many)
        except asyncio.CancelledError:
            # Dask would run it again elsewhere; it has begun.
            raise TaskFailed(f"{envelope.name} was running when its Dask worker was closed") from None
        except WorkerGone as error:
            raise TaskFailed(f"{envelope.name}: {error}") from None
        if not outcome.ok:
            raise TaskFailed(f"{envelope.name} failed; the client has the traceback")
        return Product(outcome.payload, one_host=self._one_host)

    async def _free_agent(self, key: str) -> DaskAgent:
        end = time.monotonic() + (_PATIENCE if self._agents else _SHORT_PATIENCE)
        while True:
            self._changed.clear()
            for agent in self._agents.values():
                if agent.free:
                    return agent
            left = end - time.monotonic()
            if left <= 0 or self._blocked:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        # Dask must look elsewhere.
        if self._agents:
            # And leave this place alone until a worker is free here.
            self._block(True)
        else:
            self._worker.log_event(self.name, {"astray": key, "at": self._worker.address})
        raise Reschedule(key)

    def _block(self, blocked: bool) -> None:
        if blocked != self._blocked:
            self._blocked = blocked
            status = "paused" if blocked else self._worker.status.name
            self._worker.log_event(self.name, {"at": self._worker.address, "status": status})

    def _look_again(self) -> None:
        self._changed.set()
        if self._blocked and any(agent.free for agent in self._agents.values()):
            self._block(False)


def _share_of_host(threads: int) -> int:
    """Return the memory of this host that falls to so many of its cores."""
    return int(psutil.virtual_memory().total * min(1.0, threads / usable_cores()))


def pilot_name(run: str) -> str:
    """Return what the plugin, the topic of its events and its handler are called."""
    return f"parallactic-{run}"


async def run_task(run: str, key: str, parcel: bytes, *results: Product) -> Product:
    """Be the Dask task that runs one task of ours."""
    pilot = get_worker().plugins.get(pilot_name(run))
    if pilot is None:
        raise Reschedule(f"{key}: this Dask worker has just joined")
    product: Product = await pilot.run(parcel, key, results)
    return product


async def _obey(agent: DaskAgent, link: CommLink) -> None:
    while True:
        for arrival in await link.receive():
            if not agent.obey(arrival):
                return
