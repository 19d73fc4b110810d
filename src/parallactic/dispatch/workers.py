"""What the dispatcher knows about one worker, and its lane: the tasks addressed to it."""

from __future__ import annotations

from collections import deque

from parallactic.dispatch.task import Task
from parallactic.status import WorkerState, WorkerStatus

__all__ = ["Worker"]


class Worker:
    """One worker slot. The process behind it may be replaced; then the epoch grows.

    Parameters
    ----------
    number
        Number of the worker.
    """

    __slots__ = (
        "base", "cores", "done", "epoch", "gone", "host", "id", "inflight", "joined_after", "killing", "lane",
        "last_beat", "leaving", "log", "pid", "responsive", "setups", "up",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.id = number
        self.epoch = 0
        self.base = 0
        """The first epoch whose state is that of the present one."""

        self.up = False
        self.responsive = True
        self.killing = False
        self.joined_after: int | None = None
        """Number of the last task that was submitted before it joined; None if it has run its setups."""
        self.leaving = False
        """It was told to go, and ends what it has begun."""
        self.gone = False
        """It went, and no other takes its place."""
        self.last_beat: float | None = None
        self.inflight: deque[Task] = deque()
        self.lane: deque[Task] = deque()
        self.setups: list[Task] = []
        self.host = ""
        self.pid = 0
        self.cores = 1
        self.log = ""
        self.done = 0

    @property
    def usable(self) -> bool:
        """Whether it may be given work."""
        return self.up and self.responsive and not self.killing and not self.leaving

    @property
    def present_epoch(self) -> int:
        """The epoch to which new tasks are addressed: that of the next one, if this one leaves."""
        return self.epoch + self.leaving

    def is_present(self, epoch: int) -> bool:
        """Tell whether what was addressed to an epoch finds the state that it had."""
        return epoch == self.present_epoch or (not self.leaving and self.base <= epoch)

    @property
    def keeps_state(self) -> bool:
        """Whether a new epoch is brought to the state of the old one by replaying setups."""
        return bool(self.setups) or any(task.is_setup for task in self.lane)

    def state(self) -> WorkerState:
        """Return its state in a word."""
        if not self.up:
            lost = self.epoch > 0 and self.base == self.epoch and self.joined_after is None
            return "lost" if lost else "starting"
        if self.leaving:
            return "leaving"
        if not self.responsive:
            return "unresponsive"
        return "busy" if self.inflight else "idle"

    def status(self) -> WorkerStatus:
        """Return a snapshot."""
        return WorkerStatus(
            id=self.id,
            epoch=self.epoch,
            state=self.state(),
            host=self.host,
            pid=self.pid,
            task=self.inflight[0].name if self.inflight else "",
            queued=len(self.lane) + max(0, len(self.inflight) - 1),
            done=self.done,
            log=self.log,
        )
