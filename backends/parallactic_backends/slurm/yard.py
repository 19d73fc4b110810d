"""The jobs of a run: submitted, looked after and ended on a thread of their own, for SLURM takes its time."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from parallactic.backend import Emit
from parallactic.errors import LossCause, SubmitError
from parallactic.threads import start_in_background
from parallactic.worker.supervisor import tail
from parallactic_backends.slurm.batch import Batch
from parallactic_backends.slurm.pilot import Meeting
from parallactic_backends.slurm.states import Job, QueueAway, cancel, explain, look

__all__ = ["Holder", "Yard"]

_log = logging.getLogger(__name__)
_GATHER_SECONDS = 0.05
_CLOSE_LOOK_SECONDS = 0.25
_LEAVE_SECONDS = 2.0
_VERDICT_SECONDS = 6.0
"""How long a job whose pilot has hung up may still be said to run, before it is given up."""


class Holder(Protocol):
    """Who asked for a job: told, on the dispatcher's thread, what happens to it."""

    number: int
    epoch: int

    def job_ended(self, cause: LossCause, text: str, log_tail: str, *, again: bool) -> None:
        """Learn that the job has ended, and whether SLURM begins it again by itself."""

    def time_is_near(self) -> None:
        """Learn that the job's time limit is near."""


@dataclass(eq=False)
class _Pilot:
    """A job that is, or is to be, in the queue."""

    holder: Holder
    epoch: int
    job: str = ""
    log: Path = field(default_factory=Path)
    hung_up: float = 0.0
    """When its connection broke; 0 while it holds, or has not been made."""

    connected: bool = False
    ending: bool = False
    """Whether its holder was told that its time is near."""

    waits: str = ""


