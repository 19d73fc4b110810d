"""A task as it goes through Dask's graph."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence

from parallactic.wire.codec import Function
from parallactic.wire.envelopes import Envelope
from parallactic.wire.payload import Input, Payload
from parallactic_backends.dask.product import Product

__all__ = ["pack", "unpack"]

_keys = itertools.count(-1, -1)
"""Keys of inputs that came through Dask, unlike any of the client's."""

Part = Product | int
"""A value itself, or its place among the results that Dask brings along."""


def pack(envelope: Envelope, arguments: Part, inputs: Sequence[Part], *, many: bool) -> bytes:
    """Pickle a task, and whether it is one of many."""
    content = (envelope.task, envelope.attempt, envelope.name, tuple(envelope.function), envelope.cores)
    return pickle.dumps((content, arguments, tuple(inputs), many), 5)


def unpack(parcel: bytes, results: Sequence[Product]) -> tuple[Envelope, bool]:
    """Read a task, and whether it is one of many; `results` are what Dask brought along."""

    def value(part: Part) -> Payload:
        return (results[part] if isinstance(part, int) else part).payload

    content, arguments, inputs, many = pickle.loads(parcel)
    task, attempt, name, function, cores = content
    # With keys each goes as a message of its own: one message carries few descriptors.
    entries = tuple(Input(value(part), next(_keys)) for part in inputs)
    return Envelope(task, attempt, name, Function(*function), value(arguments), entries, cores), many
