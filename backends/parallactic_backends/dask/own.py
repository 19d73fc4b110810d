"""A cluster that this run has started: as many Dask workers as are wanted are kept there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

from distributed.core import Status
from distributed.deploy.spec import SpecCluster

from parallactic.errors import BackendUnavailable

__all__ = ["OwnCluster"]

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 2.0
_MAX_FALSE_STARTS = 3
_LONGEST_PAUSE = 60.0


class OwnCluster(SpecCluster):  # type: ignore[misc]
    """Mixed into a cluster class of Dask's: it replaces what is lost, which Dask's do not.

    What is started and ended as one, a process or a batch job, is a unit. Its methods belong to the event
    loop of the cluster; `soon` reaches that from any thread.

    Attributes
    ----------
    places
        Workers of ours that one unit has room for.
    wanted
        How many units there are to be.
    spared
        Units that are about to go.
    fail
        Called with a sentence when units can never be had.
    """

    places = 1
    wanted = 0
    nursery: Any = None
    """What starts the processes of this host; it ends with the cluster."""

    _false_starts = 0
    _next_try = 0.0
    _watching: asyncio.Task[None] | None = None

    def prepare(self, places: int) -> None:
        """Take what Dask's own constructor does not know."""
        self.places = places
        self._joined: set[str] = set()
        self.spared: set[str] = set()
        self.fail: Callable[[str], None] = _log.error

    def units(self, workers: int) -> int:
        """Return how many units so many workers of ours take."""
        return math.ceil(workers / self.places)

    def _new_worker_name(self, worker_number: int) -> str:
        # Never one that was used: Dask ends what has the name of a lost worker after a while.
        if not hasattr(self, "_numbers"):
            self._numbers = itertools.count()
        return f"dask-{next(self._numbers)}"

    def unit_of(self, name: str) -> str:
        """Return the unit that a Dask worker belongs to."""
        return name if name in self.worker_spec else name.rpartition("-")[0]

    def soon(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run a method on the cluster's event loop; from any thread."""
        self.loop.add_callback(function, *args)

    # How many

    async def begin(self, units: int) -> None:
        """Start the first units.

        Raises
        ------
        BackendUnavailable
            If one of them cannot be started.
        """
        self.wanted = units
        await self._fill()
        self._watching = asyncio.create_task(self._watch())

    async def keep(self, units: int) -> None:
        """Have so many units from now on; those too many whose Dask worker is there stay until spared."""
        self.wanted = units
        for name in [name for name in reversed(self.worker_spec) if name not in self._joined]:
            if len(self.worker_spec) > units:
                await self._drop(name)
        await self._try_to_fill()

    @property
    def surplus(self) -> int:
        """How many more units there are than are wanted; from any thread."""
        return max(0, len(self.worker_spec) - len(self.spared) - self.wanted)

    def spare(self, unit: str) -> None:
        """End a unit beside which none of our workers is left; from any thread."""
        self.spared.add(unit)
        self.soon(self._retire, unit)

    async def _retire(self, unit: str) -> None:
        names = [name for name in self.observed if self.unit_of(name) == unit]
        with contextlib.suppress(OSError):
            # What Dask keeps there for others goes to another Dask worker first.
            await self.scheduler_comm.retire_workers(names=names, remove=True, close_workers=True)
        await self._drop(unit)
        self.spared.discard(unit)

    # What is lost

    def has_joined(self, name: str) -> None:
        """Learn that a Dask worker has come; from any thread."""
        self._joined.add(self.unit_of(name))
        self._false_starts = 0

    async def renew(self, name: str) -> None:
        """Start another unit in place of one whose Dask worker has died."""
        unit = self.unit_of(name)
        if unit in self.worker_spec and unit not in self.spared and not self.comes_back(unit):
            await self._drop(unit)
            await self._try_to_fill()

    def comes_back(self, unit: str) -> bool:
        """Tell whether a unit starts its Dask workers again by itself when they die."""
        return False

    async def cause(self, name: str) -> tuple[str, str]:
        """Return why a Dask worker is gone, in a word and in a sentence; empty if that is not known."""
        return "", ""

    async def dead(self, units: dict[str, Any]) -> dict[str, str]:
        """Return which of these units have ended, and what they wrote last."""
        return {}

    async def _watch(self) -> None:
        """Look for units that ended before their Dask worker came, which nobody else would notice."""
        while self.status == Status.running:
            await asyncio.sleep(_WATCH_SECONDS)
            doubtful = {
                name: process
                for name, process in self.workers.items()
                if name not in self._joined or self.comes_back(name)
            }
            ended = await self.dead(doubtful) if doubtful else {}
            for name, words in ended.items():
                if name not in self._joined:
                    self._false_starts += 1
                    _log.warning("%s ended before its Dask worker came. %s", name, words)
                await self._drop(name)
            if self._false_starts >= _MAX_FALSE_STARTS and not self._joined:
                self.fail(
                    f"{self._false_starts} times in a row {self.kind} has ended before its Dask worker came. "
                    f"The last one wrote:\n{next(iter(ended.values()), '')}"
                )
                return
            if time.monotonic() >= self._next_try:
                await self._try_to_fill()

    kind = "a process"

    # Starting and ending

    async def _try_to_fill(self) -> None:
        try:
            await self._fill()
        except BackendUnavailable as error:
            self._false_starts += 1
            # Not too often, where others work.
            self._next_try = time.monotonic() + min(_LONGEST_PAUSE, 2.0**self._false_starts)
            _log.warning("%s", error)
            if self._false_starts >= _MAX_FALSE_STARTS and not self._joined:
                self.fail(str(error))

    async def _fill(self) -> None:
        if self.status not in (Status.running, Status.starting):
            return
        while len(self.worker_spec) - len(self.spared) < self.wanted:
            self.worker_spec.update(self.new_worker_spec())
        try:
            await self._correct_state()
        except Exception as error:
            problem = error if isinstance(error, BackendUnavailable) else self.refusal(error)
            for name, process in list(self.workers.items()):
                if process.status == Status.created:
                    process.status = Status.failed
                    del self.workers[name]
                    self.worker_spec.pop(name, None)
            raise problem from error

    def refusal(self, error: Exception) -> BackendUnavailable:
        """Return the error for what kept a unit from being started."""
        return BackendUnavailable(f"{self.kind} for Dask workers could not be started: {error}")

    async def _drop(self, unit: str) -> None:
        self.worker_spec.pop(unit, None)
        self._joined.discard(unit)
        process = self.workers.pop(unit, None)
        if process is not None:
            await process.close()
            process.status = Status.closed

    async def _sync_cluster_info(self) -> None:
        """Tell the scheduler nothing of this cluster, though Dask does so every second: nobody asks."""

    async def _close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self.wanted = 0
        try:
            await super()._close()
        finally:
            if self.nursery is not None:
                self.nursery.close()
