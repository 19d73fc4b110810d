"""Log records of tasks: which worker, host and task they come from, and how they leave a worker."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parallactic.worker.namespace import WorkerInfo, find_worker

__all__ = ["Forward", "LogRules", "MarkedRecord", "capture_records", "handle_last", "mark_records"]

MARKS = ("worker", "host", "task", "run")


@dataclass(frozen=True, slots=True)
class LogRules:
    """What becomes of the log records that tasks make.

    Parameters
    ----------
    level
        Level of the root logger on workers.
    levels
        Levels of other loggers, by name.
    forward
        Whether records of at least these levels go to the client.
    output
        Whether what tasks and their C libraries print goes there too, as records.
    """

    level: int = logging.WARNING
    levels: Mapping[str, int] = field(default_factory=dict)
    forward: bool = True
    output: bool = False

    def level_of(self, name: str) -> int:
        """Return the level from which records of a logger go to the client."""
        while name:
            if name in self.levels:
                return self.levels[name]
            name = name.rpartition(".")[0]
        return self.level


class MarkedRecord(logging.LogRecord):
    """A record that knows its worker, host, task and run.

    They are put among its fields when it is formatted, not before: `logging` refuses `extra` fields that a
    record already has, and a task may have a field "task" of its own.
    """

    marks: tuple[int, str, str, str]

    def __getattr__(self, name: str) -> Any:
        if name in MARKS and "marks" in self.__dict__:
            return self.marks[MARKS.index(name)]
        raise AttributeError(f"this log record has no field {name!r}")

    def getMessage(self) -> str:  # noqa: N802  (the name is that of `logging`)
        """Return the message, as every formatter asks before it looks at the fields."""
        self.__dict__ |= zip(MARKS, self.marks, strict=True)
        return super().getMessage()


def marks_of(info: WorkerInfo) -> tuple[int, str, str, str]:
    """Return worker, host, task and run, as records carry them."""
    return info.id, info.host, info.name, info.run


class _Marking:
    """A factory of records that marks those of tasks."""

    def __init__(self, before: Callable[..., logging.LogRecord]) -> None:
        self._before = before

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._before(*args, **kwargs)
        info = find_worker()
        if info is not None and type(record) is logging.LogRecord:
            record.__class__ = MarkedRecord
            record.__dict__["marks"] = marks_of(info)
        return record


def mark_records() -> None:
    """Have every record that a task makes in this process say where it comes from."""
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Marking):
        logging.setLogRecordFactory(_Marking(factory))


def handle_last(handler: logging.Handler) -> Callable[[], None]:
    """Have a handler see all records that reach the root logger, without being one of the root's handlers.

    So `logging.basicConfig` and `dictConfig` find the root logger as it would be without this library, do
    what they say, and remove nothing of ours.

    Returns
    -------
    Callable
        What takes the handler away.
    """
    root = logging.getLogger()
    if root.parent is None:
        root.parent = logging.Logger("parallactic.last")
    last = root.parent
    last.addHandler(handler)

    def remove() -> None:
        last.removeHandler(handler)
        if not last.handlers and root.parent is last:
            root.parent = None

    return remove


def capture_records(info: WorkerInfo, rules: LogRules, send: Callable[[dict[str, Any]], None]) -> Forward:
    """Set up `logging` in the process of a worker; return the handler that sends records to the client.

    Parameters
    ----------
    info
        The worker whose process this is.
    rules
        Which records go to the client.
    send
        Takes one record, as plain values; may be called from any thread.
    """
    mark_records()
    # Warnings are records of the logger "py.warnings", and carry worker and task as others do.
    logging.captureWarnings(True)
    logging.getLogger().setLevel(rules.level)
    for name, level in rules.levels.items():
        logging.getLogger(name).setLevel(level)
    forward = Forward(info, rules, send)
    # Without any handler `logging` would print warnings.
    handle_last(forward if rules.forward else logging.NullHandler())
    return forward


class Forward(logging.Handler):
    """Send records to the client, with worker, host, task and run."""

    def __init__(self, info: WorkerInfo, rules: LogRules, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._info = info
        self._rules = rules
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, unless this is a process that a task has forked: the connection is its parent's."""
        if record.levelno < self._rules.level_of(record.name) or os.getpid() != self._info.pid:
            return
        try:
            self._send(self._plain(record))
        except Exception:  # noqa: BLE001  (a record that cannot be sent must not fail the task)
            self.handleError(record)

    def print(self, stream: str, text: str) -> None:
        """Send lines that were printed, as records of the logger ``parallactic.stdout`` or ``.stderr``.

        They are told by their name alone, and not given to the loggers of this process: a handler of the
        user may print what it is given.
        """
        name = f"parallactic.{stream}"
        for line in text.splitlines():
            if line.strip():
                record = logging.LogRecord(name, logging.INFO, stream, 0, line, None, None)
                self._send(self._plain(record))

    def _plain(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = dict(record.__dict__)
        fields["msg"], fields["args"] = record.getMessage(), None
        if record.exc_info:
            fields["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
            fields["exc_info"] = None
        fields.pop("marks", None)
        fields |= zip(MARKS, marks_of(self._info), strict=True)
        return {str(key): _plain(value) for key, value in fields.items()}


def _plain(value: Any, depth: int = 3) -> Any:
    """Return a field as the client can read it without the classes that this worker knows."""
    kind = type(value)
    if value is None or kind in (str, int, float, bool, complex, bytes):
        return value
    if depth and kind in (list, tuple, set, frozenset):
        return kind(_plain(item, depth - 1) for item in value)
    if depth and kind is dict:
        return {_plain(key, depth - 1): _plain(item, depth - 1) for key, item in value.items()}
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _plain(value.item(), 0)  # a number of NumPy
    return repr(value)
