"""The places that Dask workers offer for workers of ours, and the links to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from distributed.comm import connect

from parallactic.backend import Emit
from parallactic.errors import BackendUnavailable, LossCause
from parallactic_backends.dask.link import CommLink
from parallactic_backends.dask.worker import DaskWorker
from parallactic_backends.relay.hello import Hello, check_versions
from parallactic_backends.relay.link import Arrival, LinkLost, Report, Way

__all__ = ["Berth", "Fleet"]

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 3.0
_GREET_SECONDS = 20.0
_PART_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_BEGIN_SECONDS = 15.0
"""How long after the beginning news of Dask workers are not only heard but asked for."""

_SILENT_SECONDS = 2.0
"""Heartbeats come four times a second."""


@dataclass(eq=False)
class Berth:
    """A place beside a Dask worker for one worker of ours.

    Parameters
    ----------
    address
        That of the Dask worker.
    slot
        Number of the place there.
    host
        Name of its host.
    is_local
        Whether its processes can open the client's shared memory.
    """

    address: str
    slot: int
    host: str
    is_local: bool = False


class Fleet:
    """Brings workers and places together. All but `seek` belongs to the event loop of the client.

    Parameters
    ----------
    client
        The ``distributed.Client``.
    name
        What the handler in Dask workers is called.
    emit
        That of the run.
    grow
        Called when a place is free and no worker seeks one; may return a new worker.
    fail
        Called with a sentence when workers can never be had.
    why
        Called with the address of a Dask worker whose connection is gone; returns why, if that is known.
    shares_memory
        Whether large objects may go by reference between processes of one host.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        emit: Emit,
        grow: Callable[[Berth], None],
        fail: Callable[[str], None],
        why: Callable[[str], Awaitable[tuple[LossCause, str]]],
        *,
        shares_memory: bool,
    ) -> None:
        self._client = client
        self._name = name
        self._emit = emit
        self._grow = grow
        self._fail = fail
        self._why = why
        self._shares_memory = shares_memory
        self._loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop
        self._seeking: deque[DaskWorker] = deque()
        self._free: deque[Berth] = deque()
        self._known: dict[str, dict[str, Any]] = {}
        self._departed: set[str] = set()
        self._withdrawn: set[str] = set()
        self._links: dict[Berth, CommLink] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._dialling: set[asyncio.Task[Any]] = set()
        self._looked = time.monotonic()
        self._direct = True
        self._closed = False

    async def watch_scheduler(self, look: Callable[[], None]) -> None:
        """Look around now and then, and give up when the scheduler is gone for good.

        Dask's client tries for a while to find it again.
        """
        begun = time.monotonic()
        while self._client.status != "closed":
            await asyncio.sleep(_LOOK_SECONDS)
            look()
            if self._seeking and not self._free and time.monotonic() - begun < _BEGIN_SECONDS:
                await self._ask_who_is_there()
        if not self._closed:
            self._fail(f"the Dask scheduler at {self._client.scheduler.address} is gone.")

    async def _ask_who_is_there(self) -> None:
        """Ask for all that have joined: the news of one may have passed before anybody listened."""
        with contextlib.suppress(OSError):  # a scheduler that is gone is noticed by its client
            for _, event in await self._client.scheduler.events(topic=self._name):
                if "joined" in event:
                    self.joined(event)

    def silent(self) -> set[str]:
        """Return the Dask workers from which nothing has come for a while, though connected."""
        now = time.monotonic()
        late, self._looked = now - self._looked > _SILENT_SECONDS, now
        if late:
            # This process itself stood still: what was sent may not have been read yet.
            return set()
        heard = {berth.address for berth, link in self._links.items() if now - link.heard < _SILENT_SECONDS}
        return {berth.address for berth in self._links} - heard

    def seek(self, worker: DaskWorker) -> None:
        """Find a place for a worker, as soon as there is one; called from any thread."""
        self._loop.call_soon_threadsafe(self._seek, worker)

    def _seek(self, worker: DaskWorker) -> None:
        self._seeking.append(worker)
        self._match()

    def joined(self, event: dict[str, Any]) -> None:
        """Learn of a Dask worker and its places."""
        if self._closed or event["joined"] in self._known or event["joined"] in self._departed:
            return
        self._known[event["joined"]] = event
        for slot in range(event["slots"]):
            self._free.append(Berth(event["joined"], slot, event["host"]))
        self._match()

    def left(self, address: str) -> None:
        """Learn that a Dask worker is gone, though its connections may still look well."""
        self._departed.add(address)
        self._free = deque(berth for berth in self._free if berth.address != address)
        for berth, link in list(self._links.items()):
            if berth.address == address:
                link.close()

    def unseek(self, worker: DaskWorker) -> None:
        """Seek no place for a worker any more; called from any thread."""

        def forget() -> None:
            if worker in self._seeking:
                self._seeking.remove(worker)

        self._loop.call_soon_threadsafe(forget)

    def vacant(self) -> list[str]:
        """Return the Dask workers all of whose places are free, the latest first."""
        free = Counter(berth.address for berth in self._free)
        return [
            address for address, event in reversed(self._known.items()) if free[address] == event["slots"]
        ]

    def withdraw(self, address: str) -> None:
        """Offer the places of a Dask worker to nobody any more; it is about to go."""
        self._withdrawn.add(address)
        self._free = deque(berth for berth in self._free if berth.address != address)

    def offer_again(self, address: str) -> None:
        """Let a Dask worker stay that was withdrawn; from any thread."""

        def take_back() -> None:
            self._withdrawn.discard(address)
            event = self._known[address]
            taken = {berth.slot for berth in self._links if berth.address == address}
            for slot in sorted(set(range(event["slots"])) - taken):
                self._offer(Berth(address, slot, event["host"]))

        self._loop.call_soon_threadsafe(take_back)

    def in_use(self, address: str) -> bool:
        """Tell whether a worker of ours is connected with a Dask worker."""
        return any(berth.address == address for berth in self._links)

    async def gone(self, address: str) -> None:
        """Wait until all that came from a Dask worker was taken."""
        while self.in_use(address):
            await asyncio.sleep(0.01)

    def _match(self) -> None:
        while self._free and not self._closed:
            if not self._seeking:
                self._grow(self._free[0])
                return
            # Somebody waits for those that are addressed.
            worker = next((worker for worker in self._seeking if worker.addressed), self._seeking[0])
            self._seeking.remove(worker)
            berth = self._free.popleft()
            self.keep(self._serve(worker, berth))

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside, until it ends or the fleet is closed."""
        chore = self._loop.create_task(work)
        self._chores.add(chore)
        chore.add_done_callback(self._ended)

    def _ended(self, chore: asyncio.Task[None]) -> None:
        self._chores.discard(chore)
        error = None if chore.cancelled() else chore.exception()
        if error is not None and not self._closed:
            # Whatever it is, nobody may wait for what it was to bring.
            self._fail(f"the connection to Dask has failed: {error!r}")

    async def _serve(self, worker: DaskWorker, berth: Berth) -> None:
        """Connect a worker with its place, and bring it what comes from there until that ends."""
        try:
            link = await self._connect(berth)
        except BackendUnavailable as error:
            if not self._links:
                self._fail(str(error))
                return
            _log.warning("the Dask worker at %s is left out: %s", berth.address, error)
            self._seek(worker)
            return
        except (OSError, LinkLost) as error:
            _log.info("the Dask worker at %s cannot be reached: %s", berth.address, error)
            self._loop.call_later(_LOOK_SECONDS, self._offer, berth)
            self._seek(worker)
            return
        self._links[berth] = link
        self._emit.call_here(worker.moor, berth, link)
        try:
            while True:
                arrivals = await link.receive()
                if any(_says_idle(arrival) for arrival in arrivals):
                    worker.idle.set()
                self._emit.call_here(worker.arrived, link, arrivals)
        except LinkLost:
            why = await self._why(berth.address)
        finally:
            link.close()
            del self._links[berth]
        # After all that came was taken.
        self._emit.call_here(worker.lost, link, *why)
        # Perhaps it was the connection alone that broke.
        self._loop.call_later(_LOOK_SECONDS, self._offer, berth)

    def _offer(self, berth: Berth) -> None:
        """Let a place be taken again, unless its Dask worker is known to be gone."""
        if berth.address not in self._departed and berth.address not in self._withdrawn:
            self._free.append(berth)
            self._match()

    async def _connect(self, berth: Berth) -> CommLink:
        comm = await self._open(berth)
        link = CommLink(comm, self._loop)
        self.keep(link.send_all())
        try:
            first, *_ = await asyncio.wait_for(link.receive(), _GREET_SECONDS)
            hello = Hello.decode(first.message.control)
            check_versions(hello)
        except TimeoutError as error:
            link.close()
            raise LinkLost(f"no greeting came within {_GREET_SECONDS:g} s.") from error
        except BaseException:
            link.close()
            raise
        berth.is_local = hello.opens_here()
        link.shares_memory = berth.is_local and self._shares_memory
        return link

    async def _open(self, berth: Berth) -> Any:
        """Connect to a Dask worker; if the client cannot reach it, let the scheduler pass messages on."""
        options = self._client.connection_args
        if self._direct:
            try:
                comm = await self._dial(berth.address, options)
                await comm.write({"op": self._name, "slot": berth.slot, "reply": False})
                return comm
            except OSError as error:
                # It may also be dead, and the scheduler not know yet.
                if not await self._scheduler_knows(berth.address):
                    raise
                _log.info(
                    "this host cannot reach the Dask worker %s (%s); the scheduler passes messages on",
                    berth.address,
                    error or "no answer",
                )
                self._direct = False
                # Nor can it fetch results there.
                self._client.direct_to_workers = False
        comm = await self._dial(self._client.scheduler.address, options)
        await comm.write({"op": self._name, "worker": berth.address, "slot": berth.slot, "reply": False})
        return comm

    async def _dial(self, address: str, options: dict[str, Any]) -> Any:
        """Connect within a limit: Dask has none for one that takes the connection and says nothing."""
        dialling = self._loop.create_task(connect(address, timeout=_CONNECT_SECONDS, **options))
        self._dialling.add(dialling)
        dialling.add_done_callback(self._dialling.discard)
        try:
            return await asyncio.wait_for(asyncio.shield(dialling), _CONNECT_SECONDS)
        except TimeoutError:
            dialling.cancel()
            raise
        except asyncio.CancelledError:
            # Cancelled in its midst it would leave a socket.
            dialling.add_done_callback(_hang_up)
            raise

    async def _scheduler_knows(self, address: str) -> bool:
        identity = await self._client.scheduler.identity()
        return address in identity["workers"]

    async def close(self) -> None:
        """Hang up on every worker."""
        self._closed = True
        for link in list(self._links.values()):
            link.close()
        for chore in list(self._chores):
            chore.cancel()
        if rest := [*self._chores, *self._dialling]:
            await asyncio.wait(rest, timeout=_PART_SECONDS)


def _hang_up(dialling: asyncio.Task[Any]) -> None:
    if not dialling.cancelled() and dialling.exception() is None:
        dialling.result().abort()


def _says_idle(arrival: Arrival) -> bool:
    return arrival.way is Way.AGENT and arrival.message.kind == Report.IDLE
