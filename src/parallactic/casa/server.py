"""What runs on a server: its beginning, its log, and every command."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from parallactic.casa.log import post
from parallactic.errors import InvalidSpec
from parallactic.worker.namespace import namespace, worker

__all__ = ["LogMode", "Mode", "Reply", "execute", "open_log", "prepare"]

Mode = Literal["eval", "exec", "push"]
LogMode = Literal["unified", "separated", "redirect"]

PULSE = "parallactic.casa.pulse"
"""Logger by which a server says that its interpreter runs; its records never reach a log."""

PULSE_SECONDS = 1.0

_AT_HAND = ("os", "subprocess", "sys", "tempfile", "time", "traceback", "uuid")
"""Modules that commands may use without importing them, as on mpi4casa's servers."""


@dataclass(frozen=True)
class Reply:
    """What a server answers to a command.

    Parameters
    ----------
    server
        Rank of the server: 1 for worker 0.
    value
        Of an expression; None for statements and failures.
    traceback
        Text of the exception, or None.
    started, stopped
        When the command ran, in seconds since the epoch.
    """

    server: int
    value: Any
    traceback: str | None
    started: float
    stopped: float


def prepare(tasks: bool, pulse: bool, *, inline: bool) -> None:
    """Give a server's namespace what commands expect to find there.

    Parameters
    ----------
    tasks
        Import every task of casatasks, and ``casalog``.
    pulse
        Start a thread that shows that the interpreter runs.
    inline
        Whether the client runs in this process, whose log then belongs where it works.
    """
    variables = namespace()
    variables.update({name: importlib.import_module(name) for name in _AT_HAND})
    if tasks:
        from parallactic.casa.standin import install

        # casatasks asks casampi, if it finds one, whether it is a server: ours says that it runs alone.
        install()
        if "casatasks" not in sys.modules:
            with contextlib.nullcontext() if inline else _elsewhere():
                importlib.import_module("casatasks")
        exec("from casatasks import *; from casatasks import casalog", variables)
        from parallactic.casa.environment import MPIEnvironment

        variables["MPIEnvironment"] = MPIEnvironment
    if pulse:
        threading.Thread(target=_beat, name="pulse", daemon=True).start()


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """Work in a folder that is thrown away: CASA writes a log there when it is imported."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="plx-casa-", ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


def _beat() -> None:
    logger = logging.getLogger(PULSE)
    while True:
        # A level that reaches the client whatever it asks for; the client takes it out.
        logger.critical("here")
        time.sleep(PULSE_SECONDS)


@dataclass
class _Log:
    """Where a server's messages go, and what names it there.

    Parameters
    ----------
    file
        CASA's log of this server.
    origin
        What its messages end with.
    shown
        How many bytes of the file have been shown on the client's terminal; None if it is not.
    client
        The client's file and origin, if client and servers share one process and so one logger.
    """

    file: Path
    origin: str
    shown: int | None
    client: tuple[Path, str] | None

    def take(self) -> None:
        """Let messages go here."""
        _log_to(self.file, self.origin)

    def leave(self) -> None:
        """Show what is new; let messages go to the client's log again, if the client is here too."""
        if self.client is not None:
            _log_to(*self.client)
        if self.shown is not None:
            with self.file.open(encoding="utf-8", errors="replace") as file:
                file.seek(self.shown)
                sys.stdout.write(file.read())
                self.shown = file.tell()


_logs: dict[int, _Log] = {}


def _log_to(file: Path, origin: str) -> None:
    casalog = namespace()["casalog"]
    casalog.setlogfile(str(file))
    casalog.processorOrigin(origin)
    # It stands in messages whose own origin was set after it.
    casalog.origin("casa")


