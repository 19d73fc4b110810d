"""What workers log and print, on its way to a person."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from parallactic.errors import InvalidSpec
from parallactic.logs import LogChoice, LogFiles
from parallactic.worker.records import MarkedRecord, handle_last, mark_records

__all__ = ["Relay"]

_log = logging.getLogger(__name__)
_PRINTED = ("parallactic.stdout", "parallactic.stderr")


class Relay:
    """Hands the records of workers to this process's logging or to files, and prints what tasks print.

    Parameters
    ----------
    choice
        Where records go.
    run
        Name of the run.
    in_process
        Whether tasks run in this process: their records are then made here.

    Raises
    ------
    InvalidSpec
        If the log cannot be written.
    """

    def __init__(self, choice: LogChoice, run: str, *, in_process: bool) -> None:
        self._relayed = choice.relayed
        self._run = run
        self._files = LogFiles(choice.path, run) if choice.path else None
        self._remove: Callable[[], None] | None = None
        if in_process:
            mark_records()
            if self._files is not None:
                self._remove = handle_last(_OfRun(self, choice.rules.level))

    def record(self, fields: Mapping[str, Any]) -> None:
        """Take a record of a worker, which carries worker, host and task."""
        record = logging.makeLogRecord(dict(fields))
        if self._files is not None:
            self._write(record)
        if self._relayed:
            logger = logging.getLogger(record.name)
            # What was printed was asked for, whatever its level is.
            if logger.isEnabledFor(record.levelno) or record.name in _PRINTED:
                logger.handle(record)

    def own_record(self, record: logging.LogRecord) -> None:
        """Take a record that was made in this process, if a task of this run has made it."""
        if isinstance(record, MarkedRecord) and record.run in (self._run, ""):
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        if self._files is None:
            return
        try:
            self._files.write(record)
        except (OSError, InvalidSpec) as error:
            # Said once; from here on they go where they can be seen.
            self._files.close()
            self._files, self._relayed = None, True
            _log.error("the log cannot be written any more, its records follow here: %s", error)

    def lines(self, stream: str, text: str) -> None:
        """Print what a task printed."""
        target = sys.stderr if stream == "stderr" else sys.stdout
        if target is not None:
            target.write(text)
            target.flush()

    def close(self) -> None:
        """Write no more."""
        if self._remove is not None:
            self._remove()
        if self._files is not None:
            self._files.close()


class _OfRun(logging.Handler):
    """Picks the records of one run out of those of this process."""

    def __init__(self, relay: Relay, level: int) -> None:
        super().__init__(level)
        self._relay = relay

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; its handler holds the lock."""
        try:
            self._relay.own_record(record)
        except Exception:  # noqa: BLE001  (a full disk must not fail the task)
            self.handleError(record)
