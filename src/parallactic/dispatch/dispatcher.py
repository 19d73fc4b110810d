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
    Stalled,
    Started,
    WorkerDown,
    WorkerUp,
)
from parallactic.dispatch.admission import Resources
from parallactic.dispatch.attempts import Attempts
from parallactic.dispatch.callbacks import Callbacks
from parallactic.dispatch.endings import state_lost
from parallactic.dispatch.engine_queue import EngineQueue
from parallactic.dispatch.fleet import Fleet
from parallactic.dispatch.following import Following
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
from parallactic.wire.envelopes import Envelope
from parallactic.wire.payload import Payload
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
        self.stopped = threading.Event()
        self._inline = backend.capabilities.inline
        self._runner = Callbacks(f"parallactic-{name}-runner")
        self._backend, self._journal = backend, journal
        self._relay, self._cleanup = relay, cleanup
        self._stepping: set[int] = set()
        workers = [Worker(number) for number in range(backend.max_workers)]
        self._resources = resources = Resources(backend.total_cores, backend.total_memory)
        self._engine = EngineQueue(workers, resources, self._hand_over, self._recall)
        queues = backend.capabilities.queues
        self._scheduler = Scheduler(workers, resources, self._launch, self._engine if queues else None)
        self._ledger = Ledger(self._scheduler, journal)
        self.fleet = Fleet(workers, self._scheduler, self._ledger, journal, self)
        self._batch: list[Envelope] = []
        self._queued: list[Task] = []
        self._following = Following(
            self._engine, self._ledger, native=backend.capabilities.native_dependencies
        )
        self._attempts = Attempts(
            backend,
            journal,
            self._scheduler,
            self._engine,
            self._ledger,
            self.fleet,
            release=self.release,
            hurry=self._hurry,
        )
        self._next_tick = 0.0
        self._grace = 5.0
        self._handlers: dict[type, Callable[[Any], None]] = {
            Finished: self._attempts.finished,
            Started: self._attempts.started,
            Heartbeat: self.fleet.heartbeat,
            Skipped: self._attempts.skipped,
            Returned: self._attempts.returned,
            Stalled: lambda event: self._engine.stalled(event.task, event.attempt),
            WorkerUp: self._worker_up,
            WorkerDown: self._attempts.worker_down,
            Lost: self._attempts.lost,
            Spared: self.fleet.spared,
            Broken: lambda event: self._attempts.give_up(BackendUnavailable(event.message)),
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
        self.call(self._attempts.cancelled, future, force)

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
                self._backend.dashboard,
            )
        # The turn is not handed out fairly: who asks in a loop would hold up the run.
        time.sleep(0)
        return taken

    def resize(self, workers: int) -> None:
        """Change the number of workers; whoever asks sees the new number at once."""
        self.take_turn(self._resize, workers)

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

    def _resize(self, workers: int) -> None:
        # The engine first: it may refuse.
        self._backend.resize(workers)
        self.fleet.resize(workers)
        self._resources.limit(self._backend.total_cores, self._backend.total_memory)

    def _worker_up(self, event: WorkerUp) -> None:
        self._resources.limit(self._backend.total_cores, self._backend.total_memory)
        self._attempts.worker_up(event)

    def next_timeout(self) -> float | None:
        """Return how long the thread may sleep."""
        due = self._journal.due
        limit = self._attempts.deadlines.next()
        if limit is not None and limit < due:
            due = limit
        if self.fleet.beats and self._next_tick < due:
            due = self._next_tick
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def after_pass(self) -> int:
        """Look at the clock, hand out work, write the journal."""
        now = time.monotonic()
        for task in self._attempts.deadlines.due(now):
            self._attempts.time_is_up(task)
        if now >= self._next_tick:
            if self.fleet.beats and now - self._next_tick > _DEAF_SECONDS:
                self.fleet.was_deaf(now)
            self._next_tick = now + _TICK_SECONDS
            self.fleet.look_for_silent(now)
        self._scheduler.assign()
        self._following.serve()
        batch, self._batch = self._batch, []
        queued, self._queued = self._queued, []
        # Only now: an input may have come, or the task have ended, since it was handed over.
        batch += [
            task.envelope(None, task.spec.cores or 0, self._following.awaited(task))
            for task in queued
            if task.state is not State.DONE
        ]
        if batch:
            self._backend.launch(batch)
            if self._inline and threading.current_thread() is self.thread:
                # No submit is on the line to run them, and this thread must stay free to cancel.
                self._runner.put(self.drive_all)
        if self._inline or not self._ledger.tasks or now >= self._journal.due:
            self._journal.flush()
        if self._attempts.closing and not self._ledger.tasks and not self.inbox:
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
        self._attempts.broken = problem
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
        self._attempts.closing, self._grace = True, grace
        if cancel or kill:
            for task in [t for t in self._ledger.tasks.values() if t.state is not State.RUNNING]:
                if task.future.cancel():
                    self._attempts.cancelled(task.future, force=False)
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
            if task.waiting and self._following.take(task):
                continue
            if task.target is not None and self._is_stranded(task, self.fleet.worker(task.target)):
                continue
            self._scheduler.queue(task)
            if task.target is not None and not self.fleet.workers[task.target].up:
                self._backend.call_for(task.target)

    def _is_stranded(self, task: Task, worker: Worker) -> bool:
        """Fail a task that is addressed to an epoch which is gone; return whether it was."""
        replaced = task.role is Role.CALL and not worker.is_present(task.epoch) and not worker.keeps_state
        if replaced or worker.id >= self.fleet.count:
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
            self._attempts.begins(task)
        self._batch.append(task.envelope(worker.id, task.spec.cores or worker.cores))
        self._journal.launched(task.id, task.attempt, worker.id)
        return True

    def _hand_over(self, task: Task) -> bool:
        """Put a task into the engine's queue. It is pending until a worker begins it."""
        if task.future.cancelled():
            task.future.set_running_or_notify_cancel()
            self._ledger.end(task, "cancelled")
            return False
        task.attempt += 1
        task.overtime, task.since = False, 0.0
        self._queued.append(task)
        self._following.handed(task)
        return True

    def _recall(self, task: Task) -> None:
        self._backend.cancel(task.id, task.attempt, None, force=False)

    def _hurry(self) -> None:
        if threading.current_thread() is not self.thread:
            self.wake()

    @property
    def broken(self) -> BaseException | None:
        """Why nothing can be run any more, if so."""
        return self._attempts.broken

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
