"""The future of a task: a ``concurrent.futures.Future`` that can stop what it stands for."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from concurrent.futures import _base
from threading import Condition, Lock
from typing import Any, NoReturn, Protocol

from parallactic.errors import InvalidSpec
from parallactic.wire.codec import decode
from parallactic.wire.payload import DataPlane, Input, Payload

__all__ = ["Broadcast", "Future", "Hooks"]

_opening = Lock()


class Hooks(Protocol):
    """What a future needs of the run it belongs to."""

    plane: DataPlane

    def cancelled(self, future: Future, *, force: bool) -> None:
        """Learn that a future was cancelled; with `force`, stop what runs."""

    def later(self, function: Callable[[], None]) -> None:
        """Call `function` on the thread of callbacks."""


class _Held:
    """A result that has not been unpickled yet."""

    __slots__ = ("payload",)

    def __init__(self, payload: Payload) -> None:
        self.payload = payload


class Future(concurrent.futures.Future[Any]):
    """What a task will return.

    It obeys ``concurrent.futures`` to the letter, with two differences in kind: done-callbacks run on a
    thread of their own, so that a callback may submit and wait; and a result is fetched and unpickled when it
    is first asked for, so that one that only another task needs never comes to the client.
    """

    def __init__(self, hooks: Hooks, name: str = "", task: int = 0) -> None:
        super().__init__()
        self._hooks = hooks
        self._name = name
        self.task = task
        self._input: Input | None = None
        self._unreadable: BaseException | None = None

    def cancel(self, *, force: bool = False) -> bool:
        """Cancel the task.

        Parameters
        ----------
        force
            Stop the task even if it runs: its worker is killed and replaced, other workers are untouched.
            Where a backend cannot kill (`serial`), the task is interrupted between two bytecodes.

        Returns
        -------
        bool
            False if the task has ended, or runs and `force` is False.
        """
        if self.cancelled():
            return True
        if super().cancel():
            # It may be about to begin, or have begun without this process knowing yet.
            self._hooks.cancelled(self, force=force)
            return True
        if force and self._end_cancelled():
            self._hooks.cancelled(self, force=True)
            return True
        return False

    def result(self, timeout: float | None = None) -> Any:
        """Return what the task returned, waiting for it.

        Raises
        ------
        TimeoutError
            If it has not ended after `timeout` seconds; the task goes on.
        concurrent.futures.CancelledError
            If it was cancelled.
        WorkerLost
            If the result stayed with its worker and that worker has died.
        """
        value = super().result(timeout)
        return self._open(value) if type(value) is _Held else value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or None, waiting for it.

        Raises
        ------
        TimeoutError
            If it has not ended after `timeout` seconds; the task goes on.
        concurrent.futures.CancelledError
            If it was cancelled.
        """
        error = super().exception(timeout)
        held = self._result
        if error is None and type(held) is _Held:
            try:
                self._open(held)
            except Exception as unreadable:  # noqa: BLE001  (unpickling runs user code)
                return unreadable
        return error

    def _open(self, held: _Held) -> Any:
        with _opening:
            if self._unreadable is not None:
                raise self._unreadable
            if self._result is not held:
                return self._result
            try:
                value = decode(held.payload, self._hooks.plane)
            except Exception as error:
                error.add_note(f"while the result of {self._name} was unpickled")
                self._unreadable = error
                raise
            self._result = value
            if self._input is None:
                self._input = Input(held.payload)
            return value

    @property
    def guard(self) -> Condition:
        """The lock under which a future is settled, once."""
        return self._condition

    @property
    def settled(self) -> bool:
        """Whether it has a result, has failed, or is cancelled. Certain only while `guard` is held."""
        return self._state not in (_base.PENDING, _base.RUNNING)

    def succeed(self, payload: Payload, entry: Input | None = None) -> None:
        """Set the result as it came from the worker; `entry` is what other tasks refer to, if it is large.

        A future that was cancelled meanwhile stays so: late results are dropped.
        """
        with self._condition:
            if not self.settled:
                self._input = entry
                self.set_result(_Held(payload))

    def belongs_to(self, hooks: Hooks) -> bool:
        """Tell whether this is the future of one task of the run `hooks`."""
        return self._hooks is hooks

    def failure(self) -> BaseException | None:
        """Return the exception of a future that is done, without unpickling its result."""
        return super().exception()

    def as_input(self) -> Input:
        """Return the result as an input of another task."""
        if self._input is None:
            held = self._result
            if type(held) is not _Held:
                raise InvalidSpec(f"{self!r} has no result that a task could take.")
            self._input = Input(held.payload)
        return self._input

    def _end_cancelled(self) -> bool:
        """Turn a running future into a cancelled one; `concurrent.futures` has no such step."""
        with self._condition:
            if self._state != _base.RUNNING:
                return False
            self._state = _base.CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._invoke_callbacks()
        return True

    def fail(self, error: BaseException) -> None:
        """Set the exception, unless the future has ended."""
        with self._condition:
            if not self.settled:
                self.set_exception(error)

    def _invoke_callbacks(self) -> None:
        if self._done_callbacks:  # type: ignore[attr-defined]
            self._hooks.later(super()._invoke_callbacks)  # type: ignore[misc]

    def __reduce__(self) -> NoReturn:
        raise InvalidSpec(
            f"{self!r} does not travel: give it to submit as an argument, or inside a list, tuple or dict of "
            "arguments, and the task receives its result."
        )


class Broadcast(Future):
    """The future of one task on several workers: the list of their values, in the order of the workers.

    It fails with the first error in that order, after all have ended.
    """

    def __init__(self, hooks: Hooks, futures: Sequence[Future]) -> None:
        super().__init__(hooks, "broadcast")
        self._parts = tuple(futures)
        self._left = len(self._parts)
        self._counting = Lock()

    def follow(self) -> None:
        """Begin to wait for the parts."""
        self.set_running_or_notify_cancel()
        for part in self._parts:
            part.add_done_callback(self._one_ended)

    def _one_ended(self, _: concurrent.futures.Future[Any]) -> None:
        with self._counting:
            self._left -= 1
            if self._left:
                return
        if any(part.cancelled() for part in self._parts):
            self._end_cancelled()
            return
        errors = [error for part in self._parts if (error := part.exception()) is not None]
        if errors:
            self.fail(errors[0])
        else:
            self.set_result([part.result() for part in self._parts])

    def cancel(self, *, force: bool = False) -> bool:
        """Cancel the task on every worker; return whether it was possible on all."""
        cancelled = [part.cancel(force=force) for part in self._parts]
        return all(cancelled)

    def belongs_to(self, hooks: Hooks) -> bool:
        """Tell that this is never the future of one task."""
        return False
