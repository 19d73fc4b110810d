"""A backend that does nothing by itself: the test says what happens, and when."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from parallactic.backend import (
    Availability,
    Backend,
    Capabilities,
    Emit,
    Event,
    Finished,
    Settings,
    Skipped,
    WorkerDown,
    WorkerUp,
)
from parallactic.executor import Executor
from parallactic.wire.envelopes import Envelope, Outcome, Stats
from parallactic.wire.memory import HeapPlane
from parallactic.worker.execute import FunctionCache, encode_failure, execute
from parallactic.worker.namespace import WorkerInfo

STATS = Stats(0.0, 0.0, 0.0, 0)


class ScriptedBackend(Backend):
    """Two workers that run nothing until the test says so."""

    name = "scripted"
    Settings = Settings
    capabilities = Capabilities()

    def __init__(self, settings: Settings, context: Any) -> None:
        super().__init__(settings, context)
        self.plane = HeapPlane()
        self.batches: list[list[Envelope]] = []
        self.kills: list[tuple[int, int, int | None]] = []
        self.skips: list[tuple[int, int, int | None]] = []
        self.problem: Exception | None = None

    @classmethod
    def available(cls) -> Availability:
        return Availability(True, "what the test says")

    max_workers = 2
    total_cores = 4
    total_memory = 8_000_000_000

    def start(self, emit: Emit) -> None:
        self.emit = emit
        for number in range(self.max_workers):
            self.up(number, 0)

    def launch(self, envelopes: Sequence[Envelope]) -> None:
        if self.problem is not None:
            raise self.problem
        self.batches.append(list(envelopes))

    def cancel(self, task: int, attempt: int, worker: int | None, *, force: bool) -> None:
        (self.kills if force else self.skips).append((task, attempt, worker))

    def stop(self, deadline: float, *, detach: bool = False) -> None:
        pass

    # What a test says

    @property
    def launched(self) -> list[Envelope]:
        """Everything that was handed over, in order."""
        return [envelope for batch in self.batches for envelope in batch]

    def up(self, worker: int, epoch: int) -> None:
        self.emit(WorkerUp(worker, epoch, "host", 1000 + worker, 1))

    def down(self, worker: int, epoch: int, started: Any = (0, 0)) -> None:
        self.emit(WorkerDown(worker, epoch, "signal", f"worker {worker} was ended.", "", started))

    def outcome(self, envelope: Envelope) -> Outcome:
        """Run a task here and now."""
        info = WorkerInfo(envelope.worker or 0, 0, self.name)
        return execute(envelope, info, self.plane, FunctionCache())

    def finish(self, envelope: Envelope) -> None:
        self.emit(Finished(self.outcome(envelope), envelope.worker))

    def fail(self, envelope: Envelope, error: BaseException) -> None:
        payload = encode_failure(error, envelope.name)
        outcome = Outcome(envelope.task, envelope.attempt, False, payload, STATS)
        self.emit(Finished(outcome, envelope.worker))

    def skip(self, task: int, attempt: int, worker: int) -> None:
        self.emit(Skipped(task, attempt, worker))


class Script:
    """An executor on a scripted backend, and the means to stop the dispatcher for a moment."""

    def __init__(self, executor: Executor) -> None:
        self.ex = executor
        backend = executor.engine
        assert isinstance(backend, ScriptedBackend)
        self.backend = backend

    def settle(self) -> None:
        """Wait until the dispatcher has done all that it was told, and what follows from it."""
        for _ in range(2):
            done = threading.Event()
            self.ex._dispatcher.call(done.set)
            assert done.wait(10)

    def pause(self) -> threading.Event:
        """Stop the dispatcher's thread until the event that is returned is set."""
        go_on, stopped = threading.Event(), threading.Event()

        def stop() -> None:
            stopped.set()
            go_on.wait(10)

        self.ex._dispatcher.call(stop)
        assert stopped.wait(10)
        return go_on

    def say(self, event: Event) -> None:
        """Emit an event and wait until it is dealt with."""
        self.ex._dispatcher(event)
        self.settle()
