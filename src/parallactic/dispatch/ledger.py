"""The unfinished tasks of a run: what they wait for, and how they end."""

from __future__ import annotations

from collections import Counter, deque

from parallactic.dispatch.endings import dependency_error
from parallactic.dispatch.journal import Journal
from parallactic.dispatch.scheduler import Scheduler
from parallactic.dispatch.slots import Slots
from parallactic.dispatch.task import Role, State, Task
from parallactic.dispatch.workers import Worker
from parallactic.future import Future
from parallactic.wire.envelopes import Stats
from parallactic.wire.payload import Input, Payload

__all__ = ["Ledger"]


class Ledger:
    """Every unfinished task, and the books about the others.

    Parameters
    ----------
    scheduler
        Where a task goes when its inputs are there.
    journal
        Where every end is recorded.
    """

    def __init__(self, scheduler: Scheduler, journal: Journal) -> None:
        self.tasks: dict[int, Task] = {}
        self.latest = 0
        """Number of the task that came last."""
        self.counts: Counter[str] = Counter()
        self.slots: Slots | None = None
        self._scheduler = scheduler
        self._journal = journal
        self._waiting_for: dict[Future, list[Task]] = {}
        self._done: deque[Future] = deque()

    def add(self, task: Task) -> None:
        """Take a new task."""
        self.tasks[task.id] = task
        self.latest = task.id
        self._journal.submitted(task.id, task.name, task.target)

    def await_inputs(self, task: Task) -> bool:
        """Count the inputs that are missing; return False if one of them has failed, and the task with it."""
        for source in task.sources:
            if type(source) is Input:
                continue
            if not source.done():
                self._waiting_for.setdefault(source, []).append(task)
                task.waiting += 1
                task.state = State.HELD
            elif error := dependency_error(source, task):
                self.fail(task, error)
                return False
        return True

    def followers(self, task: Task) -> list[Task]:
        """Return the tasks that wait for the result of this one."""
        return self._waiting_for.get(task.future, [])

    def notify(self, future: Future) -> None:
        """Tell the tasks that wait for a future that it is done."""
        if not self._waiting_for:
            return
        self._done.append(future)
        if len(self._done) > 1:
            # A task has failed with its input: the call that is at work comes to those behind it, however
            # long the chain.
            return
        while self._done:
            self._tell(self._done[0])
            self._done.popleft()

    def _tell(self, future: Future) -> None:
        for task in self._waiting_for.pop(future, ()):
            if task.state is State.DONE:
                continue
            if error := dependency_error(future, task):
                self.fail(task, error)
                continue
            task.waiting -= 1
            if not task.waiting and task.state is State.HELD:
                task.state = State.QUEUED
                self._scheduler.inputs_arrived(task)

    def succeed(
        self, task: Task, payload: Payload, entry: Input | None, worker: Worker, stats: Stats
    ) -> None:
        """End a task with its result."""
        future = task.future
        with future.guard:
            self.end(task, "cancelled" if future.settled else "finished", worker, stats)
            future.succeed(payload, entry)
        self.notify(future)

    def fail(
        self, task: Task, error: BaseException, worker: Worker | None = None, stats: Stats | None = None
    ) -> None:
        """End a task with an error, unless it has ended."""
        if task.state is State.DONE:
            return
        future = task.future
        with future.guard:
            if future.settled:
                self.end(task, "cancelled", worker, stats)
            else:
                self.end(task, "failed", worker, stats, error)
                future.fail(error)
        self.notify(future)

    def end(
        self,
        task: Task,
        state: str,
        worker: Worker | None = None,
        stats: Stats | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Forget a task; its slot is free before anybody learns of its end."""
        if task.state is State.DONE:
            return
        task.state = State.DONE
        self.tasks.pop(task.id, None)
        if task.handed:
            self._scheduler.withdraw(task)
        if task.role is Role.CALL or task.is_setup:
            self.counts[state] += 1
            if self.slots is not None:
                self.slots.give_back()
        self._record(task, state, worker, stats, error)

    def drop(self, task: Task) -> None:
        """Forget a task that nobody waits for."""
        task.state = State.DONE
        self.tasks.pop(task.id, None)

    def retry(self, task: Task, worker: Worker | None, stats: Stats | None, error: BaseException) -> None:
        """Put a task whose attempt has failed back to the front."""
        self.counts["retried"] += 1
        self._record(task, "retry", worker, stats, error)
        self.back_to_queue(task)

    def back_to_queue(self, task: Task) -> None:
        """Put an attempt back to the front, to be launched again."""
        if task.state is not State.DONE:
            task.state = State.HELD if task.waiting else State.QUEUED
            self._scheduler.queue(task, front=True)

    def _record(
        self, task: Task, state: str, worker: Worker | None, stats: Stats | None, error: BaseException | None
    ) -> None:
        problem = f"{type(error).__name__}: {error}" if error is not None else ""
        place = worker.id if worker is not None else None
        self._journal.ended(task.id, task.attempt, state, place, stats, problem)
