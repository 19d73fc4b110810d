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


def prepare(tasks: bool, pulse: bool) -> None:
    """Give a server's namespace what commands expect to find there.

    Parameters
    ----------
    tasks
        Import every task of casatasks, and ``casalog``.
    pulse
        Start a thread that shows that the interpreter runs.
    """
    variables = namespace()
    variables.update({name: importlib.import_module(name) for name in _AT_HAND})
    if tasks:
        from parallactic.casa.standin import install

        # casatasks asks casampi, if it finds one, whether it is a server: ours says that it runs alone.
        install()
        if "casatasks" not in sys.modules:
            with _elsewhere():
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
    logger.setLevel(logging.DEBUG)
    while True:
        logger.debug("here")
        time.sleep(PULSE_SECONDS)


class _Redirected:
    """A server's log file, whose new lines are shown on the client's terminal after each command."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown = path.stat().st_size

    def show(self) -> None:
        with self._path.open(encoding="utf-8", errors="replace") as file:
            file.seek(self._shown)
            sys.stdout.write(file.read())
            self._shown = file.tell()


_redirected: dict[int, _Redirected] = {}


def open_log(mode: LogMode, path: str) -> None:
    """Choose where this server logs. Without CASA on the server there is nothing to do.

    Parameters
    ----------
    mode
        "unified": to the client's log. "separated": to a file of its own beside it. "redirect": the same, and
        shown on the client's terminal.
    path
        The client's log.
    """
    casalog = namespace().get("casalog")
    if casalog is None:
        return
    info = worker()
    rank = info.id + 1
    file = Path(path if mode == "unified" else f"{path}-server-{rank}-host-{info.host}-pid-{info.pid}")
    casalog.setglobal(True)
    casalog.setlogfile(str(file))
    casalog.processorOrigin(f"@{info.host.partition('.')[0]}:MPIServer-{rank}")
    # A sub-MS in which nothing is selected is no error of the whole.
    casalog.filterMsg("MSSelectionNullSelection")
    casalog.filterMsg("non-existent spw")
    _redirected.pop(info.id, None)
    if mode == "redirect":
        _redirected[info.id] = _Redirected(file)


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
    _note(f"Server {rank} runs request {number} ({mode}): {command}", priority)
    started = time.time()
    value, failure = None, None
    try:
        value = _run(command, mode, parameters)
    except Exception as error:  # noqa: BLE001  (a command may raise anything; it belongs to the client)
        failure = _told(error)
        _note(f"Request {number} failed: {failure}", "SEVERE")
    finally:
        if worker().id in _redirected:
            _redirected[worker().id].show()
    return Reply(rank, value, failure, started, time.time())


def _note(message: str, priority: str) -> None:
    casalog = namespace().get("casalog")
    if casalog is None:
        post(message, priority, "MPICommandServer")
    else:
        # CASA names the server in the origin of messages whose origin was set in this way.
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
