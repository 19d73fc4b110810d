"""Run one task on a worker: what every backend's worker has in common."""

from __future__ import annotations

import importlib
import pickle
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import cloudpickle

from parallactic.errors import InvalidSpec, ParallacticError
from parallactic.wire.codec import Function, decode, encode
from parallactic.wire.envelopes import Envelope, Outcome, Stats
from parallactic.wire.payload import DataPlane, Payload
from parallactic.wire.ref import Resolving
from parallactic.worker.namespace import WorkerInfo

__all__ = ["FunctionCache", "execute"]

Result = tuple[bool, Payload]


class FunctionCache:
    """The functions that this worker has been sent, by digest."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Callable[..., Any]] = {}
        self._bodies: dict[bytes, bytes] = {}

    def load(self, function: Function) -> Callable[..., Any]:
        """Import or unpickle a function.

        Raises
        ------
        ImportError, AttributeError
            If this worker cannot import what the client could.
        """
        if function.module is not None:
            home: Any = sys.modules.get(function.module) or importlib.import_module(function.module)
            for part in function.qualname.split("."):
                home = getattr(home, part)
            return home  # type: ignore[no-any-return]
        digest = function.digest or b""
        if function.body is not None:
            self._bodies[digest] = function.body
        if digest not in self._by_digest:
            self._by_digest[digest] = cloudpickle.loads(self._bodies[digest])
        return self._by_digest[digest]


class Interrupted(BaseException):
    """Raised inside user code by a backend that has no other way to stop it."""


def execute(
    envelope: Envelope,
    info: WorkerInfo,
    plane: DataPlane,
    functions: FunctionCache,
    passing: tuple[type[BaseException], ...] = (Interrupted,),
) -> Outcome:
    """Run a task and return how it ended; nothing that user code does comes out as an exception.

    Those of the types `passing` do: they are not the task's, but ask the one who runs it to stop.
    """
    info.task, info.name = envelope.task, envelope.name
    threads = _raised_threads(info, envelope.cores)
    started, begin, cpu = time.time(), time.perf_counter(), time.process_time()
    try:
        ok, payload = _call(envelope, plane, functions, passing)
    finally:
        wall = time.perf_counter() - begin
        if threads is not None:
            threads()
        info.task, info.name = 0, ""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(
        envelope.task, envelope.attempt, ok, payload, Stats(started, wall, time.process_time() - cpu, memory)
    )


def _call(
    envelope: Envelope, plane: DataPlane, functions: FunctionCache, passing: tuple[type[BaseException], ...]
) -> Result:
    try:
        function = functions.load(envelope.function)
        if envelope.inputs:
            with Resolving(lambda index: decode(envelope.inputs[index].payload, plane)):
                args, kwargs = decode(envelope.arguments, plane)
        else:
            args, kwargs = decode(envelope.arguments, plane)
    except passing:
        raise
    except BaseException as error:  # noqa: BLE001  (whatever unpickling raises is the task's outcome)
        error.add_note(f"while this worker unpickled the function or the arguments of {envelope.name}")
        return False, encode_failure(error, envelope.name)
    try:
        value = function(*args, **kwargs)
    except passing:
        raise
    except BaseException as error:  # noqa: BLE001  (user code may raise anything; it belongs to the client)
        return False, encode_failure(error, envelope.name)
    try:
        return True, encode(value, plane)
    except passing:
        raise
    except BaseException as error:  # noqa: BLE001  (pickling runs user code as well)
        refusal = InvalidSpec(
            f"the result of {envelope.name}, a {type(value).__name__}, cannot be pickled: {error}"
        )
        refusal.__cause__ = error
        return False, encode_failure(refusal, envelope.name)


def encode_failure(error: BaseException, name: str) -> Payload:
    """Pickle an exception with its traceback as text, and make sure that the other end can unpickle it."""
    text = "".join(traceback.format_exception(error))
    try:
        head = cloudpickle.dumps((error, text), protocol=5)
        if not isinstance(pickle.loads(head)[0], BaseException):
            raise TypeError("it does not unpickle to an exception")
    except Exception as problem:  # noqa: BLE001  (an exception may fail to travel in any way)
        kind = type(error).__name__
        stand_in = ParallacticError(
            f"{name} raised {kind}: {error} (the {kind} itself does not travel: {problem})"
        )
        head = pickle.dumps((stand_in, text), protocol=5)
    return Payload(head)


def _raised_threads(info: WorkerInfo, cores: int) -> Callable[[], None] | None:
    """Let libraries use `cores` threads for one task; return what restores the limit, if it changes."""
    before = info.cores
    if cores in (0, before):
        return None
    from threadpoolctl import threadpool_limits

    limits = threadpool_limits(limits=cores)
    info.cores = cores

    def restore() -> None:
        limits.restore_original_limits()
        info.cores = before

    return restore
