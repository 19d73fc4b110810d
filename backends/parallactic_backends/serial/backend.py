"""The backend ``serial``: every task runs at `submit`, in order, in this process and thread.

A debugger, a profiler or a print sees the task as it sees any function. Several virtual workers share the
process, each with its own namespace, so that targets behave as they do elsewhere.
"""

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
from parallactic.wire.envelopes import Envelope, Outcome
from parallactic.wire.memory import HeapPlane
from parallactic.worker.execute import FunctionCache, Interrupted, execute
from parallactic.worker.namespace import WorkerInfo, current, hostname

__all__ = ["SerialBackend", "SerialSettings"]

_PAUSE_SECONDS = 0.02


class SerialSettings(Settings):
    """What can be set for tasks in this process."""

    workers: int | None = Field(default=None, ge=1, description="Number of virtual workers; 1 by default.")


class SerialBackend(Backend):
    """Tasks run at `submit`, one at a time."""

    name = "serial"
    Settings = SerialSettings
    capabilities = Capabilities(isolation=False, kills_native_code=False, inline=True)

    def __init__(self, settings: SerialSettings, context: RunContext) -> None:
        super().__init__(settings, context)
        self.plane = HeapPlane()
        self._count = settings.workers or 1
        self._functions = FunctionCache()
        self._infos: list[WorkerInfo] = []
        self._queue: deque[Envelope] = deque()
        self._turn = threading.Lock()
        self._running_lock = threading.Lock()
        self._running: tuple[Envelope, int] | None = None

    @classmethod
    def available(cls) -> Availability:
        """Tell that it always is."""
        return Availability(True, "this process")

    @property
    def max_workers(self) -> int:
        """Number of virtual workers."""
        return self._count

    @property
    def total_cores(self) -> int:
        """Cores of this process."""
        return usable_cores()

    @property
    def total_memory(self) -> int:
        """Memory of this host."""
        return psutil.virtual_memory().total

    def start(self, emit: Emit) -> None:
        """Report the virtual workers."""
        self._emit = emit
        for number in range(self._count):
            self._infos.append(self._new_worker(number, 0))

    def _new_worker(self, number: int, epoch: int) -> WorkerInfo:
        info = WorkerInfo(number, epoch, self.name, usable_cores(), run=self.context.name)
        self._emit(WorkerUp(number, epoch, hostname(), os.getpid(), info.cores))
        return info

    def launch(self, envelopes: Sequence[Envelope]) -> None:
        """Queue the tasks for the thread that drives the dispatcher."""
        self._queue.extend(envelopes)

    def step(self) -> bool:
        """Run the next task here."""
        with self._turn:
            with self._running_lock:
                if not self._queue:
                    return False
                envelope = self._queue.popleft()
                self._running = (envelope, threading.get_ident())
            number = envelope.worker or 0
            try:
                outcome = self._execute(envelope, self._infos[number])
            except Interrupted:
                self._replace(number, envelope)
            except KeyboardInterrupt:
                # Ctrl-C in this process: it is the caller's, who is on this thread.
                self._replace(number, envelope)
                raise
            else:
                self._emit(Finished(outcome, number))
            return True

    def _execute(self, envelope: Envelope, info: WorkerInfo) -> Outcome:
        token = current.set(info)
        try:
            return execute(
                envelope, info, self.plane, self._functions, passing=(Interrupted, KeyboardInterrupt)
            )
        finally:
            current.reset(token)
            # From here on nobody raises into this thread; an exception that is already on its way arrives in
            # this block, and the task counts as stopped.
            with self._running_lock:
                self._running = None

    def _replace(self, number: int, envelope: Envelope) -> None:
        """Give the virtual worker a new namespace; what a stopped task left in the old one is not trusted."""
        epoch = self._infos[number].epoch
        message = f"the task {envelope.name} was stopped on virtual worker {number}."
        with self._running_lock:
            # The exception may have come just before `_execute` could say so.
            self._running = None
            self._queue = deque(waiting for waiting in self._queue if waiting.worker != number)
        self._emit(WorkerDown(number, epoch, "signal", message, "", (envelope.task, envelope.attempt)))
        self._infos[number] = self._new_worker(number, epoch + 1)

    def cancel(self, task: int, attempt: int, worker: int | None, *, force: bool) -> None:
        """Drop a task that waits, or raise an exception inside the one that runs.

        Python raises it between two bytecodes: a call into C is stopped at its end.
        """
        with self._running_lock:
            for envelope in self._queue:
                if (envelope.task, envelope.attempt) == (task, attempt):
                    self._queue.remove(envelope)
                    self._emit(Skipped(task, attempt, worker or 0))
                    return
            if not force:
                return
            if self._running is not None:
                running, thread = self._running
                if (running.task, running.attempt) == (task, attempt):
                    _interrupt(thread)
                    return
            number = worker or 0
            self._emit(Spared(number, self._infos[number].epoch))

    def stop(self, deadline: float, *, detach: bool = False) -> None:
        """Interrupt what runs, and wait for its end as long as the deadline allows."""
        end = time.monotonic() + deadline
        while True:
            with self._running_lock:
                self._queue.clear()
                if self._running is None or time.monotonic() > end:
                    return
                _interrupt(self._running[1])
            time.sleep(_PAUSE_SECONDS)


def _interrupt(thread: int) -> None:
    """Raise `Interrupted` in a thread of this process, between two of its bytecodes."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Interrupted))
