"""The dispatcher: all policy, in one place, on one thread at a time.

It decides which task goes to which worker and when, and what becomes of a task whose worker dies, whose time
is up, whose input failed, or that nobody wants any more. Backends only carry out.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from parallactic import __version__
from parallactic.backend import (
    Backend,
    Broken,
    Event,
    Finished,
    Heartbeat,
    Logged,
    Lost,
    Printed,
    Returned,
    Skipped,
    Spared,
    Started,
    WorkerDown,
    WorkerUp,
)
from parallactic.dispatch.admission import Resources
from parallactic.dispatch.callbacks import Callbacks
from parallactic.dispatch.deadlines import Deadlines
from parallactic.dispatch.endings import lost_error, remote_error, state_lost, time_error
from parallactic.dispatch.engine_queue import EngineQueue
from parallactic.dispatch.fleet import Fleet
from parallactic.dispatch.journal import Journal
from parallactic.dispatch.ledger import Ledger
from parallactic.dispatch.reactor import Reactor
from parallactic.dispatch.relay import Relay
from parallactic.dispatch.scheduler import Scheduler
from parallactic.dispatch.slots import Slots
from parallactic.dispatch.snapshot import snapshot
from parallactic.dispatch.task import Role, State, Task
from parallactic.dispatch.workers import Worker
from parallactic.errors import BackendUnavailable
from parallactic.future import Future
from parallactic.status import Status
from parallactic.wire.codec import decode
from parallactic.wire.envelopes import Awaited, Envelope, Stats
from parallactic.wire.payload import Input, Payload
from parallactic.wire.ref import next_key
from parallactic.worker.namespace import hostname

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.25
_DEAF_SECONDS = 0.5
"""A tick that comes so late means that this process did not run: a call kept the interpreter's lock."""


