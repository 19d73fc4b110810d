"""Functions that the contract suite runs on workers. They need nothing but the standard library and Parallactic."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parallactic

__all__ = [
    "add",
    "after",
    "append",
    "count_and_append",
    "echo",
    "exit_now",
    "fail",
    "fail_until",
    "forget_everything",
    "identity",
    "kill_self",
    "nap_in_c",
    "note_in_namespace",
    "notes_of_namespace",
    "segfault",
    "sleep_in_c",
    "spin",
    "where",
    "write_and_wait",
]

_LIMIT = 60.0


def identity(value: Any) -> Any:
    """Return what was given."""
    return value


def add(*values: Any) -> Any:
    """Return the sum of the values, added from the left."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def echo(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments as they came in."""
    return args, kwargs


def after(_: Any, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function; what comes first only has to be there."""
    return function(*args)


def where() -> tuple[int, int, int]:
    """Return number, epoch and process id of this worker."""
    info = parallactic.worker()
    return info.id, info.epoch, os.getpid()


def append(path: str, line: str) -> str:
    """Append a line to a file in one write, so that lines of several processes never mix; return the line."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
    return line


def write_and_wait(started: str, release: str, result: Any = None) -> Any:
    """Say that this task runs, by a file with this process's id; end when the file `release` exists.

    Returns
    -------
    Any
        `result`, or this process's id if it is None.
    """
    announce(started)
    end = time.monotonic() + _LIMIT
    while not Path(release).exists():
        if time.monotonic() > end:
            raise TimeoutError(f"nobody wrote {release}")
        time.sleep(0.002)
    return os.getpid() if result is None else result


def announce(path: str) -> None:
    """Write this process's id to a file that appears with its content."""
    aside = Path(f"{path}.{os.getpid()}")
    aside.write_text(str(os.getpid()))
    aside.replace(path)


def spin(started: str) -> None:
    """Run Python code until somebody stops it."""
    announce(started)
    end = time.monotonic() + _LIMIT
    while time.monotonic() < end:
        pass


def nap_in_c(seconds: float, started: str = "", ended: str = "") -> str:
    """Spend the time inside a C call that holds the interpreter lock, deaf to Python's exceptions."""
    if started:
        announce(started)
    end = time.monotonic() + seconds
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    while time.monotonic() < end:
        # A signal may have cut the call short.
        ctypes.PyDLL(None).usleep(max(0, int((end - time.monotonic()) * 1e6)))
    if ended:
        announce(ended)
    return "slept"


def sleep_in_c(seconds: float, started: str, ended: str) -> str:
    """Spend the time inside a C call that lets other threads run; an exception for this thread waits for its end."""
    announce(started)
    time.sleep(seconds)
    announce(ended)
    return "slept"


def exit_now(code: int, last_words: str = "") -> None:
    """End this process without any clean-up."""
    if last_words:
        sys.stderr.write(last_words + "\n")
        sys.stderr.flush()
    os._exit(code)


def kill_self(number: int = signal.SIGKILL) -> None:
    """End this process by a signal."""
    os.kill(os.getpid(), number)
    time.sleep(_LIMIT)


def segfault() -> None:
    """Read from address 0 in C."""
    import faulthandler

    faulthandler.disable()  # its report is not what is tested
    ctypes.string_at(0)


def fail(error: BaseException) -> None:
    """Raise what was given."""
    raise error


def fail_until(path: str, times: int) -> int:
    """Fail the first `times` times it runs; then return how often it ran, which the file's lines tell."""
    append(path, "run")
    runs = len(Path(path).read_text().splitlines())
    if runs <= times:
        raise ValueError(f"run {runs} fails")
    return runs


def note_in_namespace(note: Any) -> int:
    """Append to this worker's list of notes; return how many there were."""
    notes: list[Any] = parallactic.namespace().setdefault("notes", [])
    notes.append(note)
    return len(notes) - 1


def notes_of_namespace() -> list[Any]:
    """Return this worker's notes."""
    return list(parallactic.namespace().get("notes", []))


def forget_everything() -> None:
    """Empty this worker's namespace."""
    parallactic.namespace().clear()


def count_and_append(path: str, name: str, base: int = 0) -> int:
    """Set a counter of the namespace, one above `base`, and note the run in a file."""
    space = parallactic.namespace()
    space[name] = base + 1
    append(path, f"{parallactic.worker().epoch} {name}")
    return int(space[name])
