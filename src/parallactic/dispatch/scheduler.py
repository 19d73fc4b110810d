"""Which task goes to which worker, and when.

Untargeted tasks wait in one queue and have one attempt in flight on each worker: a window would put short
tasks behind a long one while another worker idles. Tasks of a lane go to their worker in strict order,
several ahead. Between the two, the older goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from parallactic.dispatch.admission import Resources
from parallactic.dispatch.engine_queue import EngineQueue
from parallactic.dispatch.task import Role, State, Task
from parallactic.dispatch.workers import Worker

__all__ = ["Scheduler"]

LANE_WINDOW = 8
"""Attempts in flight on a worker from its lane."""


class Scheduler:
    """The queues of one run.

    Parameters
    ----------
    workers
        Every worker, by number.
    resources
        What running tasks may use together.
    launch
        Called with each task and the worker it goes to; returns False if the task was cancelled meanwhile.
    engine
        Where untargeted tasks go if the engine itself chooses their workers.
    """

    def __init__(
        self,
        workers: list[Worker],
        resources: Resources,
        launch: Callable[[Task, Worker], bool],
        engine: EngineQueue | None = None,
    ) -> None:
        self._workers = workers
        self._resources = resources
        self._launch = launch
        self._engine = engine
        self._ready: deque[Task] = deque()
        self._idle: dict[int, Worker] = {}
        self._lanes: set[Worker] = set()

    def queue(self, task: Task, *, front: bool = False) -> None:
        """Put a task into its worker's lane, or with the untargeted ones once its inputs are there."""
        if task.target is not None:
            worker = self._workers[task.target]
            lane = worker.lane
            lane.appendleft(task) if front else lane.append(task)
            self._lanes.add(worker)
        elif not task.waiting:
            self._ready.appendleft(task) if front else self._ready.append(task)

    def inputs_arrived(self, task: Task) -> None:
        """Learn that a task need no longer wait."""
        if task.handed:
            return
        if task.target is None:
            self._ready.append(task)
        else:
            self._lanes.add(self._workers[task.target])

    def available(self, worker: Worker) -> None:
        """Learn that a worker may have room."""
        if worker.usable and not worker.inflight:
            self._idle[worker.id] = worker
        if worker.lane:
            self._lanes.add(worker)

    def unavailable(self, worker: Worker) -> None:
        """Learn that a worker gets no new work."""
        self._idle.pop(worker.id, None)

    def assign(self) -> None:
        """Launch whatever can be launched."""
        if self._engine is not None:
            self._engine.fill(self._ready)
        else:
            self._assign_to_idle()
        if self._lanes:
            for worker in list(self._lanes):
                self._fill(worker)

    def _assign_to_idle(self) -> None:
        ready, idle = self._ready, self._idle
        while ready and idle:
            task = ready[0]
            if task.state is State.DONE:
                ready.popleft()
                continue
            worker = self._choose(task)
            if worker is None or not self._resources.fits(task, worker.cores):
                break
            ready.popleft()
            self._start(task, worker)

    def _choose(self, task: Task) -> Worker | None:
        """Return an idle worker that has nothing older to do."""
        for worker in self._idle.values():
            lane = worker.lane
            if not lane or lane[0].id > task.id or lane[0].waiting:
                return worker
        return None

    def _fill(self, worker: Worker) -> None:
        lane, inflight = worker.lane, worker.inflight
        while lane and worker.usable and len(inflight) < LANE_WINDOW:
            task = lane[0]
            if task.state is State.DONE:
                lane.popleft()
                continue
            if task.waiting or not self._resources.fits(task, worker.cores):
                return
            if inflight and self._must_wait_its_turn(task, inflight[-1]):
                return
            lane.popleft()
            self._start(task, worker)
        if not lane:
            self._lanes.discard(worker)

    def _must_wait_its_turn(self, task: Task, before: Task) -> bool:
        """Tell whether a task may not be handed over while `before` is in flight.

        A task that may run again must not have been overtaken by then, what follows a setup depends on
        whether that succeeds, and an older untargeted task comes first.
        """
        older = bool(self._ready) and self._ready[0].id < task.id
        return bool(task.spec.retries or before.spec.retries) or before.role is not Role.CALL or older

    def _start(self, task: Task, worker: Worker) -> None:
        if self._launch(task, worker):
            self._resources.take(task, worker.cores)
            self._idle.pop(worker.id, None)
            worker.inflight.append(task)

    def leave(self, worker: Worker, number: int, attempt: int) -> tuple[Task | None, bool]:
        """Take an attempt off its worker.

        Returns
        -------
        task
            The task; None if it is not there (any more).
        promoted
            True if another task has thereby come to the head.
        """
        inflight = worker.inflight
        for task in inflight:
            if task.id == number and task.attempt == attempt:
                break
        else:
            return None, False
        was_head = task is inflight[0]
        inflight.remove(task)
        self._left(task, worker)
        self.available(worker)
        return task, was_head and bool(inflight)

    def leave_all(self, worker: Worker) -> list[Task]:
        """Take everything in flight off a worker that is gone."""
        self.unavailable(worker)
        inflight = list(worker.inflight)
        worker.inflight.clear()
        for task in inflight:
            self._left(task, worker)
        return inflight

    def _left(self, task: Task, worker: Worker) -> None:
        if self._engine is not None and task.target is None:
            self._engine.left(task)
        else:
            self._resources.give_back(task, worker.cores)

    def withdraw(self, task: Task) -> None:
        """Learn that nobody wants a task any more that the engine holds."""
        if self._engine is not None:
            self._engine.withdraw(task)
