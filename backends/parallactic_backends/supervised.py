"""Workers under their supervisors, as the client sees them, whatever carries the messages.

The protocol is the same on every backend that starts workers of our own: tasks, outcomes, log records on one
channel (data), heartbeats, kills and exit causes on another (control).
"""

from __future__ import annotations

import contextlib
import json
import pickle
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from parallactic.backend import (
    Backend,
    Broken,
    Emit,
    Finished,
    Heartbeat,
    Logged,
    Printed,
    RunContext,
    Skipped,
    Spared,
    WorkerDown,
    WorkerUp,
)
from parallactic.errors import InvalidSpec, LossCause
from parallactic.wire.envelopes import Envelope, Outcome
from parallactic.wire.framing import Lane, Message
from parallactic.wire.messages import Kind, Outbox, receive_outcome
from parallactic.worker.namespace import hostname

__all__ = ["SupervisedBackend", "SupervisedWorker", "thread_variables"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_MAX_FALSE_STARTS = 3


def thread_variables(threads: int) -> dict[str, str]:
    """Return the environment in which libraries use so many threads."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


class SupervisedWorker(ABC):
    """A supervisor, the worker it forked, the two lanes to them, and their replacements."""

    backend: ClassVar[str]

    def __init__(self, number: int, threads: int, context: RunContext, emit: Emit) -> None:
        self.number = number
        self.threads = threads
        self.context = context
        self.emit = emit
        self.epoch = 0
        self.stopping = self.is_up = False
        self.leaving = self.away = self._returns = False
        self.resting = False
        """Whether it leaves only until there is more to do."""

        self.control: Lane | None = None
        self.data: Lane | None = None
        self.log = str(context.run_dir / f"worker-{number}.log")
        self._pid = 0
        self._false_starts = 0
        self._outbox: Outbox | None = None

    # What each way to carry messages does for itself

    @abstractmethod
    def start(self) -> None:
        """Start a supervisor for the present epoch; it forks the worker, and both report."""

    @abstractmethod
    def wait(self, end: float) -> None:
        """Wait for the processes to end until the time `end`, then kill them; free all."""

    @abstractmethod
    def attend(self, lane: Lane) -> None:
        """See to it that the messages of a new lane are read."""

    @abstractmethod
    def leave(self, lane: Lane) -> None:
        """Close a lane."""

    def await_room(self, lane: Lane, *, full: bool) -> None:  # noqa: B027  (a lane may take all)
        """Learn whether a lane takes no more at the moment; `flush` must then be called again."""

    @property
    def host(self) -> str:
        """Where the worker runs."""
        return hostname()

    # Connections

    def supervisor_connected(self, lane: Lane) -> None:
        """Take the connection of the supervisor."""
        self.control = lane
        self.attend(lane)
        if self.stopping:
            self.ask_to_stop(1.0)

    def loop_connected(self, lane: Lane, epoch: int, pid: int) -> None:
        """Take the connection of the worker, and tell it what it must know."""
        if epoch != self.epoch or self.stopping:
            self.leave(lane)
            return
        self.data = lane
        self._outbox = Outbox(lane)
        self._pid = pid
        settings = {
            "worker": self.number,
            "epoch": epoch,
            "backend": self.backend,
            "cores": self.threads,
            "path": sys.path,
            "folder": str(Path.cwd()),
            "run": self.context.name,
            "log": self.context.log,
        }
        lane.queue(Kind.WELCOME, pickle.dumps(settings, 5))
        if self.leaving:
            lane.queue(Kind.STOP, b"")
        self.attend(lane)
        self.flush()

    # Orders

    def queue(self, envelope: Envelope) -> None:
        """Put a task into the outgoing queue."""
        if self._outbox is not None:
            self._outbox.task(envelope)

    def skip(self, task: int, attempt: int) -> None:
        """Ask the worker to drop a task it has not begun."""
        if self.data is not None:
            self.data.queue(Kind.SKIP, pickle.dumps((task, attempt), 5))
            self.flush()

    def forget(self, key: int) -> None:
        """Release a value."""
        if self._outbox is not None:
            self._outbox.forget(key)
            self.flush()

    def flush(self) -> None:
        """Write what is queued; the rest is written when the worker has read some."""
        if self.data is None:
            return
        try:
            done = self.data.flush()
        except OSError:
            # The worker is dead; its supervisor is about to say why.
            return
        self.await_room(self.data, full=not done)

    def kill(self, task: int, attempt: int) -> None:
        """Kill the worker if it runs this attempt; the supervisor reports it and forks the next."""
        self._tell(Kind.KILL, json.dumps((task, attempt)).encode())

    def _tell(self, kind: Kind, content: bytes) -> None:
        if self.control is not None:
            with contextlib.suppress(OSError):  # a dead supervisor is noticed by its end
                self.control.queue(kind, content)
                self.control.flush()

    def ask_to_stop(self, grace: float) -> None:
        """Ask the worker to go, and the supervisor to kill it after `grace` seconds."""
        self.stopping = True
        if self.data is not None:
            with contextlib.suppress(OSError):
                self.data.queue(Kind.STOP, b"")
                self.data.flush()
        self._tell(Kind.QUIT, json.dumps(grace).encode())

    def retire(self) -> None:
        """Let the worker end what it has begun and then go, without another in its place."""
        self._returns = False
        if self.leaving:
            return
        self.leaving = True
        if self.data is not None:
            self.data.queue(Kind.STOP, b"")
            self.flush()

    def recall(self) -> None:
        """Have a worker again in the place of one that leaves, or has left."""
        if not self.leaving:
            return
        self._returns = True
        if self.away and self.control is None:
            self._come_again()

    def _come_again(self) -> None:
        self.leaving = self.away = self._returns = False
        self.start()

    def parted(self) -> None:  # noqa: B027  (most have nothing to give back)
        """Learn that worker and supervisor are gone and no other is to come."""

    # Reports

    def data_arrived(self, messages: list[Message]) -> None:
        """Take what the worker says."""
        for message in messages:
            match message.kind:
                case Kind.DONE:
                    self.task_ended(receive_outcome(message))
                case Kind.SKIPPED:
                    task, attempt = pickle.loads(message.control)
                    self.emit(Skipped(task, attempt, self.number))
                case Kind.LOG:
                    self.emit(Logged(pickle.loads(message.control)))
                case Kind.OUTPUT:
                    stream, text = pickle.loads(message.control)
                    self.emit(Printed(stream, text, self.number))
                case Kind.READY:
                    self._false_starts = 0
                    self.is_up = True
                    self.emit(WorkerUp(self.number, self.epoch, self.host, self._pid, self.threads, self.log))

    def task_ended(self, outcome: Outcome) -> None:
        """Report the end of a task."""
        self.emit(Finished(outcome, self.number))

    def control_arrived(self, messages: list[Message]) -> None:
        """Take what the supervisor says."""
        for message in messages:
            content = json.loads(message.control)
            if message.kind == Kind.SPARED:
                self.emit(Spared(self.number, content["epoch"]))
            elif message.kind == Kind.BEAT:
                self.emit(Heartbeat(self.number, content["epoch"], content["state"]))
            elif message.kind == Kind.EXIT and content["epoch"] == self.epoch:
                cause, text = _explain(
                    self.number, content["code"], oom=content["oom"], limit=content["limit"]
                )
                self.worker_ended(cause, text, content["tail"], tuple(content["started"]))
                if self.leaving and not self._returns:
                    self.away = True
                    self._tell(Kind.QUIT, json.dumps(0.0).encode())
                else:
                    self.leaving = self._returns = False
                    self._tell(Kind.SPAWN, json.dumps(self.epoch).encode())

    def supervisor_ended(self, code: int, log_tail: str) -> None:
        """Learn that the supervisor is gone, and its worker with it; start the next."""
        cause, text = _explain(self.number, code, oom=False)
        self.both_ended(cause, text, log_tail)

    def both_ended(self, cause: LossCause, text: str, log_tail: str) -> None:
        """Learn that supervisor and worker are gone; start the next."""
        if self.control is not None:
            self.leave(self.control)
            self.control = None
        if not self.away:
            self.worker_ended(cause, text, log_tail, None)
        if self.stopping:
            return
        if not self.leaving:
            self.start()
        elif self._returns:
            self._come_again()
        else:
            self.away = True
            self.parted()

    def worker_ended(
        self, cause: LossCause, text: str, log_tail: str, started: tuple[int, int] | None
    ) -> None:
        """Report the death of the worker, after all it sent."""
        if self.data is not None:
            self.data_arrived(self.data.drain())
            self.leave(self.data)
        was_up = self._outbox is not None
        self.data = self._outbox = None
        self.is_up = False
        if self.stopping:
            return
        self.emit(WorkerDown(self.number, self.epoch, cause, text, log_tail, started, self.resting))
        self.epoch += 1
        if not was_up:
            self._false_starts += 1
            if self._false_starts >= _MAX_FALSE_STARTS:
                self.stopping = True
                self.emit(
                    Broken(
                        f"worker {self.number} failed to start {_MAX_FALSE_STARTS} times: {text} "
                        f"It last wrote:\n{log_tail}"
                    )
                )

    def close_lanes(self) -> None:
        """Close both lanes."""
        for lane in (self.control, self.data):
            if lane is not None:
                self.leave(lane)
        self.control = self.data = self._outbox = None


_Worker = TypeVar("_Worker", bound=SupervisedWorker)


class SupervisedBackend(Backend, Generic[_Worker]):
    """A backend whose workers are supervised: what is told to them, however they were started.

    A backend fills `workers` in `start`, in the order of their numbers.
    """

    def __init__(self, settings: Any, context: RunContext) -> None:
        super().__init__(settings, context)
        self.workers: list[_Worker] = []

    def launch(self, envelopes: Sequence[Envelope]) -> None:
        """Send the tasks to their workers, one write for each worker."""
        touched: dict[int, _Worker] = {}
        for envelope in envelopes:
            if envelope.worker is None:
                raise InvalidSpec(f"task {envelope.task} was launched without a worker.")
            worker = self.workers[envelope.worker]
            worker.queue(envelope)
            touched[envelope.worker] = worker
        for worker in touched.values():
            worker.flush()

    def cancel(self, task: int, attempt: int, worker: int | None, *, force: bool) -> None:
        """Ask the worker to skip a task it has not begun, or kill it."""
        if worker is None:
            raise InvalidSpec(f"task {task} has no worker to be cancelled on.")
        if force:
            self.workers[worker].kill(task, attempt)
        else:
            self.workers[worker].skip(task, attempt)

    def forget(self, key: int) -> None:
        """Release a value on all workers."""
        for worker in self.workers:
            worker.forget(key)

    def stop(self, deadline: float, *, detach: bool = False) -> None:
        """Ask all workers to go, and kill those that stay."""
        if detach:
            raise InvalidSpec(f"backend '{self.name}' cannot detach: its workers end with the client.")
        end = time.monotonic() + deadline
        for worker in self.workers:
            worker.ask_to_stop(deadline)
        self.close_door()
        for worker in self.workers:
            worker.wait(end)

    def resize_workers(self, workers: int) -> None:
        """Have so many workers of those that there are: let the last ones go, or have them back."""
        for worker in self.workers[:workers]:
            worker.recall()
        for worker in self.workers[workers:]:
            worker.retire()

    def close_door(self) -> None:
        """Let no further worker connect: who is about to finds nobody, and goes too."""


def _explain(number: int, code: int, *, oom: bool, limit: int = 0) -> tuple[LossCause, str]:
    if limit:
        return (
            "oom",
            f"worker {number} took more memory than its limit of {limit / 1e9:.2f} GB and was ended; "
            "give tasks less, or raise memory_limit.",
        )
    if code >= 0:
        return "exit", f"the process of worker {number} ended with exit code {code}."
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    if oom and -code == signal.SIGKILL:
        return (
            "oom",
            f"the kernel killed worker {number} because memory ran out; "
            "give tasks less, or use fewer workers.",
        )
    return "signal", f"worker {number} was ended by {name}."
