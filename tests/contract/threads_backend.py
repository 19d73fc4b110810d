"""A complete backend: tasks run on threads of the client's process."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import deque
from collections.abc import Sequence

import psutil
from pydantic import Field

from parallactic.backend import (
    Availability,
    Backend,
    Capabilities,
    Emit,
    Finished,
    RunContext,
    Settings,
    Skipped,
    Spared,
    WorkerDown,
    WorkerUp,
    usable_cores,
)
from parallactic.wire.envelopes import Envelope
from parallactic.wire.memory import HeapPlane
from parallactic.worker.execute import FunctionCache, Interrupted, execute
from parallactic.worker.namespace import WorkerInfo, current, hostname


class ThreadsSettings(Settings):
    """What can be set for threads."""

    workers: int | None = Field(default=None, ge=1, description="Number of threads; 2 by default.")


class ThreadsBackend(Backend):
    """Every worker is a thread."""

    name = "threads"
    Settings = ThreadsSettings
    # A task that crashes takes the client with it, and a call into C cannot be cut short: say so.
    capabilities = Capabilities(isolation=False, kills_native_code=False)

    def __init__(self, settings: ThreadsSettings, context: RunContext) -> None:
        super().__init__(settings, context)
        self.plane = HeapPlane()
        self._count = settings.workers or 2
        self._threads: list[WorkerThread] = []

    @classmethod
    def available(cls) -> Availability:
        return Availability(True, f"threads on {usable_cores()} cores")

    @property
    def max_workers(self) -> int:
        return self._count

    @property
    def total_cores(self) -> int:
        return usable_cores()

    @property
    def total_memory(self) -> int:
        return psutil.virtual_memory().total

    def start(self, emit: Emit) -> None:
        self._threads = [
            WorkerThread(number, self.plane, emit, self.context.name) for number in range(self._count)
        ]
        for thread in self._threads:
            thread.start()

    def launch(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            assert envelope.worker is not None
            self._threads[envelope.worker].put(envelope)

    def cancel(self, task: int, attempt: int, worker: int | None, *, force: bool) -> None:
        assert worker is not None
        self._threads[worker].cancel((task, attempt), force=force)

    def stop(self, deadline: float, *, detach: bool = False) -> None:
        end = time.monotonic() + deadline
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


class WorkerThread(threading.Thread):
    """Runs what it is handed, in order."""

    def __init__(self, number: int, plane: HeapPlane, emit: Emit, run: str) -> None:
        super().__init__(name=f"parallactic-threads-{number}", daemon=True)
        self._number = number
        self._plane = plane
        self._emit = emit
        self._run = run
        self._functions = FunctionCache()
        self._queue: deque[Envelope] = deque()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._running: tuple[int, int] | None = None
        self._last: Envelope
        self._ending = False
        self._epoch = 0

    def put(self, envelope: Envelope) -> None:
        with self._changed:
            self._queue.append(envelope)
            self._changed.notify()

    def run(self) -> None:
        info = self._begin()
        while True:
            # An exception that `cancel` raises into this thread arrives in here: when the task is taken at
            # the earliest, and when it is given up at the latest.
            try:
                envelope = self._next()
                if envelope is None:
                    return
                outcome = execute(envelope, info, self._plane, self._functions)
                # Not by the condition: that takes the lock in Python code, and would be left with it taken.
                with self._lock:
                    self._running = None
            except Interrupted:
                info = self._begin_again()
            else:
                self._emit(Finished(outcome, self._number))

    def _next(self) -> Envelope | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ending)
            if self._ending:
                return None
            envelope = self._last = self._queue.popleft()
            self._running = (envelope.task, envelope.attempt)
            return envelope

    def _begin(self) -> WorkerInfo:
        info = WorkerInfo(self._number, self._epoch, "threads", usable_cores(), run=self._run)
        current.set(info)
        self._emit(WorkerUp(self._number, self._epoch, hostname(), os.getpid(), info.cores))
        return info

    def _begin_again(self) -> WorkerInfo:
        """Give up the namespace: nobody knows how the stopped task left it. That is a new epoch."""
        stopped = self._last
        with self._changed:
            # The core knows what was handed over and not begun, and hands it over again.
            self._queue.clear()
            self._running = None
        message = f"the task {stopped.name} was stopped on thread {self._number}."
        began = (stopped.task, stopped.attempt)
        self._emit(WorkerDown(self._number, self._epoch, "signal", message, "", began))
        self._epoch += 1
        return self._begin()

    def cancel(self, key: tuple[int, int], *, force: bool) -> None:
        with self._changed:
            for envelope in self._queue:
                if (envelope.task, envelope.attempt) == key:
                    self._queue.remove(envelope)
                    self._emit(Skipped(*key, self._number))
                    return
            if force and self._running == key:
                self._interrupt()
            elif force:
                # It has just ended by itself.
                self._emit(Spared(self._number, self._epoch))

    def _interrupt(self) -> None:
        """Raise an exception in this thread; Python does so between two bytecodes."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.ident or 0), ctypes.py_object(Interrupted)
        )

    def end(self) -> None:
        with self._changed:
            self._ending = True
            if self._running is not None:
                self._interrupt()
            self._changed.notify()
