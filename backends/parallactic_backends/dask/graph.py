"""Our part of Dask's graph: what is added to it and taken from it, in order, several at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dask.task_spec import Task
from distributed import Future

__all__ = ["Entry", "Graph"]

_BATCH_SECONDS, _LONG_BATCH_SECONDS = 0.001, 0.01
"""How long the client gathers messages to the scheduler, with few tasks in flight and with many.

Dask's own 10 ms are the latency of a small task; where many are in flight they save work.
"""

_GATHER_SECONDS = 0.003
"""How long tasks are gathered to a graph where many are in flight: each graph costs what a task does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A task of the graph, and the resources that it needs."""

    task: Task
    wishes: dict[str, float]


class Graph:
    """What this client has in Dask's graph.

    Parameters
    ----------
    client
        The ``distributed.Client``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop
        self._futures: dict[str, Future] = {}
        self._orders: deque[Entry | str] = deque()
        """Tasks to be added and keys to be released, in order."""

        self._due = False
        # What is released may be so by the collector of garbage, in the midst of anything.
        self._lock = threading.RLock()

    @property
    def connected(self) -> bool:
        """Whether there is a scheduler to take tasks."""
        return self._client.scheduler_comm is not None and self._client.status != "closed"

    def future(self, key: str) -> Future | None:
        """Return what Dask knows a key by, once it does."""
        return self._futures.get(key)

    def add(self, entries: Sequence[Entry], *, many: bool) -> None:
        """Add tasks, each after those that it follows; soon, if there are many in flight."""
        with self._lock:
            self._orders.extend(entries)
            if not many:
                self._give(_BATCH_SECONDS)
            elif not self._due:
                self._due = True
                self._loop.call_soon_threadsafe(self._give_soon)

    def _give_soon(self) -> None:
        self._loop.call_later(_GATHER_SECONDS, self._give)

    def release(self, key: str) -> None:
        """Let Dask forget a task, and free its result; from any thread."""
        if self._orders:
            # One of those may need it, or be it.
            self._orders.append(key)
        else:
            self._release(key)

    def _release(self, key: str) -> None:
        future = self._futures.pop(key, None)
        if future is not None:
            future.release()

    def _give(self, interval: float = _LONG_BATCH_SECONDS) -> None:
        """Give Dask what was gathered."""
        with self._lock:
            self._due = False
            if not self.connected:
                return  # the whole run ends
            self._client.scheduler_comm.interval = interval
            orders = [self._orders.popleft() for _ in range(len(self._orders))]
            released = [order for order in orders if isinstance(order, str)]
            withdrawn = set(released)
            graphs: list[tuple[dict[str, float], dict[str, Task]]] = []
            for order in orders:
                if isinstance(order, str) or order.task.key in withdrawn:
                    continue
                # In the order given: a task may follow another of them.
                if not graphs or graphs[-1][0] != order.wishes:
                    graphs.append((order.wishes, {}))
                graphs[-1][1][order.task.key] = order.task
            for wishes, graph in graphs:
                futures = self._client.get(graph, list(graph), sync=False, resources=wishes)
                self._futures.update(zip(graph, futures, strict=True))
            for key in released:
                self._release(key)
