"""`map`: many items in few tasks, results in order."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as FuturesTimeoutError
from typing import Any, Literal, Protocol

from parallactic.dispatch.endings import unpack_failure
from parallactic.errors import InvalidSpec
from parallactic.future import Future
from parallactic.spec import TaskSpec
from parallactic.wire.codec import encode_function
from parallactic.worker.chunk import Chunk, Failure

__all__ = ["map_items"]

_AIM_SECONDS = 0.010
_PROBE_SECONDS = 0.1
_START_SECONDS = 10.0
_PROBES = 2
_CHUNKS_PER_WORKER = 4


class Pool(Protocol):
    """What a map needs of an executor."""

    @property
    def max_workers(self) -> int:
        """Number of workers."""

    def dispatch(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], spec: TaskSpec
    ) -> list[Future]:
        """Submit one task."""

    def any_worker_up(self) -> bool:
        """Tell whether a worker has reported."""


Items = Sequence[tuple[Any, ...]]


def map_items(
    pool: Pool,
    spec: TaskSpec,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    chunksize: int | Literal["auto"],
    buffersize: int | None,
) -> Iterator[Any]:
    """Carry out ``Executor.map``; see there."""
    if chunksize != "auto" and (not isinstance(chunksize, int) or chunksize < 1):
        raise InvalidSpec(f"chunksize={chunksize!r} must be 'auto' or a whole number of at least 1.")
    if buffersize is not None and (not isinstance(buffersize, int) or buffersize < 1):
        raise InvalidSpec(f"buffersize={buffersize!r} must be a whole number of at least 1, or None.")
    if not iterables:
        raise InvalidSpec("map needs at least one iterable of items.")
    end = None if timeout is None else time.monotonic() + timeout
    if spec.timeout is not None or spec.walltime is not None or spec.retries:
        # A limit or a repetition is meant for one item.
        chunksize = 1
    run = _Map(pool, spec, fn, end)
    source = zip(*iterables, strict=False)
    if buffersize is not None:
        return run.lazily(source, chunksize, buffersize)
    return run.eagerly(list(source), chunksize)


class _Map:
    def __init__(self, pool: Pool, spec: TaskSpec, fn: Callable[..., Any], end: float | None) -> None:
        self._pool = pool
        self._spec = spec
        name = spec.name or encode_function(fn).qualname.rpartition(".")[2]
        self._spec = spec.updated(name=name)
        self._chunk = Chunk(fn, name, raises=bool(spec.retries))
        self._end = end

    def _submit(self, items: Items) -> Future:
        return self._pool.dispatch(self._chunk, (list(items),), {}, self._spec)[0]

    def _left(self) -> float | None:
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def eagerly(self, items: Items, chunksize: int | Literal["auto"]) -> Iterator[Any]:
        """Submit everything now."""
        futures: deque[Future] = deque()
        begin = 0
        if chunksize == "auto":
            chunksize = 1
            while begin < min(_PROBES, len(items)):
                futures.append(self._submit(items[begin : begin + 1]))
                begin += 1
                seconds = self._probe(futures[-1])
                if seconds is None:
                    break
                chunksize = self._aim(seconds, len(items))
                if seconds < _AIM_SECONDS / 10:
                    break
        for start in range(begin, len(items), chunksize):
            futures.append(self._submit(items[start : start + chunksize]))
        return self._results(futures)

    def _probe(self, future: Future) -> float | None:
        """Return the seconds that the items of a chunk took, or None if they take long."""
        begin = time.monotonic()
        while True:
            try:
                error = future.exception(_PROBE_SECONDS)
            except FuturesTimeoutError:
                if self._pool.any_worker_up() or time.monotonic() - begin > _START_SECONDS:
                    return None
                continue
            return None if error is not None else future.result()[0]

    def _aim(self, seconds: float, count: int) -> int:
        fair = -(-count // (_CHUNKS_PER_WORKER * self._pool.max_workers))
        return max(1, min(int(_AIM_SECONDS / max(seconds, 1e-7)), fair))

    def _results(self, futures: deque[Future]) -> Iterator[Any]:
        def results() -> Iterator[Any]:
            try:
                while futures:
                    # Taken off first: a result that was yielded is not kept alive here.
                    yield from self._open(futures.popleft())
            finally:
                for future in futures:
                    future.cancel()

        return results()

    def _open(self, future: Future) -> Iterator[Any]:
        _, values = future.result(self._left())
        values.reverse()
        while values:
            value = values.pop()
            if type(value) is Failure:
                raise unpack_failure(value.payload, self._chunk.__name__)
            yield value

    def lazily(
        self, source: Iterator[tuple[Any, ...]], chunksize: int | Literal["auto"], buffersize: int
    ) -> Iterator[Any]:
        """Submit `buffersize` items now, and more as results are taken."""
        futures: deque[tuple[Future, int]] = deque()
        # Several chunks for each worker must fit into the buffer, or workers wait for the consumer.
        most = max(1, buffersize // (2 * self._pool.max_workers))
        size = 1 if chunksize == "auto" else min(chunksize, buffersize)
        room = buffersize

        def submit() -> bool:
            nonlocal room
            items = list(itertools.islice(source, min(size, room)))
            if items:
                futures.append((self._submit(items), len(items)))
                room -= len(items)
            return bool(items)

        def measure(future: Future, count: int) -> None:
            nonlocal size
            seconds = self._probe(future)
            if chunksize == "auto" and seconds is not None:
                size = max(1, min(int(_AIM_SECONDS * count / max(seconds, 1e-7)), most))

        def fill() -> None:
            # A chunk waits until it can be a whole one, unless nothing is on its way.
            while room >= size or (room and not futures):
                if not submit():
                    return

        def results() -> Iterator[Any]:
            nonlocal room
            try:
                while futures:
                    future, count = futures.popleft()
                    future.result(self._left())
                    measure(future, count)
                    values = self._open(future)
                    del future
                    for value in values:
                        room += 1
                        yield value
                    fill()
            finally:
                for future, _ in futures:
                    future.cancel()

        if submit() and chunksize == "auto":
            measure(*futures[0])
        fill()
        return results()
