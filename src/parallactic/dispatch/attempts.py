"""The attempts that workers run: when they begin, how they end, and how they are stopped."""

from __future__ import annotations

import time
from collections.abc import Callable

from parallactic.backend import (
    Backend,
    Finished,
    Lost,
    Returned,
    Skipped,
    Spared,
    Started,
    WorkerDown,
    WorkerUp,
)
from parallactic.dispatch.deadlines import Deadlines
from parallactic.dispatch.endings import lost_error, remote_error, time_error
from parallactic.dispatch.engine_queue import EngineQueue
from parallactic.dispatch.fleet import Fleet
from parallactic.dispatch.journal import Journal
from parallactic.dispatch.ledger import Ledger
from parallactic.dispatch.scheduler import Scheduler
from parallactic.dispatch.task import Role, State, Task
from parallactic.dispatch.workers import Worker
from parallactic.errors import BackendUnavailable
from parallactic.future import Future
from parallactic.wire.envelopes import Stats
from parallactic.wire.payload import Input, Payload
from parallactic.wire.ref import next_key

__all__ = ["Attempts"]


class Attempts:
    """Takes what the backend reports, on the dispatcher's thread.

    Parameters
    ----------
    backend, journal, scheduler, engine, ledger, fleet
        Those of the run.
    release
        Called with the key of a large result that nobody needs any more.
    hurry
        Called when the nearest limit has changed.
    """

    def __init__(
        self,
        backend: Backend,
        journal: Journal,
        scheduler: Scheduler,
        engine: EngineQueue,
        ledger: Ledger,
        fleet: Fleet,
        *,
        release: Callable[[int], None],
        hurry: Callable[[], None],
    ) -> None:
        self.deadlines = Deadlines()
        self.broken: BaseException | None = None
        self.closing = False
        self._backend, self._journal = backend, journal
        self._scheduler, self._engine = scheduler, engine
        self._ledger, self._fleet = ledger, fleet
        self._release, self._hurry = release, hurry

    def begins(self, task: Task) -> None:
        """Start the clock of an attempt that is now at the head of its worker."""
        task.since = time.monotonic()
        if self.deadlines.add(task):
            self._hurry()

    def started(self, event: Started) -> None:
        """Learn that a worker begins an attempt that was in the engine's queue."""
        worker = self._fleet.worker(event.worker)
        task = self._engine.began(event.task, event.attempt, worker)
        if task is None:
            return
        self._journal.launched(task.id, task.attempt, worker.id)
        for waits in list(worker.inflight)[1:2]:
            waits.since = 0.0
        if task.state is not State.DONE:
            # A future that was cancelled at this moment says so here; the message is about to come.
            _ = task.future.running() or task.future.set_running_or_notify_cancel()
            task.state = State.RUNNING
        self.begins(task)
        if task.doomed:
            self._kill(task, worker)

    def finished(self, event: Finished) -> None:
        """Learn how an attempt has ended."""
        outcome = event.outcome
        worker = self._fleet.worker(event.worker or 0)
        task = self._leave(worker, outcome.task, outcome.attempt)
        if task is None:
            return
        worker.done += 1
        if task.target is None:
            self._engine.took(outcome.stats.wall)
        elif task.begins_epoch and not any(other.begins_epoch for other in (*worker.inflight, *worker.lane)):
            self._backend.admit(worker.id)
        if task.state is State.DONE:
            return
        limits = [limit for limit in (task.spec.timeout, task.spec.walltime) if limit is not None]
        if limits and outcome.stats.wall > min(limits):
            # A call that held the interpreter lock kept this thread from noticing in time.
            self._failed(task, time_error(task, worker), worker, outcome.stats)
        elif outcome.ok:
            self._succeed(task, outcome.payload, outcome.stats, worker)
        else:
            error = remote_error(outcome.payload, task, worker)
            self._failed(task, error, worker, outcome.stats)

    def worker_up(self, event: WorkerUp) -> None:
        """Take a worker into service."""
        if self._fleet.up(event):
            self._backend.admit(event.worker)

    def _leave(self, worker: Worker, number: int, attempt: int) -> Task | None:
        """Take an attempt off its worker; None if it is not there (any more)."""
        task, promoted = self._scheduler.leave(worker, number, attempt)
        if promoted:
            head = worker.inflight[0]
            self.begins(head)
            if head.doomed:
                self._kill(head, worker)
        return task

    def skipped(self, event: Skipped) -> None:
        """Learn that a cancelled attempt will not run."""
        if event.worker is None:
            return  # it was withdrawn from the engine, and has ended
        worker = self._fleet.worker(event.worker)
        head = worker.inflight[0] if worker.inflight else None
        if head is not None and (head.id, head.attempt) == (event.task, event.attempt):
            # If it was to be killed, that found it not begun.
            self._fleet.spared(Spared(worker.id, worker.epoch))
        task = self._leave(worker, event.task, event.attempt)
        if task is not None and task.state is not State.DONE:
            self._ledger.end(task, "cancelled")

    def returned(self, event: Returned) -> None:
        """Take back an attempt that the engine will not begin."""
        task = self._engine.give_back(event.task, event.attempt)
        if task is not None:
            self._ledger.back_to_queue(task)

    def worker_down(self, event: WorkerDown) -> None:
        """Take a worker out of service, and end what it had begun."""
        worker = self._fleet.worker(event.worker)
        for task in self._fleet.down(event, expected=self.closing):
            if task.state is not State.DONE:
                error = time_error(task, worker) if task.overtime else lost_error(task, worker, event)
                self._failed(task, error, worker, None)

    def lost(self, event: Lost) -> None:
        """Learn that an attempt has ended without an outcome."""
        task = self._ledger.tasks.get(event.task)
        if task is None or task.attempt != event.attempt:
            return
        if self._engine.give_back(event.task, event.attempt) is not None:
            self._failed(task, lost_error(task, None, event), None, None)
            return
        for worker in self._fleet.workers:
            if task in worker.inflight:
                self._leave(worker, event.task, event.attempt)
                self._failed(task, lost_error(task, worker, event), worker, None)
                return

    def give_up(self, error: BaseException) -> None:
        """End every task with `error`: nothing can be run any more."""
        self.broken = error
        for task in list(self._ledger.tasks.values()):
            self._ledger.fail(task, error)

    def _succeed(self, task: Task, payload: Payload, stats: Stats, worker: Worker) -> None:
        if task.is_setup:
            worker.setups.append(task)
        entry = Input(payload, next_key(), self._release) if payload.block is not None else None
        self._ledger.succeed(task, payload, entry, worker, stats)

    def _failed(self, task: Task, error: BaseException, worker: Worker | None, stats: Stats | None) -> None:
        if worker is not None and task.role is Role.INITIALIZER:
            problem = BackendUnavailable(f"the initializer failed on worker {worker.id}: {error!r}.")
            problem.__cause__ = error
            self.give_up(problem)
            return
        if worker is not None and task.role is Role.REPLAY:
            self._fleet.replay_failed(task, error, worker)
            return
        task.failures += 1
        stays = task.target is None or worker is None or self._fleet.keeps_state(worker)
        if task.failures > task.spec.retries or task.doomed or not stays or self.broken:
            self._ledger.fail(task, error, worker, stats)
            return
        self._ledger.retry(task, worker, stats, error)

    def cancelled(self, future: Future, force: bool) -> None:
        """Learn that a future was cancelled by its owner; with `force`, stop what runs."""
        task = self._ledger.tasks.get(future.task)
        if task is None or task.future is not future:
            return
        running = task.state is State.RUNNING
        if not running:
            future.set_running_or_notify_cancel()
        task.doomed |= force
        self._ledger.end(task, "cancelled")
        self._ledger.notify(future)
        if force and running:
            worker = next((worker for worker in self._fleet.workers if task in worker.inflight), None)
            if worker is None:
                return
            if task is worker.inflight[0]:
                self._kill(task, worker)
            else:
                self._backend.cancel(task.id, task.attempt, worker.id, force=False)

    def time_is_up(self, task: Task) -> None:
        """Stop an attempt that has run for too long."""
        worker = next((worker for worker in self._fleet.workers if task in worker.inflight), None)
        if worker is None:
            return
        task.overtime = True
        if task.failures >= task.spec.retries:
            task.doomed = True
            self._ledger.fail(task, time_error(task, worker), worker)
        self._kill(task, worker)

    def _kill(self, task: Task, worker: Worker) -> None:
        worker.killing = True
        self._scheduler.unavailable(worker)
        self._backend.cancel(task.id, task.attempt, worker.id, force=True)
