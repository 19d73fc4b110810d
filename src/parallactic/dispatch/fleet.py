"""The workers of a run: how they come, fall silent, go, and are brought back to their state."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from parallactic.backend import Heartbeat, Spared, WorkerDown, WorkerUp
from parallactic.dispatch.endings import state_lost
from parallactic.dispatch.journal import Journal
from parallactic.dispatch.ledger import Ledger
from parallactic.dispatch.scheduler import Scheduler
from parallactic.dispatch.task import Role, Task
from parallactic.dispatch.workers import Worker
from parallactic.errors import WorkerLost
from parallactic.future import Future, Hooks

__all__ = ["Fleet"]

_log = logging.getLogger(__name__)


class Fleet:
    """All workers of a run, by number.

    Parameters
    ----------
    workers
        One for each number.
    scheduler, ledger, journal
        Those of the run.
    hooks
        What futures of the run need.
    """

    MISSED_BEATS_SECONDS = 1.0
    """A worker whose supervisor was silent for this long gets no new work."""

    def __init__(
        self, workers: list[Worker], scheduler: Scheduler, ledger: Ledger, journal: Journal, hooks: Hooks
    ) -> None:
        self.workers = workers
        self.count = len(workers)
        """How many workers there are to be; those beyond leave."""
        self._former: dict[int, Worker] = {}
        self.initializer: Callable[[Worker], Task] | None = None
        self.beats = False
        self._scheduler = scheduler
        self._ledger = ledger
        self._journal = journal
        self._hooks = hooks

    def worker(self, number: int) -> Worker:
        """Return a worker by its number; one that is new joins the run."""
        if number in self._former:
            return self._former[number]  # a late word of it
        while number >= len(self.workers):
            self._add()
        return self.workers[number]

    def _add(self) -> None:
        number = len(self.workers)
        worker = self._former.pop(number, None) or Worker(number)
        worker.joined_after, worker.gone = self._ledger.latest, False
        self.workers.append(worker)
        self.count = max(self.count, len(self.workers))

    def resize(self, count: int) -> None:
        """Make room for more workers, or let the last ones go when they have ended what they have begun."""
        self.count = count
        while len(self.workers) < count:
            self._add()
        for worker in self.workers[:count]:
            worker.gone = False
        for worker in self.workers[count:]:
            if not worker.leaving and not worker.gone:
                worker.leaving = True
                self._scheduler.unavailable(worker)
            self._strand(worker)
        self._journal.note("resize", workers=count)

    def keeps_state(self, worker: Worker) -> bool:
        """Tell whether what is addressed to a worker may be addressed to it again."""
        return not worker.leaving and not worker.gone and (worker.up or worker.keeps_state)

    def up(self, event: WorkerUp) -> bool:
        """Take a worker into service, after the initializer and the setups it must begin with.

        Returns
        -------
        bool
            Whether there are none of these, so that it may run anything.
        """
        worker = self.worker(event.worker)
        joined_after, worker.joined_after = worker.joined_after, None
        if joined_after is not None:
            pattern = self.workers[0]
            known = (*pattern.setups, *pattern.inflight, *pattern.lane)
            # Those that came after it has joined are addressed to it as well.
            before = [task for task in known if task.id <= joined_after]
            worker.setups += [task for task in before if task.role is Role.SETUP_EVERYWHERE]
        worker.epoch, worker.up, worker.responsive, worker.killing = event.epoch, True, True, False
        if worker.leaving:
            return False
        worker.host, worker.pid, worker.cores, worker.log = event.host, event.pid, event.cores, event.log
        self._journal.note("up", worker=worker.id, epoch=worker.epoch, host=worker.host, pid=worker.pid)
        first: list[Task] = []
        if self.initializer is not None:
            first.append(self.initializer(worker))
        if worker.epoch or joined_after is not None:
            first += [self._replay(task, worker) for task in worker.setups]
        for task in first:
            self._ledger.tasks[task.id] = task
        worker.lane.extendleft(reversed(first))
        self._scheduler.available(worker)
        return not first

    def _replay(self, setup: Task, worker: Worker) -> Task:
        # It has the number of the setup, and thereby comes before all that waits.
        return Task(
            setup.id,
            setup.name,
            setup.function,
            setup.arguments,
            setup.sources,
            setup.spec,
            Future(self._hooks, setup.name),
            worker.id,
            role=Role.REPLAY,
        )

    def down(self, event: WorkerDown, *, expected: bool) -> list[Task]:
        """Take a worker out of service; return the tasks it had begun.

        Tasks it had not begun go back to the front of their queue. Those addressed to it end with
        `StateLost`, unless setups bring its replacement to the same state.
        """
        worker = self.worker(event.worker)
        inflight = self._scheduler.leave_all(worker)
        worker.up, worker.epoch, worker.last_beat = False, event.epoch + 1, None
        self._journal.note("down", worker=worker.id, epoch=event.epoch, cause=event.cause)
        # What was killed on purpose is no news.
        expected = expected or worker.killing or worker.leaving or event.rested
        _log.log(logging.INFO if expected else logging.WARNING, "%s", event.message)
        numbers = [(task.id, task.attempt) for task in inflight]
        started = numbers[0] if event.started is None and numbers else event.started
        begun = numbers.index(started) + 1 if started in numbers else 0
        for task in reversed(inflight[begun:]):
            self._ledger.back_to_queue(task)
        for task in list(worker.lane):
            if task.role in (Role.REPLAY, Role.INITIALIZER):
                # The next epoch gets its own.
                worker.lane.remove(task)
                self._ledger.tasks.pop(task.id, None)
        if not event.rested:
            worker.base = worker.epoch
        if worker.leaving:
            self._part_with(worker)
        elif not worker.keeps_state and not event.rested:
            self._strand(worker)
        return inflight[:begun]

    def _part_with(self, worker: Worker) -> None:
        """Close the books of a worker that has left; whoever comes in its place begins anew."""
        self._strand(worker)
        worker.setups.clear()
        worker.leaving, worker.gone = False, worker.id >= self.count
        worker.joined_after = self._ledger.latest
        while self.workers[-1].gone:
            former = self.workers.pop()
            self._former[former.id] = former

    def _strand(self, worker: Worker, cause: BaseException | None = None) -> None:
        """Fail the tasks that are addressed to a state which is gone."""
        leaves = worker.leaving or worker.gone
        for task in list(worker.lane):
            begins = task.role in (Role.REPLAY, Role.INITIALIZER)
            if begins or (task.role is not Role.CALL and not leaves):
                continue
            if leaves and worker.id < self.count and task.epoch == worker.epoch and not worker.up:
                continue  # it is addressed to the one that comes in its place
            worker.lane.remove(task)
            error = state_lost(task, worker)
            error.__cause__ = cause
            self._ledger.fail(task, error)

    def replay_failed(self, replay: Task, error: BaseException, worker: Worker) -> None:
        """Give up what waits for a state that could not be rebuilt."""
        if isinstance(error, WorkerLost):
            worker.setups = [setup for setup in worker.setups if setup.id != replay.id]
            _log.error("setup %s ended the new worker %d and is not replayed again", replay.name, worker.id)
        else:
            _log.error("setup %s failed on the new worker %d: %s", replay.name, worker.id, error)
        self._ledger.drop(replay)
        self._strand(worker, error)

    def spared(self, event: Spared) -> None:
        """Learn that a worker had ended the task for which it was to be killed."""
        worker = self.worker(event.worker)
        if event.epoch == worker.epoch:
            worker.killing = False
            self._scheduler.available(worker)

    def heartbeat(self, event: Heartbeat) -> None:
        """Learn that a worker lives, and whether it can run."""
        worker = self.worker(event.worker)
        if event.epoch != worker.epoch:
            return
        worker.last_beat = time.monotonic()
        self.beats = True
        if event.state == "running" and not worker.responsive:
            worker.responsive = True
            _log.info("worker %d on %s answers again", worker.id, worker.host)
            self._scheduler.available(worker)
        elif event.state == "stopped" and worker.responsive:
            self._suspend(worker, "is stopped")

    def was_deaf(self, now: float) -> None:
        """Let silence count from now: this process did not run, and beats may wait to be read."""
        for worker in self.workers:
            if worker.last_beat is not None:
                worker.last_beat = now

    def look_for_silent(self, now: float) -> None:
        """Give no new work to workers that have been silent.

        Silence alone never makes a worker lost: its process may be stopped, or the host busy; what died is
        reported by its supervisor or by the engine.
        """
        for worker in self.workers:
            quiet = worker.last_beat is not None and now - worker.last_beat > self.MISSED_BEATS_SECONDS
            if worker.up and quiet and worker.responsive:
                self._suspend(worker, "is silent")

    def _suspend(self, worker: Worker, why: str) -> None:
        worker.responsive = False
        _log.warning("worker %d on %s %s; it gets no new work", worker.id, worker.host, why)
        self._scheduler.unavailable(worker)