def open_log(mode: LogMode, path: str, client_origin: str, *, inline: bool) -> None:
    """Choose where this server logs. Without CASA on the server there is nothing to do.

    Parameters
    ----------
    mode
        "unified": to the client's log. "separated": to a file of its own beside it. "redirect": the same, and
        shown on the client's terminal.
    path
        The client's log.
    client_origin
        What the client's messages end with.
    inline
        Whether the client runs in this process.
    """
    casalog = namespace().get("casalog")
    if casalog is None:
        return
    info = worker()
    rank = info.id + 1
    file = Path(path if mode == "unified" else f"{path}-server-{rank}-host-{info.host}-pid-{info.pid}")
    origin = f"@{info.host.partition('.')[0]}:MPIServer-{rank}"
    casalog.setglobal(True)
    log = _Log(file, origin, None, (Path(path), client_origin) if inline else None)
    log.take()
    # A sub-MS in which nothing is selected is no error of the whole.
    casalog.filterMsg("MSSelectionNullSelection")
    casalog.filterMsg("non-existent spw")
    if inline:
        log.leave()
    if mode == "redirect":
        log.shown = file.stat().st_size
    _logs[info.id] = log


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    log = _logs.get(worker().id)
    if log is None:
        yield
        return
    if log.client is not None:
        log.take()
    try:
        yield
    finally:
        log.leave()


def execute(
    number: int, command: str, mode: Mode, parameters: Mapping[str, Any] | None, priority: str
) -> Reply:
    """Run one command in this server's namespace.

    Parameters
    ----------
    number
        Of the request.
    command
        An expression ("eval"), statements ("exec"), or the word "push".
    mode
        Which of them.
    parameters
        Variables that exist while the command runs; what they hide comes back. An expression that ends in
        ``()`` is called with them instead. Those of "push" stay.
    priority
        Of the messages about commands in CASA's log.
    """
    rank = worker().id + 1
    value, failure = None, None
    with _logged():
        _note(f"Server {rank} runs request {number} ({mode}): {command}", priority)
        started = time.time()
        try:
            value = _run(command, mode, parameters)
        except Exception as error:  # noqa: BLE001  (a command may raise anything; it belongs to the client)
            failure = _told(error)
            _note(f"Request {number} failed: {failure}", "SEVERE")
        stopped = time.time()
    return Reply(rank, value, failure, started, stopped)


def _note(message: str, priority: str) -> None:
    casalog = namespace().get("casalog")
    if casalog is None:
        post(message, priority, "MPICommandServer")
    else:
        casalog.origin("MPICommandServer")
        casalog.post(message, priority)


def _run(command: str, mode: Mode, parameters: Mapping[str, Any] | None) -> Any:
    variables = namespace()
    if mode == "push":
        variables.update(parameters or {})
        return None
    if parameters is not None and mode == "eval" and command.rstrip().endswith("()"):
        return eval(command.strip()[:-2], variables)(**parameters)
    with _injected(variables, parameters or {}):
        if mode == "eval":
            return eval(compile(command.strip(), "<command>", "eval"), variables)
        exec(compile(command, "<command>", "exec"), variables)
        return None


@contextlib.contextmanager
def _injected(variables: dict[str, Any], parameters: Mapping[str, Any]) -> Iterator[None]:
    hidden = {name: variables[name] for name in parameters if name in variables}
    variables.update(parameters)
    try:
        yield
    finally:
        for name in parameters:
            variables.pop(name, None)
        variables.update(hidden)


def _told(error: Exception) -> str:
    """Return the traceback as text, from the command on: the frames above it are ours."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def mode_of(command: str) -> Mode:
    """Tell whether a command is an expression or statements.

    Raises
    ------
    InvalidSpec
        If it is not Python.
    """
    try:
        compile(command.strip(), "<command>", "eval")
    except SyntaxError:
        try:
            compile(command, "<command>", "exec")
        except (SyntaxError, ValueError) as error:
            raise InvalidSpec(f"the command {command!r} is not Python: {error}.") from error
        return "exec"
    except ValueError as error:
        raise InvalidSpec(f"the command {command!r} is not Python: {error}.") from error
    return "eval"
