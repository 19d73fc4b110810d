"""References to large objects, sent to each worker once and used by many tasks; and how they travel."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from parallactic.errors import InvalidSpec
from parallactic.wire.payload import Input, Payload

__all__ = ["Collecting", "Placeholder", "Ref", "Resolving", "next_key"]

_keys = itertools.count(1)


def next_key() -> int:
    """Return a number that no other large object of this process has."""
    return next(_keys)


class _Context(threading.local):
    collect: list[Any] | None = None
    resolve: Callable[[int], Any] | None = None


_context = _Context()


class Ref:
    """An object that was put into the backend's data plane by ``Executor.put``.

    A Ref is given to tasks in place of the object, as an argument or anywhere inside one; the function
    receives the object itself. The data are freed when the last Ref to them is gone and no task needs them
    any more.
    """

    __slots__ = ("__weakref__", "_decode", "input", "kind")

    def __init__(self, entry: Input, kind: str, decode: Callable[[Payload], Any]) -> None:
        self.input = entry
        self.kind = kind
        self._decode = decode

    @property
    def nbytes(self) -> int:
        """Bytes of the object as it is stored."""
        return self.input.payload.nbytes

    def get(self) -> Any:
        """Return a private copy-on-write view of the object, on the client."""
        return self._decode(self.input.payload)

    def __reduce__(self) -> tuple[Any, ...]:
        if _context.collect is None:
            raise InvalidSpec(
                f"{self!r} travels only as an argument of a task; give it to submit(fn, ref) "
                "instead of capturing it in the function or pickling it."
            )
        _context.collect.append(self.input)
        return resolve_input, (len(_context.collect) - 1,)

    def __repr__(self) -> str:
        return f"<Ref to {self.kind}, {self.nbytes:,} bytes>"


class Placeholder:
    """What stands for a future inside pickled arguments; unpickled, it is the future's result."""

    __slots__ = ("future",)

    def __init__(self, future: Any) -> None:
        self.future = future

    def __reduce__(self) -> tuple[Any, ...]:
        if _context.collect is None:
            raise InvalidSpec("a placeholder of a future was pickled outside of a task's arguments.")
        _context.collect.append(self.future)
        return resolve_input, (len(_context.collect) - 1,)


def resolve_input(index: int) -> Any:
    """Return the value of the task's input number `index`; called by pickle on the worker."""
    if _context.resolve is None:
        raise InvalidSpec("an input of a task can be unpickled only by the worker that runs the task.")
    return _context.resolve(index)


class Collecting:
    """Collect the futures and the inputs of Refs met while arguments are pickled on this thread."""

    def __init__(self, inputs: list[Any]) -> None:
        self._inputs = inputs

    def __enter__(self) -> None:
        self._outer, _context.collect = _context.collect, self._inputs

    def __exit__(self, *_: object) -> None:
        _context.collect = self._outer


class Resolving:
    """Give the values of inputs to arguments that are unpickled on this thread."""

    def __init__(self, resolve: Callable[[int], Any]) -> None:
        self._resolve = resolve

    def __enter__(self) -> None:
        self._outer, _context.resolve = _context.resolve, self._resolve

    def __exit__(self, *_: object) -> None:
        _context.resolve = self._outer
