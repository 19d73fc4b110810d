"""The tasks that an engine with a queue of its own was handed, and that no worker has begun.

Such an engine (Dask, a batch system) chooses the worker itself. It is handed work ahead of need, so that no
worker waits for the client between two tasks; but no more than that, so that what has not begun can still be
cancelled, and a short task is not stuck behind a long one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from parallactic.dispatch.admission import Resources
from parallactic.dispatch.task import State, Task
from parallactic.dispatch.workers import Worker

__all__ = ["EngineQueue"]

_AHEAD_SECONDS = 0.05
"""Work that is handed over ahead of need, for each worker: several round trips to a scheduler."""

_MOST_AHEAD = 32
"""Tasks that are handed over ahead of need, for each worker, however short they are."""

_MOST_ASIDE = 2000
"""Tasks in the engine's queue that wait for others in it, for a resource, or for a silent worker."""

_MOST_WITHDRAWN = 1000
"""Withdrawn tasks that are remembered, should a worker have begun them at that moment."""

_WEIGHT = 0.2
_UNIT = 1
"""Cores that a task without wishes counts for: which worker it gets is not known."""


class EngineQueue:
    """What the engine holds.

    Parameters
    ----------
    workers
        Every worker, by number; the list may grow.
    resources
        What running tasks may use together.
    launch
        Called with each task that is handed over; returns False if it was cancelled meanwhile.
    recall
        Called with each task that ended, for the client, before a worker began it.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        resources: Resources,
        launch: Callable[[Task], bool],
        recall: Callable[[Task], None],
    ) -> None:
        self._workers = workers
        self._resources = resources
        self._launch = launch
        self._recall = recall
        self._held: dict[int, Task] = {}
        self._aside: set[int] = set()
        self._withdrawn: OrderedDict[tuple[int, int], Task] = OrderedDict()
        self._typical: float | None = None

    def took(self, seconds: float) -> None:
        """Learn how long a task ran."""
        before = self._typical
        self._typical = seconds if before is None else before + _WEIGHT * (seconds - before)

    def fill(self, ready: deque[Task]) -> None:
        """Hand over from the front of `ready` as much as is needed to keep the workers busy."""
        room = self._room() if ready else 0
        while ready:
            task = ready[0]
            if task.state is State.DONE:
                ready.popleft()
                continue
            aside = _waits_for_resources(task)
            full = len(self._aside) >= _MOST_ASIDE if aside else room <= 0
            if full or not self._resources.fits(task, _UNIT):
                return
            ready.popleft()
            if self._hand(task) and not aside:
                room -= 1

    def follow(self, task: Task) -> bool:
        """Hand over a task that waits for others which the engine holds; return whether there was room."""
        if len(self._aside) >= _MOST_ASIDE or not self._resources.fits(task, _UNIT):
            return False
        return self._hand(task)

    def _hand(self, task: Task) -> bool:
        if not self._launch(task):
            return False
        task.handed = True
        self._held[task.id] = task
        if task.waiting or _waits_for_resources(task):
            self._aside.add(task.id)
        self._resources.take(task, _UNIT)
        return True

    def _room(self) -> int:
        """Return how many more tasks the engine should hold now."""
        places = running = 0
        for worker in self._workers:
            own = bool(worker.inflight) and worker.inflight[0].target is None
            running += own
            if worker.leaving or worker.gone:
                places += own
                continue
            # A worker that is still to come counts: an engine that grows with its load must see the load.
            places += own or not worker.up or (worker.usable and not worker.inflight)
        ahead = 0
        if self._typical is not None:
            ahead = min(_MOST_AHEAD, int(_AHEAD_SECONDS / max(self._typical, 1e-6)))
        wanted = places * (1 + ahead)
        room = wanted - running - (len(self._held) - len(self._aside))
        # In batches, which cost an engine less than as many single tasks, while there is enough to do.
        return room if room > places * ahead // 2 else 0

    def holds(self, number: int, attempt: int) -> bool:
        """Tell whether the engine holds an attempt that has not begun."""
        task = self._held.get(number)
        return task is not None and task.attempt == attempt

    def began(self, number: int, attempt: int, worker: Worker) -> Task | None:
        """Learn that a worker begins an attempt, before all else it was sent; None if it is not known.

        A worker may have begun what was withdrawn at the same moment.
        """
        task = self.give_back(number, attempt) or self._withdrawn.pop((number, attempt), None)
        if task is not None:
            task.attempt = attempt
            self._resources.take(task, _UNIT)
            worker.inflight.appendleft(task)
        return task

    def stalled(self, number: int, attempt: int) -> None:
        """Learn that an attempt will not begin soon: it is no work in stock for the workers that can work."""
        if self.holds(number, attempt):
            self._aside.add(number)

    def give_back(self, number: int, attempt: int) -> Task | None:
        """Take back an attempt that has not begun, and will not; None if it is not known."""
        if not self.holds(number, attempt):
            return None
        task = self._held.pop(number)
        task.handed = False
        self._aside.discard(number)
        self._resources.give_back(task, _UNIT)
        return task

    def left(self, task: Task) -> None:
        """Learn that an attempt which had begun is over."""
        self._resources.give_back(task, _UNIT)

    def withdraw(self, task: Task) -> None:
        """Learn that nobody wants a task any more that the engine holds."""
        self.give_back(task.id, task.attempt)
        self._withdrawn[task.id, task.attempt] = task
        if len(self._withdrawn) > _MOST_WITHDRAWN:
            self._withdrawn.popitem(last=False)
        self._recall(task)
        task.attempt -= 1  # it never began


def _waits_for_resources(task: Task) -> bool:
    """Tell whether a task may wait in the engine for a scarce thing, while others go past it."""
    return bool(task.spec.gpus or task.spec.memory)
