"""The status of a run, as a snapshot."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from parallactic.dispatch.task import State, Task
from parallactic.dispatch.workers import Worker
from parallactic.status import Status, TaskStatus

__all__ = ["snapshot"]

_MOST_TASKS = 1000

#: A task that is done is in no ledger, and so in no snapshot.
_UNFINISHED: dict[State, Literal["held", "queued", "running"]] = {
    State.HELD: "held",
    State.QUEUED: "queued",
    State.RUNNING: "running",
}


def snapshot(
    backend: str,
    name: str,
    run_dir: Path,
    workers: Sequence[Worker],
    tasks: Collection[Task],
    ended: Mapping[str, int],
    dashboard: str = "",
) -> Status:
    """Describe a run; the caller holds the dispatcher's turn."""
    now = time.monotonic()
    places = {task.id: worker.id for worker in workers for task in worker.inflight}
    counts = Counter(task.state.value for task in tasks)
    counts.update(ended)
    listed = tuple(
        _describe(task, places.get(task.id, task.target), now) for task in islice(tasks, _MOST_TASKS)
    )
    return Status(
        backend,
        name,
        str(run_dir),
        tuple(worker.status() for worker in workers if not worker.gone),
        listed,
        dict(counts),
        dashboard,
    )


def _describe(task: Task, worker: int | None, now: float) -> TaskStatus:
    running = task.state is State.RUNNING and task.since > 0
    return TaskStatus(
        task.id,
        task.name,
        _UNFINISHED[task.state],
        worker,
        task.attempt,
        now - task.since if running else 0.0,
    )
