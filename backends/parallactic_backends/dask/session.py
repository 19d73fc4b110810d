"""The client's side of a Dask cluster: its graph, its events, and what it keeps for us."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from dask.task_spec import Task, TaskRef
from distributed import Future

from parallactic.backend import Broken, Emit, Lost, Returned, Stalled
from parallactic.errors import BackendUnavailable, WorkerLost
from parallactic.wire.envelopes import Envelope
from parallactic.wire.memory import SharedBlock
from parallactic.wire.payload import Input, Payload
from parallactic_backends.dask.connection import Connection
from parallactic_backends.dask.giving import Giver, is_lost
from parallactic_backends.dask.graph import Entry, Graph
from parallactic_backends.dask.parcel import Part, pack
from parallactic_backends.dask.pilot import pilot_name, run_task
from parallactic_backends.dask.plane import DaskBlock
from parallactic_backends.dask.presence import install, remove
from parallactic_backends.dask.product import Product
from parallactic_backends.dask.supply import Choosy, Supply
from parallactic_backends.dask.watcher import key_mark

__all__ = ["Session"]

_log = logging.getLogger(__name__)
_FEW = 8
_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_.]+")


class Session:
    """One run on a Dask cluster.

    Parameters
    ----------
    connection
        The client, of this run alone.
    threads
        Threads of each worker.

    Raises
    ------
    BackendUnavailable
        If the scheduler or its workers cannot load this library, or none of them answers.
    """

    def __init__(self, connection: Connection, threads: int) -> None:
        self.run = uuid.uuid4().hex[:12]
        self.name = pilot_name(self.run)
        self.connection = connection
        self.client = connection.client
        self._loop: asyncio.AbstractEventLoop = self.client.loop.asyncio_loop
        self._graph = Graph(self.client)
        self._unbegun: dict[str, tuple[int, int]] = {}
        self._choosy: dict[str, Choosy] = {}
        self._given: dict[str, list[Future]] = {}
        self._giver = Giver(self.client)
        self._silent: set[str] = set()
        self._moving: dict[tuple[int, int], asyncio.Event] = {}
        self._keys: dict[tuple[int, int], str] = {}
        self._events: list[dict[str, Any]] = []
        self._heard: Callable[[dict[str, Any]], None] = self._events.append
        self._lock = threading.Lock()
        self.client.subscribe_topic(self.name, lambda event: self._heard(event[1]))
        complete = install(self.client, self.run, threads, one_host=connection.one_host)
        self.supply = Supply(connection.resources)
        """What the Dask workers have."""

        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        for address, worker in workers.items():
            known = (worker[name] for name in ("nthreads", "memory_limit", "resources"))
            self.supply.joined(address, *known)
        # The subscription may have come to the scheduler after the first events.
        self._events += [event for _, event in self.client.get_events(self.name)]
        if not complete:
            self._leave_out(set(workers) - {event.get("joined") for event in self._events}, len(workers))

    def _leave_out(self, silent: set[str], count: int) -> None:
        """Have Dask give nothing to Dask workers that do not answer, until they do."""
        if len(silent) == count:
            remove(self.client, self.run)
            raise BackendUnavailable(
                f"none of the {count} Dask workers of the scheduler at {self.client.scheduler.address} "
                "answers. They may be stopped, or hang in a call that keeps Python's lock: restart them."
            )
        for address in silent:
            _log.warning("the Dask worker %s does not answer; it is used when it does", address)
            self.client.log_event(self.name, {"silent": True, "at": address})

    def listen(self, emit: Emit, heard: Callable[[dict[str, Any]], None]) -> None:
        """Begin to report events: to `emit` those of tasks, to `heard` those of Dask workers."""
        self._emit = emit

        def sort(event: dict[str, Any]) -> None:
            if "erred" in event:
                self._erred(event["erred"], event["text"])
            else:
                heard(event)

        def begin() -> None:
            for event in self._events:
                sort(event)
            self._heard = sort

        self._loop.call_soon_threadsafe(begin)

    # Tasks

    def hand_over(self, envelopes: Sequence[Envelope]) -> None:
        """Put tasks into Dask's graph."""
        near = []
        for envelope in envelopes:
            if self._must_wait(envelope):
                self._moving[envelope.task, envelope.attempt] = asyncio.Event()
                asyncio.run_coroutine_threadsafe(self._move_parts(envelope), self._loop)
            else:
                near.append((envelope, dict[int, Future]()))
        if near:
            self._submit(near)

    def _must_wait(self, envelope: Envelope) -> bool:
        """Tell whether large objects must be moved first, for this task or for one that it follows."""
        return not self.connection.one_host and (
            any(_shared(payload) for payload in _payloads(envelope))
            or any((entry.task, entry.attempt) in self._moving for entry in envelope.awaited)
        )

    async def _move_parts(self, envelope: Envelope) -> None:
        """Bring large objects of the client into Dask's memory first, each once."""
        moved: dict[int, Future] = {}
        problem = ""
        parts = [payload for payload in _payloads(envelope) if _shared(payload)]
        try:
            futures = await asyncio.gather(*map(self._giver.give, parts))
            moved = {id(payload): future for payload, future in zip(parts, futures, strict=True)}
        except Exception as error:  # noqa: BLE001  (whatever Dask raises, the task cannot be run)
            problem = f"Dask could not take its data: {error!r}."
        for entry in envelope.awaited:
            if (before := self._moving.get((entry.task, entry.attempt))) is not None:
                await before.wait()
        self._emit.call(self._moved, envelope, moved, problem)

    def _moved(self, envelope: Envelope, moved: dict[int, Future], problem: str) -> None:
        """Put a task into Dask's graph whose large objects are there now, unless it was withdrawn."""
        number = envelope.task, envelope.attempt
        done = self._moving.pop(number, None)
        if done is None:
            return
        if problem:
            self._emit(Lost(*number, "unreachable", problem))
        elif all((entry.task, entry.attempt) in self._keys for entry in envelope.awaited):
            self._submit([(envelope, moved)])
        else:
            # What it follows has ended meanwhile: the core has the results now.
            self._emit(Returned(*number))
        self._loop.call_soon_threadsafe(done.set)

    def _submit(self, tasks: Sequence[tuple[Envelope, dict[int, Future]]]) -> None:
        entries = []
        many = len(self._keys) + len(tasks) > _FEW
        for envelope, moved in tasks:
            wishes = self.supply.wishes(envelope.spec)
            key = self._key(envelope)
            needs: list[str] = []

            def part(payload: Payload, moved: dict[int, Future] = moved, needs: list[str] = needs) -> Part:
                block = payload.block
                if isinstance(block, DaskBlock):
                    return _add(needs, block.key)
                if id(payload) in moved:
                    return _add(needs, moved[id(payload)].key)
                return Product(payload, one_host=self.connection.one_host)

            awaited = {entry.index: self._keys[entry.task, entry.attempt] for entry in envelope.awaited}
            inputs = [
                _add(needs, awaited[index]) if index in awaited else part(entry.payload)
                for index, entry in enumerate(envelope.inputs)
            ]
            parcel = pack(envelope, part(envelope.arguments), inputs, many=many)
            task = Task(
                key,
                run_task,
                self.run,
                key,
                parcel,
                *(TaskRef(need) for need in needs),
                # Dask keeps such tasks in its queue until a worker is free.
                _data_producer=not awaited,
            )
            entries.append(Entry(task, wishes))
            with self._lock:
                self._unbegun[key] = (envelope.task, envelope.attempt)
                if wishes:
                    self._choosy[key] = Choosy(wishes)
                given = [moved.values(), *(self._given.get(need, ()) for need in awaited.values())]
                if any(given):
                    self._given[key] = list(chain(*given))
                self._keys[envelope.task, envelope.attempt] = key
        if self._graph.connected:
            self._graph.add(entries, many=many)
        else:
            self._emit(Broken(f"the Dask scheduler at {self.client.scheduler.address} is gone."))

    def _key(self, envelope: Envelope) -> str:
        name = _NOT_IN_A_KEY.sub("_", envelope.name) or "task"
        return f"{name}{key_mark(self.run)}{envelope.task}-{envelope.attempt}"

    def ended(self, task: int, attempt: int, *, kept: bool = False) -> None:
        """Let Dask forget a task whose end the dispatcher knows, but not its result if that is `kept`."""
        with self._lock:
            key = self._keys.pop((task, attempt), None)
            if key is not None:
                self._unbegun.pop(key, None)
        if key is not None and not kept:
            self._graph.release(key)

    def began(self, task: int, attempt: int) -> None:
        """Learn that a worker has begun a task: how that ends is told by the worker alone."""
        with self._lock:
            key = self._keys.get((task, attempt))
            if key is not None:
                self._unbegun.pop(key, None)

    def withdraw(self, task: int, attempt: int) -> None:
        """Take a task that has not begun out of Dask's graph."""
        if (moving := self._moving.pop((task, attempt), None)) is not None:
            self._loop.call_soon_threadsafe(moving.set)
        with self._lock:
            key = self._keys.pop((task, attempt), None)
            if key is None:
                return
            self._unbegun.pop(key, None)
        self._graph.release(key)

    def _erred(self, key: str, text: str) -> None:
        """Learn that Dask gave up a task that no worker has begun."""
        attempt = self._unbegun.get(key)
        if attempt is None:
            return
        if text:
            self._emit(Lost(*attempt, "exit", f"Dask could not run it: {text}"))
        else:
            self._emit(Returned(*attempt))
        self._emit.call(self.ended, *attempt)

    def load(self) -> tuple[set[str], int]:
        """Return the keys of the tasks that no worker has begun, and the number of those that run."""
        with self._lock:
            return set(self._unbegun), len(self._keys) - len(self._unbegun)

    async def set_silent(self, addresses: set[str]) -> None:
        """Have Dask give nothing to Dask workers that have fallen silent."""
        before, self._silent = self._silent, addresses
        with contextlib.suppress(OSError):  # a scheduler that is gone gives nothing to anybody
            # Again and again: what was on its way is told as well.
            for address in addresses | before:
                silent = {"silent": address in addresses, "at": address}
                await self.client.log_event(self.name, silent)

    def stuck(self, keys: Sequence[str]) -> None:
        """Learn which tasks wait at a silent Dask worker. They may begin when it goes on, so stay there."""
        for key in keys:
            if (attempt := self._unbegun.get(key)) is not None:
                self._emit(Stalled(*attempt))

    def look_for_lost(self) -> None:
        """Give up tasks that Dask has dropped, or for which no Dask worker is left that has enough."""
        for aside in (self._choosy, self._given):
            for key in [key for key in list(aside) if key not in self._unbegun]:
                aside.pop(key, None)
        for key, attempt in list(self._unbegun.items()):
            future, choosy = self._graph.future(key), self._choosy.get(key)
            if future is not None and is_lost(future):
                if any(map(is_lost, self._given.get(key, ()))):
                    # The client still has it, and gives it again.
                    self._emit(Returned(*attempt))
                    self._emit.call(self.ended, *attempt)
                    continue
                text = "a result that it needs was lost with the Dask worker that held it."
            elif choosy is not None and choosy.waits_in_vain(self.supply):
                text = f"it needs {choosy}, and the last Dask worker that had so much is gone."
            else:
                continue
            self._emit(Lost(*attempt, "unreachable", text))
            self._emit.call(self.ended, *attempt)

    # Data

    def keep(self, key: str, size: int) -> DaskBlock:
        """Stand for the large parts of a result that Dask keeps."""
        return DaskBlock(key, size, self.fetch, self._graph.release)

    def fetch(self, key: str) -> SharedBlock:
        """Copy what Dask keeps under a key to this host.

        Raises
        ------
        WorkerLost
            If the Dask worker that held it has died.
        """
        return asyncio.run_coroutine_threadsafe(self._fetch(key), self._loop).result()

    async def _fetch(self, key: str) -> SharedBlock:
        future = self._graph.future(key)
        try:
            if future is None:
                raise KeyError(key)
            product = await self.client.gather(future, asynchronous=True)
        except Exception as error:
            raise WorkerLost(
                f"the result {key} stayed in the memory of a Dask worker, and cannot be had: {error}",
                cause="unreachable",
            ) from error
        block: SharedBlock = product.payload.block
        return block

    async def bring(self, envelope: Envelope) -> Envelope:
        """Return a task whose large inputs that Dask keeps were copied to this host.

        Raises
        ------
        WorkerLost
            If the Dask worker that held one of them has died.
        """
        inputs = []
        for entry in envelope.inputs:
            payload = entry.payload
            if isinstance(payload.block, DaskBlock):
                block = await self._fetch(payload.block.key)
                inputs.append(Input(Payload(payload.head, payload.buffers, block, payload.spans)))
            else:
                inputs.append(entry)
        return replace(envelope, inputs=tuple(inputs))

    def close(self, seconds: float) -> None:
        """Leave the cluster as it was, or end it if it is our own."""
        if self.connection.cluster is None:
            remove(self.client, self.run)
        self.connection.close(seconds)

    @property
    def dashboard(self) -> str:
        """Address of the scheduler's dashboard; empty if it has none."""
        services = self.client.scheduler_info().get("services", {})
        if "dashboard" not in services:
            return ""
        if self.connection.dashboard:
            return f"http://{self.connection.dashboard}:{services['dashboard']}/status"
        return str(self.client.dashboard_link)


def _payloads(envelope: Envelope) -> list[Payload]:
    return [envelope.arguments, *(entry.payload for entry in envelope.inputs)]


def _shared(payload: Payload) -> bool:
    return isinstance(payload.block, SharedBlock)


def _add(needs: list[str], key: str) -> int:
    if key not in needs:
        needs.append(key)
    return needs.index(key)
