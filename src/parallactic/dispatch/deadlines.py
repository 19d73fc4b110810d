"""Time: the limits of running tasks."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from parallactic.dispatch.task import State, Task

__all__ = ["Deadlines"]


class Deadlines:
    """The limits of running attempts, the nearest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, float, Task]] = []

    def add(self, task: Task) -> bool:
        """Note the limit of an attempt that has just started; return True if it is the nearest of all."""
        limits = [limit for limit in (task.spec.timeout, task.spec.walltime) if limit is not None]
        if not limits:
            return False
        entry = (task.since + min(limits), task.id, task.attempt, task.since, task)
        heapq.heappush(self._heap, entry)
        return self._heap[0] is entry

    def next(self) -> float | None:
        """Return when the next limit is due."""
        self._drop_ended()
        return self._heap[0][0] if self._heap else None

    def _drop_ended(self) -> None:
        while self._heap:
            _, _, attempt, since, task = self._heap[0]
            if task.state is State.RUNNING and task.attempt == attempt and task.since == since:
                return
            heapq.heappop(self._heap)

    def due(self, now: float) -> Iterator[Task]:
        """Yield the tasks whose attempt has run for too long."""
        while (moment := self.next()) is not None and moment <= now:
            yield heapq.heappop(self._heap)[4]