class Dispatcher(Reactor):
    """Owns every task and worker of one run."""

    def __init__(
        self, backend: Backend, journal: Journal, name: str, relay: Relay, cleanup: Callable[[], None]
    ) -> None:
        super().__init__(f"parallactic-{name}")
        self.name = name
        self.plane = backend.plane
        self.callbacks = Callbacks(f"parallactic-{name}-callbacks")
        self.broken: BaseException | None = None
        self.stopped = threading.Event()
        self._inline = backend.capabilities.inline
        self._runner = Callbacks(f"parallactic-{name}-runner")
        self._backend, self._journal = backend, journal
        self._relay, self._cleanup = relay, cleanup
        self._stepping: set[int] = set()
        workers = [Worker(number) for number in range(backend.max_workers)]
        resources = Resources(backend.total_cores, backend.total_memory)
        self._engine = EngineQueue(workers, resources, self._hand_over, self._recall)
        queues = backend.capabilities.queues
        self._scheduler = Scheduler(workers, resources, self._launch, self._engine if queues else None)
        self._ledger = Ledger(self._scheduler, journal)
        self.fleet = Fleet(workers, self._scheduler, self._ledger, journal, self)
        self._batch: list[Envelope] = []
        self._handed: deque[Task] = deque()
        self._deadlines = Deadlines()
        self._next_tick = 0.0
        self._closing = False
        self._grace = 5.0
        self._handlers: dict[type, Callable[[Any], None]] = {
            Finished: self._finished,
            Started: self._started,
            Heartbeat: self.fleet.heartbeat,
            Skipped: self._skipped,
            Returned: self._returned,
            WorkerUp: self.fleet.up,
            WorkerDown: self._worker_down,
            Lost: self._lost,
            Spared: self.fleet.spared,
            Broken: lambda event: self._break(BackendUnavailable(event.message)),
            Logged: lambda event: self.callbacks.put(lambda: relay.record(event.record)),
            Printed: lambda event: self.callbacks.put(lambda: relay.lines(event.stream, event.text)),
        }

    # What other threads call

    def __call__(self, event: Event) -> None:
        """Take an event of the backend; this object is the `Emit` that a backend is given."""
        handler = self._handlers[type(event)]
        if self.has_turn():
            handler(event)
        elif threading.get_ident() in self._stepping:
            # This thread reads the inbox itself as soon as its task has ended.
            self.inbox.append((handler, (event,)))
        else:
            self.call(handler, event)

    def begin(self) -> None:
        """Start the backend and the loop."""
        self.start()
        self.call(self._begin)
        if self._inline:
            self.drive()

    def submit(self, tasks: list[Task]) -> None:
        """Take new tasks, all at one point of the order."""
        if self._inline:
            # The caller drives; nobody needs to be woken.
            self.inbox.append((self._admit, (tasks,)))
        else:
            self.call(self._admit, tasks)

    def run_here(self, tasks: list[Task]) -> None:
        """Run tasks of an inline backend on this thread, unless they must wait for something."""
        if self.drive(lambda: any(task.state is State.RUNNING for task in tasks)):
            self._runner.put(self.drive_all)

    def runs_task_here(self) -> bool:
        """Tell whether this thread is inside a task of this run."""
        return threading.get_ident() in self._stepping

    def cancelled(self, future: Future, *, force: bool) -> None:
        """Learn that a future was cancelled by its owner."""
        self.call(self._cancelled, future, force)

    def later(self, function: Callable[[], None]) -> None:
        """Call a user's function on the thread of callbacks."""
        self.callbacks.put(function)

    def resolved(self, future: Future) -> None:
        """Learn that a future which is not a task of this run has its result."""
        self.call(self._ledger.notify, future)

    def release(self, key: int) -> None:
        """Learn that nobody needs a kept value any more; may be called by the garbage collector."""
        if not self.finished:
            self.call(self._backend.forget, key)

    def status(self) -> Status:
        """Return a snapshot."""
        with self._turn:
            tasks = self._ledger.tasks.values()
            taken = snapshot(
                self._backend.name,
                self.name,
                self._journal.path.parent,
                self.fleet.workers,
                tasks,
                self._ledger.counts,
            )
        # The turn is not handed out fairly: who asks in a loop would hold up the run.
        time.sleep(0)
        return taken

    def close(self, *, cancel: bool, kill: bool, grace: float) -> None:
        """Take no more tasks; end when the last one has ended, or cancel what waits, or kill what runs."""
        if self.slots is not None:
            self.slots.close()
        self.call(self._close, cancel, kill, grace)
        if self._inline:
            self.wake()

    # The loop

    def _begin(self) -> None:
        self._journal.note(
            "run",
            version=__version__,
            backend=self._backend.name,
            name=self.name,
            host=hostname(),
            pid=os.getpid(),
            workers=self._backend.max_workers,
        )
        self._backend.start(self)

    def next_timeout(self) -> float | None:
        """Return how long the thread may sleep."""
        due = self._journal.due
        limit = self._deadlines.next()
        if limit is not None and limit < due:
            due = limit
        if self.fleet.beats and self._next_tick < due:
            due = self._next_tick
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def after_pass(self) -> int:
        """Look at the clock, hand out work, write the journal."""
        now = time.monotonic()
        for task in self._deadlines.due(now):
            self._time_is_up(task)
        if now >= self._next_tick:
            if self.fleet.beats and now - self._next_tick > _DEAF_SECONDS:
                self.fleet.was_deaf(now)
            self._next_tick = now + _TICK_SECONDS
            self.fleet.look_for_silent(now)
        self._scheduler.assign()
        self._hand_over_followers()
        batch, self._batch = self._batch, []
        if batch:
            self._backend.launch(batch)
            if self._inline and threading.current_thread() is self.thread:
                # No submit is on the line to run them, and this thread must stay free to cancel.
                self._runner.put(self.drive_all)
        if self._inline or not self._ledger.tasks or now >= self._journal.due:
            self._journal.flush()
        if self._closing and not self._ledger.tasks and not self.inbox:
            self.finished = True
            if threading.current_thread() is not self.thread:
                self.wake()
        return len(batch)

    def step(self) -> bool:
        """Run a task of an inline backend on this thread."""
        if not self._inline:
            return False
        here = threading.get_ident()
        self._stepping.add(here)
        try:
            return self._backend.step()
        finally:
            self._stepping.discard(here)

    def crashed(self, error: Exception) -> None:
        """Fail every task: a run whose dispatcher has failed must not leave anybody waiting."""
        _log.critical("the dispatcher of run %s failed", self.name, exc_info=error)
        problem = BackendUnavailable(f"the run {self.name} has ended by an internal error: {error!r}.")
        problem.__cause__ = error
        self.broken = problem
        while self.inbox:
            function, args = self.inbox.popleft()
            if function == self._admit:
                self._ledger.tasks |= {task.id: task for task in args[0]}
        for task in list(self._ledger.tasks.values()):
            task.future.fail(problem)

    def at_end(self) -> None:
        """Stop the backend."""
        try:
            self._backend.stop(self._grace)
            self._runner.close(self._grace)
        finally:
            self._journal.note("close", **self._ledger.counts)
            self._journal.close()
            self.callbacks.put_last(self._relay.close)
            self._cleanup()
            self.stopped.set()

    def _close(self, cancel: bool, kill: bool, grace: float) -> None:
        self._closing, self._grace = True, grace
        if cancel or kill:
            for task in [t for t in self._ledger.tasks.values() if t.state is not State.RUNNING]:
                if task.future.cancel():
                    self._cancelled(task.future, force=False)
        if kill:
            for task in list(self._ledger.tasks.values()):
                task.future.cancel(force=True)
                self._ledger.end(task, "cancelled")

    # New tasks

    def _admit(self, tasks: list[Task]) -> None:
        for task in tasks:
            self._ledger.add(task)
            if self.broken is not None:
                self._ledger.fail(task, self.broken)
                continue
            if task.sources and not self._ledger.await_inputs(task):
                continue
            if task.waiting and self._can_follow(task) and self._engine.follow(task):
                continue
            if task.target is not None and self._is_stranded(task, self.fleet.workers[task.target]):
                continue
            self._scheduler.queue(task)

    def _is_stranded(self, task: Task, worker: Worker) -> bool:
        """Fail a task that is addressed to an epoch which is gone; return whether it was."""
        if task.role is Role.CALL and task.epoch != worker.epoch and not worker.keeps_state:
            self._ledger.fail(task, state_lost(task, worker))
            return True
        return False

    # Handing out

    def _launch(self, task: Task, worker: Worker) -> bool:
        if not task.attempt and not task.future.set_running_or_notify_cancel():
            self._ledger.end(task, "cancelled")
            return False
        task.attempt += 1
        task.overtime = False
        task.state = State.RUNNING
        if not worker.inflight:
            self._begins(task)
        self._batch.append(task.envelope(worker.id, task.spec.cores or worker.cores))
        self._journal.launched(task.id, task.attempt, worker.id)
        return True

    def _hand_over(self, task: Task) -> bool:
        """Put a task into the engine's queue."""
        waits = task.waiting > 0
        if not (waits or task.future.running() or task.future.set_running_or_notify_cancel()):
            self._ledger.end(task, "cancelled")
            return False
        task.attempt += 1
        task.overtime, task.since = False, 0.0
        if not waits:
            task.state = State.RUNNING
        awaited = []
        for index, source in enumerate(task.sources):
            if type(source) is not Input and not source.done():
                holder = self._ledger.tasks[source.task]
                awaited.append(Awaited(index, holder.id, holder.attempt))
        self._batch.append(task.envelope(None, task.spec.cores or 0, tuple(awaited)))
        self._journal.launched(task.id, task.attempt, None)
        self._handed.append(task)
        return True

    def _hand_over_followers(self) -> None:
        """Let the engine itself wait for the inputs of a task, where it holds them all."""
        while self._handed:
            for follower in self._ledger.followers(self._handed.popleft()):
                if not follower.handed and self._can_follow(follower):
                    self._engine.follow(follower)

    def _can_follow(self, task: Task) -> bool:
        """Tell whether the engine can wait for the inputs of a task.

        A task that follows one that fails cannot be saved by running that again.
        """
        if task.state is not State.HELD or task.target is not None or task.spec.retries:
            return False
        if not self._backend.capabilities.native_dependencies:
            return False
        return all(
            type(source) is Input or source.done() or self._in_engine(source) for source in task.sources
        )

    def _in_engine(self, source: Future) -> bool:
        holder = self._ledger.tasks.get(source.task)
        if holder is None or holder.future is not source or holder.spec.retries or holder.target is not None:
            return False
        return holder.handed or holder.state is State.RUNNING

    def _recall(self, task: Task) -> None:
        self._backend.cancel(task.id, task.attempt, None, force=False)

    def _begins(self, task: Task) -> None:
        """Start the clock of an attempt that is now at the head of its worker."""
        task.since = time.monotonic()
        if self._deadlines.add(task) and threading.current_thread() is not self.thread:
            self.wake()

    # What the backend reports

    def _started(self, event: Started) -> None:
        worker = self.fleet.workers[event.worker]
        task = self._engine.began(event.task, event.attempt, worker)
        if task is None:
            return
        for waits in list(worker.inflight)[1:2]:
            waits.since = 0.0
        if task.state is not State.RUNNING and task.state is not State.DONE:
            task.future.set_running_or_notify_cancel()
            task.state = State.RUNNING
        self._begins(task)
        if task.doomed:
            self._kill(task, worker)

    def _finished(self, event: Finished) -> None:
        outcome = event.outcome
        worker = self.fleet.workers[event.worker or 0]
        task = self._leave(worker, outcome.task, outcome.attempt)
        if task is None:
            return
        worker.done += 1
        if task.target is None:
            self._engine.took(outcome.stats.wall)
        if task.state is State.DONE:
            return
        limits = [limit for limit in (task.spec.timeout, task.spec.walltime) if limit is not None]
        if limits and outcome.stats.wall > min(limits):
            # A call that held the interpreter lock kept this thread from noticing in time.
            self._attempt_failed(task, time_error(task, worker), worker, outcome.stats)
        elif outcome.ok:
            self._succeed(task, outcome.payload, outcome.stats, worker)
        else:
            error = remote_error(outcome.payload, task, worker)
            self._attempt_failed(task, error, worker, outcome.stats)

    def _leave(self, worker: Worker, number: int, attempt: int) -> Task | None:
        """Take an attempt off its worker; None if it is not there (any more)."""
        task, promoted = self._scheduler.leave(worker, number, attempt)
        if promoted:
            head = worker.inflight[0]
            self._begins(head)
            if head.doomed:
                self._kill(head, worker)
        return task

    def _skipped(self, event: Skipped) -> None:
        if event.worker is None:
            return  # it was withdrawn from the engine, and has ended
        task = self._leave(self.fleet.workers[event.worker], event.task, event.attempt)
        if task is not None and task.state is not State.DONE:
            self._ledger.end(task, "cancelled")

    def _returned(self, event: Returned) -> None:
        task = self._engine.give_back(event.task, event.attempt)
        if task is not None:
            self._ledger.back_to_queue(task)

    def _worker_down(self, event: WorkerDown) -> None:
        worker = self.fleet.workers[event.worker]
        for task in self.fleet.down(event, expected=self._closing):
            if task.state is not State.DONE:
                error = time_error(task, worker) if task.overtime else lost_error(task, worker, event)
                self._attempt_failed(task, error, worker, None)

    def _lost(self, event: Lost) -> None:
        task = self._ledger.tasks.get(event.task)
        if task is None or task.attempt != event.attempt:
            return
        if self._engine.give_back(event.task, event.attempt) is not None:
            self._attempt_failed(task, lost_error(task, None, event), None, None)
            return
        for worker in self.fleet.workers:
            if task in worker.inflight:
                self._leave(worker, event.task, event.attempt)
                self._attempt_failed(task, lost_error(task, worker, event), worker, None)
                return

    def _break(self, error: BaseException) -> None:
        self.broken = error
        for task in list(self._ledger.tasks.values()):
            self._ledger.fail(task, error)

    # Ends

    def _succeed(self, task: Task, payload: Payload, stats: Stats, worker: Worker) -> None:
        if task.role is Role.SETUP:
            worker.setups.append(task)
        entry = Input(payload, next_key(), self.release) if payload.block is not None else None
        self._ledger.succeed(task, payload, entry, worker, stats)

    def _attempt_failed(
        self, task: Task, error: BaseException, worker: Worker | None, stats: Stats | None
    ) -> None:
        if worker is not None and task.role is Role.INITIALIZER:
            problem = BackendUnavailable(f"the initializer failed on worker {worker.id}: {error!r}.")
            problem.__cause__ = error
            self._break(problem)
            return
        if worker is not None and task.role is Role.REPLAY:
            self.fleet.replay_failed(task, error, worker)
            return
        task.failures += 1
        stays = task.target is None or worker is None or worker.up or worker.keeps_state
        if task.failures > task.spec.retries or task.doomed or not stays or self.broken:
            self._ledger.fail(task, error, worker, stats)
            return
        self._ledger.retry(task, worker, stats, error)

    def _cancelled(self, future: Future, force: bool) -> None:
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
            worker = next((worker for worker in self.fleet.workers if task in worker.inflight), None)
            if worker is None:
                return
            if task is worker.inflight[0]:
                self._kill(task, worker)
            else:
                self._backend.cancel(task.id, task.attempt, worker.id, force=False)

    def _time_is_up(self, task: Task) -> None:
        worker = next((worker for worker in self.fleet.workers if task in worker.inflight), None)
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

    def limit_pending(self, most: int) -> None:
        """Let at most so many tasks be unfinished; `slots` is then what submit waits for."""
        self._ledger.slots = Slots(most)

    @property
    def slots(self) -> Slots | None:
        """What a task must hold while it is unfinished, if their number is limited."""
        return self._ledger.slots

    def decode(self, payload: Payload) -> Any:
        """Unpickle a payload of this run's data plane."""
        return decode(payload, self.plane)
