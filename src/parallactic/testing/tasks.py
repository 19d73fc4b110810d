"""Functions that the contract suite runs on workers. They need the standard library and Parallactic alone."""

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
    "announce",
    "append",
    "append_and_die",
    "append_and_spin",
    "append_state",
    "count_and_append",
    "derive",
    "echo",
    "exit_now",
    "fail",
    "fail_after_epoch_0",
    "fail_until",
    "forget_everything",
    "identity",
    "kill_self",
    "nap_in_c",
    "note_in_namespace",
    "notes_of_namespace",
    "read",
    "segfault",
    "sleep_and_append",
    "spin",
    "spin_at_first",
    "wait_in_c",
    "wait_somewhere",
    "where",
    "worker_and_value",
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


def wait_somewhere(started: str, release: str) -> tuple[int, int, int]:
    """Wait as `write_and_wait` does; return where."""
    write_and_wait(started, release)
    return where()


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


def wait_in_c(fifo: str, started: str, ended: str) -> str:
    """Read a FIFO until its writers close it, in a C call that lets other threads run, deaf to exceptions."""
    with Path(fifo).open() as pipe:
        # Opened first: without a writer, which may go as soon as this has started, that would wait for ever.
        announce(started)
        said = pipe.read()
    announce(ended)
    return said


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


def sleep_and_append(path: str, line: str, seconds: float) -> None:
    """Append a line after a while."""
    time.sleep(seconds)
    append(path, line)


def append_and_die(path: str) -> None:
    """Note the run in a file and end this process."""
    append(path, "run")
    kill_self()


def append_and_spin(path: str, started: str) -> None:
    """Note the run in a file and run until somebody stops it."""
    append(path, "run")
    spin(started)


def spin_at_first(path: str) -> str:
    """Note the run in a file; the first run ends only when somebody stops it."""
    append(path, "run")
    if len(Path(path).read_text().splitlines()) == 1:
        spin(f"{path}.started")
    return "in time"


def read(name: str) -> Any:
    """Return a variable of this worker's namespace."""
    return parallactic.namespace()[name]


def worker_and_value(name: str) -> tuple[int, Any]:
    """Return this worker's number and a variable of its namespace."""
    return where()[0], read(name)


def derive(path: str) -> int:
    """Set the variable ``b`` from ``a``, and note it in a file."""
    return count_and_append(path, "b", 9 + int(read("a")))


def append_state(path: str, number: int) -> Any:
    """Append a number and the variable ``a`` to a file; return the variable."""
    append(path, f"{number}: {read('a')}")
    return read("a")


def fail_after_epoch_0() -> None:
    """Work on a worker's first epoch only."""
    if where()[1]:
        raise ZeroDivisionError("the tool does not open twice")
