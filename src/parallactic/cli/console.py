"""What every command shares: its options for output, its logs, its results, its errors and exit codes."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from parallactic.errors import BackendUnavailable, InvalidSpec, ParallacticError

__all__ = ["Json", "guarded", "interruptible", "set_up_logging", "show"]

FAILED, IMPOSSIBLE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
"""Exit codes: a run that failed; what cannot be; Ctrl-C; SIGTERM."""

OUTPUT = "Output"


class Terminated(KeyboardInterrupt):
    """SIGTERM: goes the way of Ctrl-C, with an exit code of its own."""


def _ended(error: KeyboardInterrupt) -> str:
    return "terminated" if isinstance(error, Terminated) else "interrupted"


Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print the result as JSON.", rich_help_panel=OUTPUT)
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        metavar="",
        show_default=False,
        help="Say more of what happens (-vv: everything).",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Say nothing but errors.", rich_help_panel=OUTPUT)
]
Debug = Annotated[
    bool,
    typer.Option("--debug", metavar="", help="Show the whole traceback of an error.", rich_help_panel=OUTPUT),
]


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command end with one sentence and an exit code instead of a traceback.

    Gives it the options ``--verbose``, ``--quiet`` and ``--debug``; of these the function gets `quiet`.
    """

    @functools.wraps(function)
    def command(*, verbose: int, quiet: bool, debug: bool, **words: Any) -> None:
        set_up_logging(verbose, quiet=quiet)
        try:
            function(**words, quiet=quiet)
        except KeyboardInterrupt as error:
            complain(f"{_ended(error)}; what was not finished has been stopped")
            raise typer.Exit(exit_code(error)) from None
        except (ParallacticError, OSError, MemoryError) as error:
            if debug:
                traceback.print_exc()
            complain(sentence(error))
            raise typer.Exit(exit_code(error)) from error

    own = [
        item
        for item in inspect.signature(function, eval_str=True).parameters.values()
        if item.name != "quiet"
    ]
    shared = {"verbose": (Verbose, 0), "quiet": (Quiet, False), "debug": (Debug, False)}
    options = own + [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in shared.items()
    ]
    # typer reads the options from here; they are complete, and not those of the wrapped function.
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in options}
    del command.__wrapped__
    return command


def exit_code(error: BaseException) -> int:
    """Return 2 for what cannot be, also where a step of a run found it out; else 1, or the signal's code."""
    if isinstance(error, KeyboardInterrupt):
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    if isinstance(error, InvalidSpec | BackendUnavailable):
        return IMPOSSIBLE
    cause = error.__cause__
    return IMPOSSIBLE if isinstance(cause, InvalidSpec) else FAILED


def sentence(error: BaseException) -> str:
    """Return what an error says to a person."""
    if isinstance(error, ParallacticError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def complain(text: str) -> None:
    """Write one error to stderr."""
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(text, err=True)


def show(result: Any, *, as_json: bool, quiet: bool = False) -> None:
    """Write a result to stdout: as JSON, or as its table."""
    if as_json:
        content = result.to_dict() if hasattr(result, "to_dict") else result
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    elif not quiet:
        from rich.console import Console

        given = sys.stdout.isatty() or "COLUMNS" in os.environ
        console = Console(width=None if given else 120)
        console.print(result, highlight=False)


def set_up_logging(verbose: int, *, quiet: bool) -> None:
    """Send what Parallactic logs to stderr: warnings and the steps of a run; more or less if asked for."""
    logger = logging.getLogger("parallactic")
    for old in [handler for handler in logger.handlers if isinstance(handler, _ToStderr)]:
        logger.removeHandler(old)
    handler = _ToStderr()
    handler.setFormatter(
        logging.Formatter("%(message)s" if not verbose else "%(asctime)s %(name)s: %(message)s", "%X")
    )
    level = logging.DEBUG if verbose > 1 else logging.INFO
    least = logging.ERROR if quiet else level if verbose else logging.WARNING
    steps = logging.ERROR if quiet else min(least, logging.INFO)
    handler.addFilter(
        lambda record: record.levelno >= (steps if record.name.startswith("parallactic.pipeline") else least)
    )
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


class _ToStderr(logging.Handler):
    """Writes records to the stderr of the moment, with warnings and errors marked as such."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(_without_traceback(record))
            if record.levelno >= logging.WARNING:
                typer.secho(f"{record.levelname.lower()}: ", fg="yellow", nl=False, err=True)
            typer.echo(text, err=True)
        except Exception:  # noqa: BLE001 - the rule of logging: a handler reports its errors and goes on
            self.handleError(record)


def _without_traceback(record: logging.LogRecord) -> logging.LogRecord:
    """Leave tracebacks to the log file; the terminal gets the sentence."""
    if record.exc_info is None:
        return record
    copy = logging.makeLogRecord(record.__dict__)
    copy.exc_info = copy.exc_text = None
    return copy


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM unwind the command as Ctrl-C does, and Ctrl-C before a command starts be quiet."""

    def terminated(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except KeyboardInterrupt as error:
        complain(_ended(error))
        raise SystemExit(exit_code(error)) from None
    finally:
        signal.signal(signal.SIGTERM, before)
