"""Large objects of the client on their way into Dask's memory, each once."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from typing import Any

from distributed import Future

from parallactic.errors import BackendUnavailable
from parallactic.wire.memory import SharedBlock
from parallactic.wire.payload import Payload
from parallactic_backends.dask.product import Product

__all__ = ["Giver", "is_lost"]

_log = logging.getLogger(__name__)
_DEATHS = 5
_BATCH_BYTES = 1 << 26
"""What is given at a time, by one connection: few large messages cost less than many small ones."""


class Giver:
    """Gives objects to Dask. All belongs to the event loop of the client.

    Parameters
    ----------
    client
        The ``distributed.Client``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop
        self._given: weakref.WeakKeyDictionary[SharedBlock, asyncio.Future[Future]] = (
            weakref.WeakKeyDictionary()
        )
        self._waiting: deque[tuple[Product, asyncio.Future[Future]]] = deque()
        self._at_work: asyncio.Task[None] | None = None

    async def give(self, payload: Payload) -> Future:
        """Bring an object with a block of shared memory to Dask, unless Dask has it.

        Raises
        ------
        BackendUnavailable
            If the Dask workers that were to take it died, one after the other.
        """
        block = payload.block
        assert isinstance(block, SharedBlock)
        given = self._given.get(block)
        if given is None or _has_failed(given):
            given = self._given[block] = self._loop.create_future()
            self._waiting.append((Product(payload, one_host=False), given))
            if self._at_work is None:
                self._at_work = self._loop.create_task(self._give_all())
        return await asyncio.shield(given)

    async def _give_all(self) -> None:
        try:
            while self._waiting:
                batch, size = [self._waiting.popleft()], 0
                while self._waiting and size < _BATCH_BYTES:
                    batch.append(self._waiting.popleft())
                    size += batch[-1][0].payload.nbytes
                await self._give_some(batch)
        finally:
            self._at_work = None

    async def _give_some(self, batch: list[tuple[Product, asyncio.Future[Future]]]) -> None:
        try:
            futures = await self._scatter([product for product, _ in batch])
        except Exception as error:  # noqa: BLE001  (whatever Dask raises, who waits must know)
            for _, given in batch:
                given.set_exception(error)
        else:
            for (_, given), future in zip(batch, futures, strict=True):
                given.set_result(future)

    async def _scatter(self, products: list[Product]) -> list[Future]:
        for _ in range(_DEATHS):
            try:
                futures: list[Future] = await self._client.scatter(
                    products, hash=False, direct=False, asynchronous=True
                )
                return futures
            except TimeoutError:
                raise
            except OSError as error:
                _log.debug("the Dask worker that was to take an object has died: %r", error)
        raise BackendUnavailable(f"{_DEATHS} Dask workers died, one after the other, that were to take it.")


def is_lost(future: Future) -> bool:
    """Tell whether Dask has lost what a future stands for."""
    return future.status in ("cancelled", "lost")


def _has_failed(given: asyncio.Future[Future]) -> bool:
    """Tell whether an object did not come to Dask, or was lost there since."""
    return given.done() and (given.exception() is not None or is_lost(given.result()))
