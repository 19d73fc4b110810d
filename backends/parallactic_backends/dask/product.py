"""What a task leaves in Dask's memory: its result as it was pickled, for tasks and clients that need it."""

from __future__ import annotations

import os
import pickle
from typing import Any

from parallactic.wire.memory import SharedBlock
from parallactic.wire.payload import Payload
from parallactic_backends.relay.descriptors import contents, memory_of, open_of

__all__ = ["Product"]


class Product:
    """A result, or an object of the client, in the memory of a Dask worker.

    Parameters
    ----------
    payload
        The pickled object; its block, if any, is shared memory of this host.
    one_host
        Whether every process of the cluster is on this host: then it travels by the name of its memory.
    """

    __slots__ = ("one_host", "payload")

    def __init__(self, payload: Payload, *, one_host: bool) -> None:
        self.payload = payload
        self.one_host = one_host

    def __sizeof__(self) -> int:
        # Shared memory is not the process's own, and cannot be written to disk to make room.
        return 256 if self.one_host else self.payload.nbytes + 256

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        payload = self.payload
        small = (payload.head, tuple(bytes(buffer) for buffer in payload.buffers), payload.spans)
        block = payload.block
        if block is None:
            return _rebuild, (*small, None, self.one_host)
        if not isinstance(block, SharedBlock):
            raise TypeError(f"{block!r} is not in the memory of a Dask worker.")
        if self.one_host:
            return _rebuild, (*small, (os.getpid(), block.fd, block.size), True)
        large = contents(block.fd)
        # Dask's scheduler, where it passes data on, has protocol 4 spoken.
        return _rebuild, (*small, pickle.PickleBuffer(large) if protocol >= 5 else bytes(large), False)


def _rebuild(head: bytes, buffers: Any, spans: Any, memory: Any, one_host: bool) -> Product:
    if memory is None:
        block = None
    elif isinstance(memory, tuple):
        pid, fd, size = memory
        block = SharedBlock(open_of(pid, fd), size)
    else:
        block = SharedBlock(memory_of(memory), memoryview(memory).nbytes)
    return Product(Payload(head, buffers, block, spans), one_host=one_host)
