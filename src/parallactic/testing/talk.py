"""Functions that log and print on workers. They need the standard library and Parallactic alone."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import threading
import warnings
from typing import Any

from parallactic.testing.tasks import kill_self

__all__ = [
    "LOGGER",
    "chatter",
    "fork_and_talk",
    "init_logging",
    "log_and_die",
    "say",
    "say_from_a_thread",
    "say_with_extra",
    "talk_everywhere",
    "trip",
    "warn",
]

LOGGER = "plx.contract"


def say(message: str, level: int = logging.WARNING, name: str = LOGGER) -> None:
    """Log one message."""
    logging.getLogger(name).log(level, message)


def say_with_extra(message: str, extra: dict[str, Any]) -> None:
    """Log a message with fields, one of which no other process knows how to unpickle."""

    class Local:
        def __repr__(self) -> str:
            return "<local>"

    logging.getLogger(LOGGER).warning("%s", message, extra=extra | {"own": Local()})


def say_from_a_thread(message: str) -> None:
    """Log from a thread that a task starts."""
    thread = threading.Thread(target=say, args=(message,))
    thread.start()
    thread.join()


def trip(message: str) -> None:
    """Log an exception."""
    try:
        raise LookupError("no antenna 7")
    except LookupError:
        logging.getLogger(LOGGER).exception(message)


def warn(message: str) -> None:
    """Warn as libraries do."""
    warnings.warn(message, RuntimeWarning, stacklevel=1)


def log_and_die(message: str) -> None:
    """Log, and end this process by SIGKILL."""
    say(message)
    kill_self()


def chatter(number: int, count: int, size: int) -> None:
    """Log many long lines, each of one letter of its own."""
    log = logging.getLogger(LOGGER)
    for line in range(count):
        log.warning("%d/%d %s", number, line, chr(ord("a") + number % 26) * size)


def fork_and_talk(count: int) -> list[int]:
    """Have processes that were forked here log and print while this one does; return their exit codes."""
    children = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process that has threads
        for _ in range(3):
            child = os.fork()
            if child == 0:
                for line in range(count):
                    say(f"child {line}")
                    sys.stdout.write(f"child {line}\n")
                sys.stdout.flush()
                os._exit(0)
            children.append(child)
    for line in range(count):
        say(f"parent {line}")
        sys.stdout.write(f"parent {line}\n")
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def talk_everywhere(mark: str) -> None:
    """Print by Python, by the descriptor, by the C library, by another program, and an open line."""
    sys.stdout.write(f"python {mark}\n")
    os.write(1, f"descriptor {mark}\n".encode())
    ctypes.CDLL(None).puts(f"library {mark}".encode())
    subprocess.run(["echo", f"program {mark}"], check=True)
    sys.stderr.write(f"errors {mark}\n")
    sys.stdout.write(f"open end {mark}")


def init_logging(path: str) -> None:
    """Set up a worker's logging as a script does its own: one file for all."""
    logging.basicConfig(
        filename=path,
        filemode="a",
        format="%(asctime)s %(name)s %(levelname)s [%(worker)s %(host)s %(task)s] %(message)s",
        level=logging.DEBUG,
    )
