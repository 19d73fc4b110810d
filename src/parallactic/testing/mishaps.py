"""Exceptions and objects that travel badly, for the contract suite's tests of errors."""

from __future__ import annotations

import threading
from typing import Any

from parallactic.testing import tasks

__all__ = [
    "Bolt",
    "DetailedError",
    "Holder",
    "Landmine",
    "OddError",
    "StubbornError",
    "TwoFacedError",
    "divide",
    "divide_deep",
    "fail_on_worker_0",
    "raise_by_name",
]


class OddError(Exception):
    """An exception whose class pickle calls with the wrong arguments."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(f"{reason} ({code})")


class StubbornError(Exception):
    """An exception that holds what cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class TwoFacedError(Exception):
    """An exception that unpickles to something else."""

    def __reduce__(self) -> tuple[Any, ...]:
        return str, ("not an exception",)


class DetailedError(LookupError):
    """An exception with an attribute that pickle keeps."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.details = {"antenna": 3}


class Landmine:
    """Pickles, and cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


class Bolt:
    """Cannot be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Bolt does not move")


class Holder:
    """An object of a person's own, with something inside."""

    def __init__(self, thing: Any = None) -> None:
        self.thing = thing


def _explode() -> None:
    raise ArithmeticError("a Landmine was unpickled")


def divide(number: int) -> float:
    """Divide by zero."""
    return number / 0


def divide_deep(number: int) -> float:
    """Divide by zero, and raise another error from that."""
    try:
        return divide(number)
    except ZeroDivisionError as error:
        raise KeyError("no such antenna") from error


def fail_on_worker_0() -> None:
    """Divide by zero on worker 0; elsewhere leave a note."""
    if tasks.where()[0] == 0:
        divide(1)
    tasks.note_in_namespace("done")


def raise_by_name(name: str) -> None:
    """Raise an exception that does not travel; it is made here, on the worker."""
    if name == "OddError":
        raise OddError("no gain", 7)
    if name == "StubbornError":
        raise StubbornError("locked")
    raise TwoFacedError("split")
