"""Where the log records of workers go: the client's logging, one file for all, or a file for each worker."""

from __future__ import annotations

import logging
import os
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parallactic.backend import Capabilities
from parallactic.errors import InvalidSpec
from parallactic.spec import near_match
from parallactic.worker.records import LogRules

__all__ = ["LINE", "LogChoice", "LogFiles", "choose_log", "formatter"]

LINE = "%(asctime)s %(levelname)-7s worker %(worker)s %(host)s [%(task)s] %(name)s: %(message)s"
"""A line of a log: time, level, worker, host, task, logger, message."""

_WORDS = ("client", "per-worker", "one-file", "none")
_FIELDS = ("worker", "host", "run")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def formatter(line: str = LINE) -> logging.Formatter:
    """Return a formatter for records of workers, and for those of the client beside them.

    Parameters
    ----------
    line
        In the style of ``%``. Besides the fields of `logging` there are ``worker``, ``host``, ``task`` and
        ``run``; records that no task has made have ``-`` there.
    """
    return logging.Formatter(line, defaults={"worker": "-", "host": "-", "task": "-", "run": "-"})


@dataclass(frozen=True)
class LogChoice:
    """What was chosen.

    Parameters
    ----------
    rules
        What workers must know.
    path
        File for the records, with ``{worker}``, ``{host}`` or ``{run}`` in it perhaps; empty for none.
    relayed
        Whether records go to this process's loggers.
    """

    rules: LogRules
    path: str = ""
    relayed: bool = True


def choose_log(
    log: str | os.PathLike[str] | None,
    level: int | str | None,
    output: bool | None,
    configured: Mapping[str, Any],
    run_dir: str | os.PathLike[str] | None,
    capabilities: Capabilities,
    backend: str,
) -> LogChoice:
    """Make out of arguments, environment and file where records go.

    Raises
    ------
    InvalidSpec
        If one of them is wrong, or the backend cannot do it.
    """
    where = _place(configured.get("log") if log is None else log, run_dir)
    relayed = where == "client"
    path = "" if where in ("client", "none") else where
    asked = configured.get("log_level") if level is None else level
    with_output = _truth(configured.get("log_output", False) if output is None else output)
    if with_output and not capabilities.output:
        raise InvalidSpec(
            f"log_output=True: tasks of backend {backend!r} print in a process that is not theirs alone; "
            "leave it out, or take another backend."
        )
    if with_output and where == "none":
        raise InvalidSpec("log_output=True makes log records of what tasks print, and log='none' drops them.")
    number = _level(asked, path)
    levels = {} if asked is not None else _levels_of_client()
    return LogChoice(LogRules(number, levels, where != "none", with_output), path, relayed)


def _place(log: Any, run_dir: str | os.PathLike[str] | None) -> str:
    if log is None or log in ("client", "none"):
        return log or "client"
    if log in _WORDS:
        if run_dir is None:
            raise InvalidSpec(
                f"log={log!r} writes into the run's folder, which is temporary; give run_dir= as well, "
                "or a path: log='logs/{worker}.log'."
            )
        return _literal(run_dir) + os.sep + ("log-{worker}.txt" if log == "per-worker" else "log.txt")
    if not isinstance(log, str | os.PathLike):
        raise InvalidSpec(f"log={log!r} must be a path, or one of {', '.join(_WORDS)}.")
    if isinstance(log, str) and os.sep not in log and not Path(log).suffix:
        raise InvalidSpec(
            f"log={log!r} is none of {', '.join(_WORDS)}{near_match(log, _WORDS)} "
            "A path has a folder or an ending: log='./name' or log='name.log'."
        )
    path = str(Path(log).expanduser())
    for name in _fields(path):
        if name not in _FIELDS:
            raise InvalidSpec(
                f"log={path!r} has {{{name}}}{near_match(name, _FIELDS)} There are {', '.join(_FIELDS)}."
            )
    try:
        path.format(worker=0, host="", run="")
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidSpec(f"log={path!r} cannot be filled in: {error}.") from error
    return path if Path(path).is_absolute() else _literal(Path.cwd()) + os.sep + path


def _literal(folder: str | os.PathLike[str]) -> str:
    """Return a folder in which braces are braces."""
    return str(Path(folder).absolute()).replace("{", "{{").replace("}", "}}")


def _fields(path: str) -> set[str]:
    """Return what stands in braces."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(path) if name is not None}
    except ValueError as error:
        raise InvalidSpec(f"log={path!r} has unpaired braces: {error}.") from error


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise InvalidSpec(f"log_output={value!r} must be true or false.")


def _level(level: int | str | None, path: str) -> int:
    if level is None:
        # A file is made to be looked into; a terminal has what its owner asked for.
        return logging.INFO if path else logging.getLogger().getEffectiveLevel()
    if isinstance(level, int):
        return level
    known = logging.getLevelNamesMapping()
    if level.isdigit():
        return int(level)
    if level.upper() not in known:
        raise InvalidSpec(f"log_level={level!r} is not a level; there are {', '.join(known)}.")
    return known[level.upper()]


def _levels_of_client() -> dict[str, int]:
    """Return the levels that loggers of this process were given, so that they hold on workers as well.

    A logger of a class of its own, as that of astropy, is left to its library: a plain one that is there
    before the library makes its import fail.
    """
    loggers = dict(logging.getLogger().manager.loggerDict)
    return {
        name: logger.level
        for name, logger in loggers.items()
        if type(logger) is logging.Logger and logger.level
    }


@dataclass
class LogFiles:
    """The files of a run. Every record is one write to a file that is only ever appended to.

    Records of all workers come here, to the client, which alone writes: lines never mix, whatever the disk,
    and those of two runs that share a file do not either.

    Parameters
    ----------
    path
        With ``{worker}``, ``{host}`` or ``{run}`` in it perhaps.
    run
        Name of the run.
    """

    path: str
    run: str
    _open: dict[str, int] = field(default_factory=dict)
    _formatter: logging.Formatter = field(default_factory=formatter)
    _closed: bool = False

    def __post_init__(self) -> None:
        if not _fields(self.path) & {"worker", "host"}:
            # The one file is made now: a path that cannot be written is told at the start.
            self._descriptor(self._named(0, ""))

    def write(self, record: logging.LogRecord) -> None:
        """Append a record, unless the run is over."""
        if self._closed:
            return
        message = self._formatter.format(record).rstrip()
        path = self._named(getattr(record, "worker", 0), getattr(record, "host", "-"))
        os.write(self._descriptor(path), (message.replace("\n", "\n    ") + "\n").encode(errors="replace"))

    def _named(self, worker: int, host: str) -> str:
        return self.path.format(worker=worker, host=host, run=self.run.replace(os.sep, "_"))

    def _descriptor(self, path: str) -> int:
        if path not in self._open:
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                self._open[path] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise InvalidSpec(f"the log {path!r} cannot be written: {error.strerror}.") from error
        return self._open[path]

    def close(self) -> None:
        """Close the files."""
        self._closed = True
        while self._open:
            os.close(self._open.popitem()[1])
