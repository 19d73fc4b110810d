"""The journal of a run: one JSON line for each thing that happened, appended, never rewritten.

A reader in another process may read it at any time: a line is written whole or not at all, and a torn last
line after a crash is recognised by its missing newline. Times are seconds of the Unix epoch.

========  ==========================================================================================
event     fields
========  ==========================================================================================
run       version, backend, name, host, pid, workers
up, down  worker, epoch, and host and pid, or cause
submit    task, name, worker (if addressed to one)
launch    task, attempt, worker
end       task, attempt, state (finished, failed, cancelled, retry), worker, started, wall, cpu, memory, error
close     state
========  ==========================================================================================
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from parallactic.wire.envelopes import Stats

__all__ = ["Journal", "read_journal"]

_quoted = lru_cache(maxsize=4096)(json.dumps)


class Journal:
    """Append-only record of one run. Lines are gathered, and written a few milliseconds later at most."""

    DELAY_SECONDS = 0.002

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: list[str] = []
        self._written = 0.0

    @property
    def due(self) -> float:
        """When what was gathered must be written, on the monotonic clock; infinity if there is nothing."""
        return self._written + self.DELAY_SECONDS if self._lines else math.inf

    def note(self, event: str, **fields: Any) -> None:
        """Record something rare."""
        self._lines.append(json.dumps({"event": event, "time": time.time(), **fields}, default=str) + "\n")

    def submitted(self, task: int, name: str, worker: int | None) -> None:
        """Record a new task."""
        place = "" if worker is None else f', "worker": {worker}'
        self._lines.append(
            f'{{"event": "submit", "time": {time.time():.6f}, "task": {task}, '
            f'"name": {_quoted(name)}{place}}}\n'
        )

    def launched(self, task: int, attempt: int, worker: int | None) -> None:
        """Record that an attempt was handed to the engine."""
        place = "null" if worker is None else worker
        self._lines.append(
            f'{{"event": "launch", "time": {time.time():.6f}, "task": {task}, "attempt": {attempt}, '
            f'"worker": {place}}}\n'
        )

    def ended(
        self, task: int, attempt: int, state: str, worker: int | None, stats: Stats | None, error: str
    ) -> None:
        """Record the end of an attempt."""
        cost = (
            f', "started": {stats.started:.6f}, "wall": {stats.wall:.6f}, "cpu": {stats.cpu:.6f}, '
            f'"memory": {stats.memory}'
            if stats
            else ""
        )
        place = "null" if worker is None else worker
        problem = f', "error": {json.dumps(error)}' if error else ""
        self._lines.append(
            f'{{"event": "end", "time": {time.time():.6f}, "task": {task}, "attempt": {attempt}, '
            f'"state": "{state}", "worker": {place}{cost}{problem}}}\n'
        )

    def flush(self, *, sync: bool = False) -> None:
        """Write what was gathered; with `sync`, do not return before it is on the disk."""
        if self._lines:
            self._written = time.monotonic()
            data = "".join(self._lines).encode()
            self._lines.clear()
            while data:
                data = data[os.write(self._fd, data) :]
        if sync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._fd >= 0:
            self.flush(sync=True)
            os.close(self._fd)
            self._fd = -1


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a journal; a line that a crash cut short is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
