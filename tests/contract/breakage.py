"""What a broken promise is, and the list of all that are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

Patch = pytest.MonkeyPatch

SEMANTICS = {
    1: "order",
    2: "delivery",
    3: "errors",
    4: "liveness",
    5: "cancel",
    6: "state",
    7: "time",
    8: "pressure",
    9: "shutdown",
    10: "data",
    11: "security",
    12: "journal",
    13: "logging",
}


@dataclass(frozen=True)
class Breakage:
    """One broken promise.

    Parameters
    ----------
    semantic
        Its number in `docs/executor.md`.
    what
        What is wrong.
    backend
        Where it is tried.
    apply
        Breaks it.
    tests
        Tests of the contract, each of which must fail.
    patience
        Seconds that these tests wait for what may never happen.
    """

    semantic: int
    what: str
    backend: str
    apply: Callable[[Patch], None]
    tests: tuple[str, ...]
    patience: float = 1.5

    def __str__(self) -> str:
        return f"{SEMANTICS[self.semantic]}: {self.what}"


BREAKAGES: list[Breakage] = []


def breaks(
    semantic: int, what: str, backend: str, *tests: str, patience: float = 1.5
) -> Callable[[Any], Any]:
    """Add a breakage to the list."""

    def add(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        names = tuple(f"test_{SEMANTICS[semantic]}_{test}" for test in tests)
        BREAKAGES.append(Breakage(semantic, what, backend, apply, names, patience))
        return apply

    return add


def ignoring(cls: type, name: str) -> Callable[[Patch], None]:
    """Return a breakage by which a method does nothing."""
    return lambda patch: patch.setattr(cls, name, lambda *_, **__: None)
