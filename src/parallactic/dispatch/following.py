"""Tasks whose inputs the engine itself waits for."""

from __future__ import annotations

from collections import deque

from parallactic.dispatch.engine_queue import EngineQueue
from parallactic.dispatch.ledger import Ledger
from parallactic.dispatch.task import State, Task
from parallactic.future import Future
from parallactic.wire.envelopes import Awaited
from parallactic.wire.payload import Input

__all__ = ["Following"]


class Following:
    """Hands tasks to an engine that holds all their missing inputs.

    Parameters
    ----------
    engine, ledger
        Those of the run.
    native
        Whether the engine can wait for inputs.
    """

    def __init__(self, engine: EngineQueue, ledger: Ledger, *, native: bool) -> None:
        self._engine = engine
        self._ledger = ledger
        self._native = native
        self._handed: deque[Task] = deque()

    def handed(self, task: Task) -> None:
        """Learn that the engine has a task, whose followers it can now take too."""
        if self._native:
            self._handed.append(task)

    def serve(self) -> None:
        """Hand over what can follow; on and on, down a graph."""
        while self._handed:
            for follower in self._ledger.followers(self._handed.popleft()):
                self.take(follower)

    def take(self, task: Task) -> bool:
        """Hand over a task that waits for others, if the engine holds these; return whether it did.

        A task that follows one which may be run again is not: Dask, for one, fails it with the first attempt.
        """
        if not self._native or task.handed or task.state is not State.HELD:
            return False
        if task.target is not None or task.spec.retries:
            return False
        if not all(type(source) is Input or source.done() or self._holds(source) for source in task.sources):
            return False
        return self._engine.follow(task)

    def _holds(self, source: Future) -> bool:
        holder = self._ledger.tasks.get(source.task)
        if holder is None or holder.future is not source or holder.spec.retries or holder.target is not None:
            return False
        return holder.handed or holder.state is State.RUNNING

    def awaited(self, task: Task) -> tuple[Awaited, ...]:
        """Say which inputs of a task are not there yet, and which attempts will make them."""
        missing = []
        for index, source in enumerate(task.sources):
            if type(source) is not Input and not source.done():
                holder = self._ledger.tasks[source.task]
                missing.append(Awaited(index, holder.id, holder.attempt))
        return tuple(missing)