class Yard:
    """Keeps a job for each worker that asked for one, until the job ends.

    Parameters
    ----------
    batch
        Submits them.
    meeting
        Where pilots find the client.
    emit
        That of the run.
    fail
        Called with a sentence when SLURM refuses jobs.
    poll
        Seconds between two looks at the queue.
    margin
        How many seconds before its limit a job's time is near.
    """

    def __init__(
        self,
        batch: Batch,
        meeting: Meeting,
        emit: Emit,
        fail: Callable[[str], None],
        *,
        poll: float,
        margin: float,
    ) -> None:
        self._batch, self._meeting, self._emit, self._fail = batch, meeting, emit, fail
        self._poll, self._margin = poll, margin
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._asked: list[_Pilot] = []
        self._pilots: dict[int, _Pilot] = {}
        self._all: set[str] = set()
        self._away_since = 0.0
        self._thread = threading.Thread(target=self._run, name="parallactic-slurm", daemon=True)

    def start(self) -> None:
        """Begin to look after jobs."""
        start_in_background(self._thread)

    # Called on the dispatcher's thread

    def want(self, holder: Holder) -> None:
        """Submit a pilot for a worker, together with those that are wanted at the same moment."""
        pilot = _Pilot(holder, holder.epoch)
        self._orders.put(lambda: self._asked.append(pilot))

    def give_back(self, worker: int) -> None:
        """Learn that the pilot of a worker was told to go, and that nobody asks any more how it ends."""
        self._orders.put(lambda: self._give_back(worker))

    def connected(self, worker: int) -> None:
        """Learn that the pilot of a worker has connected."""
        self._orders.put(lambda: self._connected(worker))

    def hung_up(self, worker: int) -> None:
        """Learn that the connection to a pilot broke: its job has ended, or is about to."""
        self._orders.put(lambda: self._hung_up(worker))

    def stop(self, deadline: float) -> None:
        """End every job of the run, and wait until SLURM says that none is left."""
        end = time.monotonic() + deadline
        self._orders.put(None)
        self._thread.join(deadline)
        self._end_all(end)

    # On the thread of the jobs

    def _connected(self, worker: int) -> None:
        pilot = self._pilots.get(worker)
        if pilot is not None:
            pilot.connected, pilot.hung_up, pilot.waits = True, 0.0, ""

    def _hung_up(self, worker: int) -> None:
        pilot = self._pilots.get(worker)
        if pilot is not None:
            pilot.hung_up = time.monotonic()

    def _give_back(self, worker: int) -> None:
        self._pilots.pop(worker, None)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001  (whatever it is, tasks must not wait for jobs for ever)
            self._fail(f"the jobs of this run cannot be looked after any more: {error!r}")

    def _serve(self) -> None:
        next_look = time.monotonic() + self._poll
        while True:
            close = any(pilot.hung_up for pilot in self._pilots.values())
            soon = self._asked and not self._away_since
            wait = _GATHER_SECONDS if soon else _CLOSE_LOOK_SECONDS if close else self._poll
            try:
                order = self._orders.get(timeout=max(0.0, min(wait, next_look - time.monotonic())))
            except queue.Empty:
                if self._asked:
                    self._submit()
                if close or time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + self._poll
                continue
            if order is None:
                return
            order()

    def _submit(self) -> None:
        asked, self._asked = self._asked, []
        try:
            jobs = self._batch.submit(self._meeting, [(pilot.holder.number, pilot.epoch) for pilot in asked])
        except QueueAway as error:
            self._is_away(error)
            self._asked = asked + self._asked
            return
        except SubmitError as error:
            self._fail(str(error))
            return
        for pilot, (number, log) in zip(asked, jobs, strict=True):
            pilot.job, pilot.log = number, log
            self._pilots[pilot.holder.number] = pilot
            self._all.add(pilot.job)
            _log.info("worker %d: job %s was submitted", pilot.holder.number, pilot.job)

    def _look(self) -> None:
        try:
            known = look(pilot.job for pilot in self._pilots.values())
        except QueueAway as error:
            self._is_away(error)
            return
        except SubmitError as error:
            _log.warning("%s", error)
            return
        if self._away_since:
            _log.warning("SLURM's controller answers again")
            self._away_since = 0.0
        for pilot in list(self._pilots.values()):
            self._judge(pilot, known[pilot.job])

    def _is_away(self, error: QueueAway) -> None:
        if not self._away_since:
            self._away_since = time.monotonic()
            _log.warning("SLURM's controller does not answer; waiting for it: %s", error)

    def _judge(self, pilot: _Pilot, job: Job) -> None:
        if job.is_hopeless:
            self._fail(f"SLURM would never begin job {pilot.job}: {job.reason}. Ask for less, or elsewhere.")
            return
        if job.waits and job.reason != pilot.waits and not pilot.connected:
            pilot.waits = job.reason
            _log.info("worker %d: job %s waits: %s", pilot.holder.number, pilot.job, job.reason)
        if job.lives:
            if job.seconds_left < self._margin and pilot.connected and not pilot.ending:
                pilot.ending = True
                self._emit.call(pilot.holder.time_is_near)
            if not pilot.hung_up:
                return
            if job.waits:
                # It was put into the queue again, and its next pilot will call.
                pilot.hung_up, pilot.connected, pilot.ending = 0.0, False, False
                text = f"job {pilot.job} was put into the queue again by SLURM."
                self._tell(pilot, "preempted", text, again=True)
                return
            if time.monotonic() - pilot.hung_up < _VERDICT_SECONDS:
                return
        del self._pilots[pilot.holder.number]
        self._all.discard(pilot.job)
        if job.lives:
            self._cancel([pilot.job])
            cause: LossCause = "unreachable"
            text = f"the pilot of job {pilot.job} on {job.nodes} hung up."
        else:
            cause, text = explain(pilot.job, job)
        self._tell(pilot, cause, text, again=False)

    def _tell(self, pilot: _Pilot, cause: LossCause, text: str, *, again: bool) -> None:
        last = tail(str(pilot.log))
        self._emit.call(lambda: pilot.holder.job_ended(cause, text, last, again=again))

    def _cancel(self, jobs: list[str]) -> None:
        try:
            cancel(jobs)
        except (QueueAway, SubmitError) as error:
            _log.warning("%s", error)

    def _end_all(self, end: float) -> None:
        """Cancel what has not been told to go, wait for the others, and cancel those too that stay."""
        told = {pilot.job for pilot in self._pilots.values() if pilot.connected}
        self._cancel(sorted(self._all - told))
        left = self._wait(set(self._all), min(end, time.monotonic() + _LEAVE_SECONDS))
        self._cancel(sorted(left))
        left = self._wait(left, end)
        if left:
            _log.warning("jobs %s were cancelled and have not ended yet", ", ".join(sorted(left)))

    def _wait(self, jobs: set[str], end: float) -> set[str]:
        while jobs and time.monotonic() < end:
            with contextlib.suppress(QueueAway):  # asked again until the time is over
                jobs = {name for name, job in look(jobs).items() if job.lives}
            if jobs:
                time.sleep(0.05)
        return jobs
